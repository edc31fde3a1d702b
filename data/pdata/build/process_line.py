"""What becomes of one line of a source: a record with its form and grade, or why it is set aside.

Runs in a worker, and depends on nothing but the line and how to build.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from pbranch.errors import DataError
from pbranch.files.jsonl import JsonLine
from pbranch.format.tagged_text import render, separators_of
from pbranch.format.tree import plain_text
from pdata.build.filters import Drop, Fingerprint, take_fingerprint
from pdata.grading.answer_match import grade_trace
from pdata.record import Record, dump_line
from pdata.rules.rewriter import Rewrite
from pdata.sources.fields import FieldMap
from pdata.sources.reader import Source, read_source

# text, prompt -> tree
Rewriter = Callable[[str, str], Rewrite]


@dataclass(frozen=True, slots=True)
class Job:
    """How lines are processed. fingerprint: whether a filter will ask for one."""

    fields: FieldMap
    rewrite: Rewriter
    drop_wrong: bool = False
    fingerprint: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What became of `source`: `line` is JSON for the file that `accepted` says."""

    accepted: bool
    line: str
    form: str  # branches or linear; of a rejected line, the reason
    reason: str = ""  # why a linear trace stayed linear
    answer_ok: bool | None = None
    source: JsonLine | None = None
    fingerprint: Fingerprint | None = None

    def drop(self, why: Drop) -> "Result":
        """The same line, set aside after all."""
        assert self.source is not None
        return reject(self.source, why.reason, why.detail)


def process(job: Job, line: JsonLine) -> Result:
    """One line from JSON to record."""
    try:
        source = read_source(line, job.fields)
    except DataError as e:
        return reject(line, "broken line", str(e))
    text = plain_text(source.trace)
    if next(source.trace.forks(), None) is not None:
        found = Rewrite(source.trace)  # tagged already
    else:
        found = job.rewrite(text, source.prompt)
    verdict = grade_trace(found.trace, source.answer, source.prompt, found.blocks)
    answer_ok = source.answer_ok if verdict.right is None else verdict.right
    if job.drop_wrong and answer_ok is False:
        return reject(line, "wrong answer", f"expected {source.answer}")
    record = _make_record(source, found, answer_ok, verdict.by)
    shown = take_fingerprint(source.prompt, plain_text(found.trace)) if job.fingerprint else None
    form = record.meta["form"]
    return Result(True, dump_line(record), form, found.reason, answer_ok, line, shown)


def remake(result: Result, record: Record) -> Result:
    """The result of a line whose record was changed after all."""
    meta = record.meta
    return replace(result, line=dump_line(record), form=meta["form"], reason=meta.get("linear", ""))


def reject(line: JsonLine, reason: str, detail: str) -> Result:
    """A line of the rejected file."""
    row = {"origin": line.origin, "reason": reason, "detail": detail, "text": line.text}
    return Result(False, json.dumps(row, ensure_ascii=False) + "\n", reason, source=line)


def _make_record(source: Source, found: Rewrite, answer_ok: bool | None, graded_by: str) -> Record:
    form = "linear" if found.reason else "branches"
    meta = {**source.meta, "origin": source.origin, "form": form}
    kinds = dict.fromkeys(block.kind.value for block in found.blocks or ())
    extra = {
        "separators": separators_of(found.trace),
        "linear": found.reason,
        "linear_because": found.detail if found.reason else "",
        "note": "" if found.reason else found.detail,
        "graded_by": graded_by,
        "steps_found_by": "" if found.reason else ", ".join(kinds),
    }
    for key, value in extra.items():
        meta.pop(key, None)
        if value:
            meta[key] = value
    completion = render(found.trace)
    return Record(
        source.id, source.messages, completion, source.answer, answer_ok, source.source, meta
    )
