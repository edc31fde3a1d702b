"""`pdata build`: source traces in, branch-tagged records out, the rejected ones with their reasons.

Every input line ends up in exactly one of the two files, in input order, for any worker count.
Knows the flow; sources, rewriting, grading and writing have files of their own.
"""

import json
import signal
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pbranch.errors import DataError
from pbranch.lines import LineFile, read_objects
from pbranch.text import render, separators_of
from pbranch.tree import plain_text
from pdata.answers import judge_answer
from pdata.record import Record, dump_line
from pdata.rewrite_rules import Rewrite, rewrite
from pdata.sources import (
    FieldMap,
    RawLine,
    Source,
    guess_fields,
    list_files,
    parse_line,
    parse_overrides,
    read_lines,
    read_source,
)

REWRITERS = ("rules",)
CHUNK = 64  # lines that a worker takes at a time
LOOK_AHEAD = 1000  # lines to look at for one that shows which keys there are


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one input line: `line` is JSON for the file that `accepted` says."""

    accepted: bool
    line: str
    form: str  # branches or linear; of a rejected line, the reason
    reason: str  # why a linear trace stayed linear
    answer_ok: bool | None = None


@dataclass(slots=True)
class Counts:
    """Counts of a run; `in` = `out` + `rejected` always."""

    total: Counter[str] = field(default_factory=Counter)
    linear: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, result: Result) -> None:
        self.total["in"] += 1
        if not result.accepted:
            self.total["rejected"] += 1
            self.rejected[result.form] += 1
            return
        self.total["out"] += 1
        self.total[result.form] += 1
        if result.reason:
            self.linear[result.reason] += 1
        verdict = {True: "answer_ok", False: "answer_wrong", None: "answer_unknown"}
        self.total[verdict[result.answer_ok]] += 1

    def as_dict(self) -> dict[str, Any]:
        keys = ("in", "out", "rejected", "branches", "linear", "answer_ok", "answer_wrong",
                "answer_unknown")  # fmt: skip
        return {
            **{key: self.total[key] for key in keys},
            "linear_by_reason": dict(self.linear.most_common()),
            "rejected_by_reason": dict(self.rejected.most_common()),
        }


def build(
    source: str,
    out: Path,
    *,
    overrides: Iterable[str] = (),
    rewriter: str = "rules",
    resume: bool = False,
    workers: int = 1,
    drop_wrong: bool = False,
) -> Counts:
    """Write `out` and its `.rejected.jsonl`; returns the counts of the whole file, resumed or not.

    Raises DataError on a source that cannot be read and on a disk that is full.
    """
    if rewriter not in REWRITERS:
        raise DataError(f"rewriter {rewriter!r}: expected {', '.join(REWRITERS)}")
    if not out.name.endswith(".jsonl"):
        raise DataError(f"{out}: expected a .jsonl file, since .rejected.jsonl goes beside it")
    mapping, files = parse_overrides(overrides), list_files(source)
    if any(f != "-" and Path(f).resolve() == out.resolve() for f in files):
        raise DataError(f"{out}: is the source itself; give another --out")
    counts = Counts()
    with LineFile(out, resume) as kept, LineFile(rejected_path(out), resume) as rejected:
        done = _read_done(counts, out, rejected_path(out)) if resume else set()
        for file in files:
            fields, lines = _look_at_fields(file, mapping)
            todo = (line for line in lines if line.origin not in done)
            for result in _run(todo, partial(_process, fields, drop_wrong), workers):
                (kept if result.accepted else rejected).write(result.line)
                counts.add(result)
                if counts.total["in"] % 10_000 == 0:
                    print(f"{counts.total['in']:,} traces", file=sys.stderr)
    return counts


def rejected_path(out: Path) -> Path:
    """FILE.jsonl -> FILE.rejected.jsonl."""
    return out.with_name(out.name.removesuffix(".jsonl") + ".rejected.jsonl")


def _read_done(counts: Counts, out: Path, rejected: Path) -> set[str]:
    """Origins of the lines that an earlier run has written, which are counted."""
    done = set()
    for path in (out, rejected):
        for row in read_objects(path):
            meta = row.get("meta")
            meta = meta if isinstance(meta, dict) else row
            known = row.get("answer_ok")
            answer_ok = known if isinstance(known, bool) else None
            form = str(row.get("reason") if path == rejected else meta.get("form"))
            counts.add(Result(path == out, "", form, str(meta.get("linear", "")), answer_ok))
            done.add(str(meta.get("origin")))
    return done


def _look_at_fields(file: str, overrides: dict[str, str]) -> tuple[FieldMap, Iterator[RawLine]]:
    """Guess the keys of `file` at its first object that shows them; says so on stderr."""
    lines = read_lines(file)
    seen: list[RawLine] = []
    fields, keys = FieldMap(), ""
    for line in islice(lines, LOOK_AHEAD):
        seen.append(line)
        try:
            row = parse_line(line)
        except DataError:
            continue
        keys = keys or ", ".join(row)
        fields = guess_fields(row, overrides)
        if fields.complete:
            print(f"{line.file}: {fields} (--map role=key changes it)", file=sys.stderr)
            break
    if keys and not fields.complete:
        raise DataError(
            f"{file}: cannot tell which keys hold prompt and trace, found {keys}; "
            "give --map prompt=… --map completion=…"
        )
    return fields, chain(seen, lines)


def _run(lines: Iterator[RawLine], process: Any, workers: int) -> Iterator[Result]:
    """Results in the order of `lines`, which are read only as far as the workers need."""
    if workers <= 1:
        yield from map(process, lines)
        return
    # spawn: workers inherit no threads; they ignore Ctrl-C, which the parent turns into an end
    context = get_context("spawn")
    with context.Pool(workers, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        pending: deque[Any] = deque()
        while True:
            while len(pending) < 3 * workers and (chunk := list(islice(lines, CHUNK))):
                pending.append(pool.apply_async(_process_all, (process, chunk)))
            if not pending:
                return
            yield from pending.popleft().get()


def _process_all(process: Any, lines: list[RawLine]) -> list[Result]:
    return [process(line) for line in lines]


def _process(fields: FieldMap, drop_wrong: bool, line: RawLine) -> Result:
    try:
        source = read_source(line, fields)
    except DataError as e:
        return _reject(line, "broken line", str(e))
    if next(source.trace.forks(), None) is not None:
        found = Rewrite(source.trace)  # tagged already
    else:
        found = rewrite(plain_text(source.trace), source.prompt)
    answer_ok, graded_by = _grade(source, found)
    if drop_wrong and answer_ok is False:
        return _reject(line, "wrong answer", f"expected {source.answer}")
    form = "linear" if found.reason else "branches"
    meta = {**source.meta, "origin": source.origin, "form": form}
    separators = separators_of(found.trace)
    extra = {"separators": separators, "linear": found.reason, "linear_because": found.detail,
             "graded_by": graded_by, "steps_found_by": _kind(found)}  # fmt: skip
    for key, value in extra.items():
        meta.pop(key, None)
        if value:
            meta[key] = value
    record = Record(
        source.id, source.messages, render(found.trace), source.answer, answer_ok,
        source.source, meta,
    )  # fmt: skip
    return Result(True, dump_line(record), form, found.reason, answer_ok)


def _kind(found: Rewrite) -> str:
    kinds = () if found.reason else dict.fromkeys(block.kind.value for block in found.blocks)
    return ", ".join(kinds)


def _grade(source: Source, found: Rewrite) -> tuple[bool | None, str]:
    if source.answer is None:
        return source.answer_ok, ""
    subjects = [s.label.subject for b in found.blocks for s in b.steps if s.label.subject]
    tail = found.blocks[0].tail if found.blocks else ""
    verdict, by = judge_answer(plain_text(found.trace), source.answer, tail, subjects)
    return (source.answer_ok, "") if verdict is None else (verdict, by)


def _reject(line: RawLine, reason: str, detail: str) -> Result:
    row = {"origin": line.origin, "reason": reason, "detail": detail, "text": line.text}
    return Result(False, json.dumps(row, ensure_ascii=False) + "\n", reason, "")
