"""`pdata build`: source traces in, branch-tagged records out, the rejected ones with their reasons.

Every input line ends up in exactly one of the two files, in input order, for any worker count.
Knows the flow; sources, what becomes of a line, filters and judge have files of their own.
"""

import json
import signal
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pbranch.errors import DataError
from pbranch.files.jsonl import JsonLine, LineFile, read_objects
from pbranch.format.tagged_text import parse
from pbranch.format.tree import plain_text
from pdata.build.filters import TraceFilter, take_fingerprint
from pdata.build.process_line import Job, Result, Rewriter, process, remake
from pdata.record import Record, rejected_path
from pdata.rules.rewriter import rewrite
from pdata.sources.fields import parse_overrides
from pdata.sources.reader import list_files, look_at_fields

CHUNK = 64  # lines that a worker takes at a time


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
    rewriter: Rewriter | None = None,
    judge: Any = None,
    resume: bool = False,
    workers: int = 1,
    drop_wrong: bool = False,
    max_words: int | None = None,
    drop_near_duplicates: bool = False,
) -> Counts:
    """Write `out` and its `.rejected.jsonl`; returns the counts of the whole file, resumed or not.

    rewriter: in place of the rules, one that waits for a server: `workers` threads call it; judge:
    a `pdata.judge.judge.Judge`, which measures each block.
    Raises DataError on a source that cannot be read and on a disk that is full.
    """
    if not out.name.endswith(".jsonl"):
        raise DataError(f"{out}: expected a .jsonl file, since .rejected.jsonl goes beside it")
    mapping, files = parse_overrides(overrides), list_files(source)
    if any(f != "-" and Path(f).resolve() == out.resolve() for f in files):
        raise DataError(f"{out}: is the source itself; give another --out")
    counts, sieve = Counts(), None
    if max_words is not None or drop_near_duplicates:
        sieve = TraceFilter(max_words, drop_near_duplicates)
    with LineFile(out, resume) as kept, LineFile(rejected_path(out), resume) as rejected:
        done = _read_done(counts, sieve, out) if resume else set()
        for file in files:
            fields, lines = look_at_fields(file, mapping)
            job = Job(fields, rewriter or rewrite, drop_wrong, sieve is not None)
            todo = (line for line in lines if line.origin not in done)
            for found in _run(todo, job, workers, threads=rewriter is not None):
                result = _finish(found, sieve, judge)
                (kept if result.accepted else rejected).write(result.line)
                counts.add(result)
                if counts.total["in"] % 10_000 == 0:
                    print(f"{counts.total['in']:,} traces", file=sys.stderr)
    return counts


def _finish(result: Result, sieve: TraceFilter | None, judge: Any) -> Result:
    """What needs the lines before this one, or a model that is loaded once."""
    if not result.accepted:
        return result
    if sieve and result.fingerprint and result.source:
        if drop := sieve.reason(result.source.origin, result.fingerprint):
            return result.drop(drop)
    if judge is None or result.form != "branches":
        return result
    from pdata.judge.judge import measure

    return remake(result, measure(Record.from_json(json.loads(result.line)), judge))


def _read_done(counts: Counts, sieve: TraceFilter | None, out: Path) -> set[str]:
    """Origins of the lines that an earlier run has written, which are counted."""
    done = set()
    for path in (out, rejected_path(out)):
        for row in read_objects(path):
            meta = row.get("meta")
            meta = meta if isinstance(meta, dict) else row
            known = row.get("answer_ok")
            answer_ok = known if isinstance(known, bool) else None
            form = str(row.get("reason") if path != out else meta.get("form"))
            counts.add(Result(path == out, "", form, str(meta.get("linear", "")), answer_ok))
            origin = str(meta.get("origin"))
            done.add(origin)
            if sieve and path == out:
                record = Record.from_json(row)
                prompt = "\n".join(m["content"] for m in record.messages)
                text = plain_text(parse(record.completion, record.meta.get("separators")))
                sieve.add(origin, take_fingerprint(prompt, text))
    return done


def _run(lines: Iterator[JsonLine], job: Job, workers: int, threads: bool) -> Iterator[Result]:
    """Results in the order of `lines`, which are read only as far as the workers need."""
    if threads:
        from pdata.llm.ordered_threads import map_in_order

        yield from map_in_order(partial(process, job), lines, workers)
        return
    if workers <= 1:
        yield from map(partial(process, job), lines)
        return
    # spawn: workers inherit no threads; they ignore Ctrl-C, which the parent turns into an end
    context = get_context("spawn")
    with context.Pool(workers, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        pending: deque[Any] = deque()
        while True:
            while len(pending) < 3 * workers and (chunk := list(islice(lines, CHUNK))):
                pending.append(pool.apply_async(_process_all, (job, chunk)))
            if not pending:
                return
            yield from pending.popleft().get()


def _process_all(job: Job, lines: list[JsonLine]) -> list[Result]:
    return [process(job, line) for line in lines]
