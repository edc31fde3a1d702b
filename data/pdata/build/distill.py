"""`pdata distill`: generations of the user's own tuned model in, right and forked ones out.

Of several generations of one prompt the one with the shortest critical path is kept; all others
go to FILE.rejected.jsonl with their reasons. Knows no model: `ask` gets generations from a server.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pbranch.errors import DataError, FormatError
from pbranch.files.file_identity import refuse_overwriting
from pbranch.files.jsonl import JsonLine, LineFile, read_lines, read_objects, to_json
from pbranch.files.run_facts import check_run, digest, facts_path
from pbranch.format.tagged_text import parse, render
from pbranch.format.trace_record import SCHEMA, UniqueIds
from pbranch.format.tree import Trace
from pdata.build.counts import Counts
from pdata.build.outputs import check_out, check_resume
from pdata.build.process_line import set_aside
from pdata.grading.answer_match import grade_trace
from pdata.llm.chat_client import Client, Refused
from pdata.llm.ordered_threads import map_in_order
from pdata.record import (
    Record,
    Rejection,
    dump_line,
    dump_rejected,
    read_records,
    rejected_path,
)
from pdata.report.statistics import measure
from pdata.validate import check_record


@dataclass(frozen=True, slots=True)
class Criteria:
    """What is kept. forked: only with a fork; unknown: also where the answer cannot be judged;
    wrong: also where it is wrong, which look-ahead rows learn from as well."""

    forked: bool = True
    unknown: bool = False
    wrong: bool = False


def distill(
    generations: Path, out: Path, *, criteria: Criteria | None = None, resume: bool = False
) -> dict[str, Any]:
    """Write `out` and its `.rejected.jsonl` from lines of `pinfer generate --json`; the counts.

    Reads the file twice: all generations of a prompt are graded before one is kept. Raises
    DataError on a file that cannot be read and on a disk that is full.
    """
    criteria = criteria or Criteria()
    if str(generations) == "-":
        raise DataError("-: generations are read twice; give a file")
    check_out(out, str(generations))
    best, total = _find_best(generations, criteria)
    counts, ids = Counts(), UniqueIds()
    with LineFile(out, resume) as kept, LineFile(rejected_path(out), resume) as rejected:
        check_resume(out, {"source": digest(generations), **asdict(criteria)}, resume)
        done = {*_read_origins(out), *_read_origins(rejected_path(out))}
        for line in read_lines(generations, generations.name):
            outcome = set_aside(_select, line, criteria, best, total)
            counts.add(outcome)
            if isinstance(outcome, Record):
                outcome = replace(outcome, id=ids.make(outcome.id))
            if line.origin in done:
                continue
            if isinstance(outcome, Rejection):
                rejected.write(dump_rejected(line, outcome))
            else:
                kept.write(dump_line(outcome))
    figures = counts.as_dict()
    return {**{key: figures[key] for key in ("in", "out", "rejected")},
            "prompts": len(total), "rejected_by_reason": figures["rejected_by_reason"]}  # fmt: skip


def ask(
    prompts: Path, out: Path, client: Client, *, n: int = 1, workers: int = 8, resume: bool = False
) -> int:
    """Write `n` generations of each record's prompt to `out`, for `distill`; returns how many.

    The server has to leave special tokens in its text: vLLM and SGLang do with the client's option
    `skip_special_tokens: false`. Raises DataError when the server is gone; the file is whole.
    """
    jobs = ((record, k) for record in _prompts(prompts) for k in range(n))
    refuse_overwriting([out, facts_path(out)], [prompts])
    with LineFile(out, resume) as file:
        check_run(out, {"--model": client.model}, resume and file.size > 0)
        written = 0
        for row in read_objects(out):
            record, k = next(jobs, (None, 0))
            if record is None or any(row.get(key) != x for key, x in _asked(record, k).items()):
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
    row = _asked(record, sample)
    try:
        reply = client.ask(record.messages, sample=sample, tools=record.tools)
        row |= {"tagged_text": reply.content, "finish_reason": reply.finish_reason}
    except Refused as e:
        row |= {"tagged_text": "", "finish_reason": "error", "error": str(e)}
    return to_json(row) + "\n"


def _asked(record: Record, sample: int) -> dict[str, Any]:
    """What a line of generations says of its question."""
    row = {"id": record.id, "messages": list(record.messages), "answer": record.answer,
           "sample": sample}  # fmt: skip
    return {**row, "tools": list(record.tools)} if record.tools else row


def _find_best(
    generations: Path, criteria: Criteria
) -> tuple[dict[str, tuple[bool, int, int]], Counter[str]]:
    """(by prompt: whether the best is wrong, words on its critical path, its line; by prompt: how
    many)."""
    best: dict[str, tuple[bool, int, int]] = {}
    total: Counter[str] = Counter()
    for line in read_lines(generations):
        with suppress(DataError):
            row = line.parse()
            if "messages" not in row and "prompt" not in row:
                continue
            prompt = _identify(row)
            total[prompt] += 1
            record = set_aside(_read_generation, row, "", criteria)
            if isinstance(record, Record):
                wrong = record.answer_ok is False
                here = wrong, record.meta["critical_words"], line.number
                best[prompt] = min(best.get(prompt, here), here)
    return best, total


def _select(
    line: JsonLine, criteria: Criteria, best: dict[str, tuple[bool, int, int]], total: Counter[str]
) -> Record | Rejection:
    """The record of a line that is the best of its prompt."""
    try:
        row = line.parse()
    except DataError as e:
        return Rejection("error", str(e))
    record = _read_generation(row, line.origin, criteria)
    if isinstance(record, Rejection):
        return record
    prompt = _identify(row)
    if best[prompt][-1] != line.number:
        return Rejection("not the best", f"of {total[prompt]} generations")
    return replace(record, meta={**record.meta, "generations": total[prompt]})


def _read_origins(path: Path) -> Iterator[str]:
    for row in read_objects(path):
        meta = row.get("meta")
        yield str((meta if isinstance(meta, dict) else row).get("origin"))


def _identify(row: dict[str, Any]) -> str:
    """The same for generations of one prompt."""
    asked = [row.get("id"), row.get("messages"), row.get("prompt")]
    asked += [tools] if (tools := row.get("tools")) else []
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _read_generation(row: dict[str, Any], origin: str, criteria: Criteria) -> Record | Rejection:
    """The record of a generation that may be kept."""
    if row.get("error"):
        return Rejection("error", str(row["error"]))
    if row.get("finish_reason") != "stop":
        return Rejection("unfinished", f"finish_reason {row.get('finish_reason')!r}")
    if row.get("limits"):
        return Rejection("unfinished", f"limits {row['limits']}")
    stats = found if isinstance(found := row.get("stats"), dict) else {}
    interventions = stats.get("grammar_interventions")
    if interventions and stats.get("mode") != "linear":  # which is asked for, and bars markers
        return Rejection("grammar interventions", str(interventions))
    try:
        trace = parse(_text(row, "tagged_text"))
        if criteria.forked and not any(trace.forks()):
            return Rejection("no fork")
        record = _make_record(row, origin, trace)
    except FormatError as e:
        return Rejection("broken format", str(e))
    except DataError as e:
        return Rejection("broken line", str(e))
    if problem := next(check_record(record), None):
        return Rejection("broken format", problem)
    if record.answer_ok is False and not criteria.wrong:
        return Rejection("wrong answer", f"expected {record.answer}")
    if record.answer_ok is None and not criteria.unknown:
        return Rejection("unknown answer", "no gold answer" if record.answer is None else
                         f"cannot tell whether it is {record.answer}")  # fmt: skip
    return record


def _make_record(row: dict[str, Any], origin: str, trace: Trace) -> Record:
    """Raises DataError."""
    messages = row.get("messages") or [{"role": "user", "content": _text(row, "prompt")}]
    answer = row.get("answer")
    meta = {"origin": origin, "form": "branches" if any(trace.forks()) else "linear",
            "critical_words": measure(trace).critical}  # fmt: skip
    plain = {"id": str(row.get("id") or f"generation-{_identify(row)[:12]}"),
             "messages": messages, "completion": render(trace),
             "answer": None if answer is None else str(answer), "answer_ok": None,
             "source": "distill", "meta": meta, "schema": SCHEMA}  # fmt: skip
    if row.get("tools"):
        plain["tools"] = row["tools"]
    record = Record.from_json(plain)
    return replace(record, answer_ok=grade_trace(trace, record.answer, record.prompt).right)


def _text(row: dict[str, Any], key: str) -> str:
    if not isinstance(row.get(key), str):
        raise DataError(f"key {key!r}: expected text, found {row.get(key)!r:.40}")
    return row[key]
