"""`pdata distill`: generations of the user's own tuned model in, right and forked ones out.

Of several generations of one prompt the one with the shortest critical path is kept; all others
go to FILE.rejected.jsonl with their reasons. Knows no model: `ask` gets generations from a server.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pbranch.errors import DataError, FormatError
from pbranch.files.jsonl import LineFile, read_lines, read_objects
from pbranch.format.tagged_text import parse, render
from pbranch.format.tree import Trace
from pdata.grading.answer_match import grade_trace
from pdata.llm.chat_client import Client, Refused
from pdata.llm.ordered_threads import map_in_order
from pdata.record import Record, dump_line, read_records
from pdata.report.statistics import measure
from pdata.validate import check_record


@dataclass(frozen=True, slots=True)
class Rules:
    """What is kept. forked: only with a fork; unknown: also where the answer cannot be judged."""

    forked: bool = True
    unknown: bool = False


class _Rejected(Exception):
    """A generation that is not kept: reason and detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def distill(
    generations: Path, out: Path, *, rules: Rules | None = None, resume: bool = False
) -> dict[str, Any]:
    """Write `out` and its `.rejected.jsonl` from lines of `pinfer generate --json`; the counts.

    Reads the file twice: all generations of a prompt are judged before one is kept. Raises
    DataError on a file that cannot be read and on a disk that is full.
    """
    rules = rules or Rules()
    if not out.name.endswith(".jsonl") or out.resolve() == generations.resolve():
        raise DataError(f"{out}: expected another .jsonl file, .rejected.jsonl goes beside it")
    rejected_out = out.with_name(out.name.removesuffix(".jsonl") + ".rejected.jsonl")
    best, total = _choose(generations, rules)
    counts, reasons = Counter[str](), Counter[str]()
    with LineFile(out, resume) as kept, LineFile(rejected_out, resume) as rejected:
        done = set(_read_origins(out)) | set(_read_origins(rejected_out))
        for number, row in _read_rows(generations):
            origin = f"{generations.name}:{number}"
            counts["in"] += 1
            try:
                record = _judge(row, origin, rules)
                if best[_identify(row)][1] != number:
                    raise _Rejected("not the best", f"of {total[_identify(row)]} generations")
                if origin not in done:
                    meta = {**record.meta, "generations": total[_identify(row)]}
                    kept.write(dump_line(replace(record, meta=meta)))
                counts["out"] += 1
            except _Rejected as e:
                if origin not in done:
                    rejected.write(_dump_rejected(origin, e, row))
                counts["rejected"] += 1
                reasons[e.reason] += 1
    return {**{key: counts[key] for key in ("in", "out", "rejected")},
            "prompts": len(total), "rejected_by_reason": dict(reasons.most_common())}  # fmt: skip


def ask(
    prompts: Path, out: Path, client: Client, *, n: int = 1, workers: int = 8, resume: bool = False
) -> int:
    """Write `n` generations of each record's prompt to `out`, for `distill`; returns how many.

    The server has to leave special tokens in its text: vLLM and SGLang do with the client's option
    `skip_special_tokens: false`. Raises DataError when the server is gone; the file is whole.
    """
    jobs = ((record, k) for record in _prompts(prompts) for k in range(n))
    with LineFile(out, resume) as file:
        written = 0
        for row in read_objects(out):
            record, k = next(jobs, (None, 0))
            if record is None or (row.get("id"), row.get("sample")) != (record.id, k):
                raise DataError(f"{out}:{written + 1}: not a generation of {prompts} in its place; "
                                "give another file")  # fmt: skip
            written += 1
        for line in map_in_order(partial(_generate, client), jobs, workers):
            file.write(line)
            written += 1
    return written


def _prompts(path: Path) -> Iterator[Record]:
    for _, record in read_records(path):
        if isinstance(record, DataError):
            raise record
        yield record


def _generate(client: Client, job: tuple[Record, int]) -> str:
    record, sample = job
    row = {"id": record.id, "messages": list(record.messages), "answer": record.answer,
           "sample": sample}  # fmt: skip
    try:
        reply = client.ask(record.messages, sample=sample)
        row |= {"tagged_text": reply.content, "finish_reason": reply.finish_reason}
    except Refused as e:
        row |= {"tagged_text": "", "finish_reason": "error", "error": str(e)}
    return json.dumps(row, ensure_ascii=False) + "\n"


def _choose(generations: Path, rules: Rules) -> tuple[dict[str, tuple[int, int]], Counter[str]]:
    """(by prompt: words on the critical path and line of the best, by prompt: how many)."""
    best: dict[str, tuple[int, int]] = {}
    total: Counter[str] = Counter()
    for number, row in _read_rows(generations):
        if "messages" not in row and "prompt" not in row:
            continue
        prompt = _identify(row)
        total[prompt] += 1
        try:
            record = _judge(row, "", rules)
        except _Rejected:
            continue
        here = record.meta["critical_words"], number
        best[prompt] = min(best.get(prompt, here), here)
    return best, total


def _read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, row) of a file; a line that is no object is a row with an `error`."""
    for line in read_lines(path):
        try:
            yield line.number, line.parse()
        except DataError as e:
            yield line.number, {"error": str(e), "line": line.text}


def _read_origins(path: Path) -> Iterator[str]:
    for row in read_objects(path):
        meta = row.get("meta")
        yield str((meta if isinstance(meta, dict) else row).get("origin"))


def _identify(row: dict[str, Any]) -> str:
    """The same for generations of one prompt."""
    asked = [row.get("id"), row.get("messages"), row.get("prompt")]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _judge(row: dict[str, Any], origin: str, rules: Rules) -> Record:
    """The record of a generation that may be kept. Raises _Rejected."""
    if row.get("error"):
        raise _Rejected("error", str(row["error"]))
    if row.get("finish_reason") != "stop":
        raise _Rejected("unfinished", f"finish_reason {row.get('finish_reason')!r}")
    if row.get("limits"):
        raise _Rejected("unfinished", f"limits {row['limits']}")
    stats = row.get("stats")
    forced = stats.get("grammar_interventions") if isinstance(stats, dict) else 0
    if forced:
        raise _Rejected("grammar interventions", str(forced))
    try:
        trace = parse(_text(row, "tagged_text"))
    except FormatError as e:
        raise _Rejected("broken format", str(e)) from e
    if rules.forked and not any(trace.forks()):
        raise _Rejected("no fork")
    record = _make_record(row, origin, trace)
    if problem := next(check_record(record), None):
        raise _Rejected("broken format", problem)
    if record.answer_ok is False:
        raise _Rejected("wrong answer", f"expected {record.answer}")
    if record.answer_ok is None and not rules.unknown:
        raise _Rejected("unknown answer", "no gold answer" if record.answer is None else
                        f"cannot tell whether it is {record.answer}")  # fmt: skip
    return record


def _make_record(row: dict[str, Any], origin: str, trace: Trace) -> Record:
    messages = row.get("messages") or [{"role": "user", "content": _text(row, "prompt")}]
    try:
        answer = row.get("answer")
        meta = {"origin": origin, "form": "branches" if any(trace.forks()) else "linear",
                "critical_words": measure(trace).critical}  # fmt: skip
        gold = None if answer is None else str(answer)
        plain = {"id": str(row.get("id") or f"generation-{_identify(row)[:12]}"),
                 "messages": messages, "completion": render(trace), "answer": gold,
                 "answer_ok": None, "source": "distill", "meta": meta,
                 "schema": 1}  # fmt: skip
        record = Record.from_json(plain)
    except DataError as e:
        raise _Rejected("broken line", str(e)) from e
    prompt = "\n".join(message["content"] for message in record.messages)
    return replace(record, answer_ok=grade_trace(trace, gold, prompt).right)


def _text(row: dict[str, Any], key: str) -> str:
    if not isinstance(row.get(key), str):
        raise _Rejected("broken line", f"key {key!r}: expected text, found {row.get(key)!r:.40}")
    return row[key]


def _dump_rejected(origin: str, why: _Rejected, row: dict[str, Any]) -> str:
    out = {"origin": origin, "reason": why.reason, "detail": why.detail, "generation": row}
    return json.dumps(out, ensure_ascii=False) + "\n"
