"""What becomes of one line of a source: a record with its form and grade, or why it is rejected.

Depends on nothing but the line and how to build. Rewriting may wait for a server, and can run in
threads; grading keeps time by an alarm, and needs the main thread of a process.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from pbranch.errors import DataError
from pbranch.files.jsonl import JsonLine
from pbranch.format.tagged_text import render, separators_of
from pbranch.format.tree import plain_text
from pdata.build.filters import Fingerprint, take_fingerprint
from pdata.grading.answer_match import Verdict, grade_trace
from pdata.record import Record, Rejection
from pdata.roles.field_map import FieldMap
from pdata.roles.schemas import Schemas
from pdata.rules.rewriter import Rewrite
from pdata.sources.source import Source, read_source

P = ParamSpec("P")
T = TypeVar("T")
# text, prompt -> tree
Rewriter = Callable[[str, str], Rewrite]


@dataclass(frozen=True, slots=True)
class LineOptions:
    """How lines are processed. fingerprint: whether a filter will ask for one."""

    fields: FieldMap | Schemas
    rewriter: Rewriter
    drop_wrong: bool = False
    fingerprint: bool = False


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A source and what a rewriter made of it."""

    source: Source
    rewrite: Rewrite


@dataclass(frozen=True, slots=True)
class Accepted:
    """A record, the keys it was read by, and its fingerprint where a filter asks for one."""

    record: Record
    fields: FieldMap
    fingerprint: Fingerprint | None = None


def set_aside(step: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T | Rejection:
    """What a step makes of a line; where it fails, the line alone is rejected, and the run goes on.

    Raises DataError as the step does: that ends the run, such as a server that is gone."""
    try:
        return step(*arguments, **named)
    except DataError:
        raise
    except Exception as e:
        return Rejection("failed", f"{type(e).__name__}: {e}"[:300])


def process_line(options: LineOptions, line: JsonLine) -> Accepted | Rejection:
    """One line from JSON to record."""
    return grade_line(options, rewrite_line(options, line))


def rewrite_line(options: LineOptions, line: JsonLine) -> Rewritten | Rejection:
    """One line from JSON to tree. Raises DataError when a rewriter's server is gone."""
    return set_aside(_rewrite, options, line)


def _rewrite(options: LineOptions, line: JsonLine) -> Rewritten | Rejection:
    try:
        source = read_source(line, options.fields)
    except DataError as e:
        return Rejection("broken line", str(e))
    if any(source.trace.forks()):
        return Rewritten(source, Rewrite(source.trace))  # tagged already
    text = plain_text(source.trace)
    return Rewritten(source, options.rewriter(text, source.prompt))


def grade_line(options: LineOptions, rewritten: Rewritten | Rejection) -> Accepted | Rejection:
    """One line from tree to record."""
    return set_aside(_grade, options, rewritten) if isinstance(rewritten, Rewritten) else rewritten


def _grade(options: LineOptions, rewritten: Rewritten) -> Accepted | Rejection:
    source, rewrite = rewritten.source, rewritten.rewrite
    verdict = grade_trace(rewrite.trace, source.answer, source.prompt, rewrite.blocks)
    record = _make_record(source, rewrite, verdict)
    if options.drop_wrong and record.answer_ok is False:
        return Rejection("wrong answer", f"expected {source.answer}")
    if not options.fingerprint:
        return Accepted(record, source.fields)
    fingerprint = take_fingerprint(source.prompt, plain_text(rewrite.trace))
    return Accepted(record, source.fields, fingerprint)


def _make_record(source: Source, rewrite: Rewrite, verdict: Verdict) -> Record:
    form = "linear" if rewrite.reason else "branches"
    meta = {**source.meta, "origin": source.origin, "form": form}
    extra = {
        "separators": separators_of(rewrite.trace),
        "linear": rewrite.reason,
        "linear_because": rewrite.detail if rewrite.reason else "",
        "note": "" if rewrite.reason else rewrite.detail,
        "graded_by": verdict.by,
        "forks": [{"found_by": kind} for kind in rewrite.found_by],
    }
    for key, value in extra.items():
        meta.pop(key, None)
        if value:
            meta[key] = value
    return Record(
        source.id,
        source.messages,
        render(rewrite.trace),
        source.answer,
        source.answer_ok if verdict.right is None else verdict.right,
        source.source,
        meta,
        tools=source.tools,
    )
