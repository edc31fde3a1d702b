"""`pdata convert`: traces of a published dialect in, native trace records out, rejected ones apart.

Every input line ends up in exactly one of the two files.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pbranch.errors import DataError, FormatError
from pbranch.files.jsonl import JsonLine, LineFile
from pbranch.format.tagged_text import render, separators_of
from pbranch.format.trace_record import UniqueIds
from pbranch.format.tree import plain_text
from pdata.build.counts import Counts
from pdata.build.outputs import check_out
from pdata.build.process_line import set_aside
from pdata.grading.answer_match import grade_trace
from pdata.record import Record, Rejection, dump_line, dump_rejected, rejected_path
from pdata.roles.field_map import parse_overrides
from pdata.roles.schemas import Schemas
from pdata.sources.dialects import DIALECTS, read_dialect
from pdata.sources.reader import look_at_files, say_fields
from pdata.sources.source import read_source
from pdata.validate import check_record


def convert(
    source: str, out: Path, dialect: str, *, overrides: Iterable[str] = ()
) -> dict[str, Any]:
    """Write `out` and its `.rejected.jsonl`; returns counts as `pdata build` does.

    Raises DataError on a source that cannot be read, an unknown dialect, and a full disk.
    """
    if dialect not in DIALECTS:
        raise DataError(f"dialect {dialect!r}: expected {', '.join(DIALECTS)}")
    mapping = parse_overrides(overrides)
    looked = look_at_files(check_out(out, source), mapping)
    counts, ids = Counts(), UniqueIds()
    with LineFile(out, False) as kept, LineFile(rejected_path(out), False) as rejected:
        for file in looked:
            say_fields(file.path, file.schemas)
            for line in file.read():
                outcome = set_aside(convert_line, line, file.schemas, dialect)
                if isinstance(outcome, Rejection):
                    rejected.write(dump_rejected(line, outcome))
                else:
                    outcome = replace(outcome, id=ids.make(outcome.id))
                    kept.write(dump_line(outcome))
                counts.add(outcome)
    keys = ("in", "out", "rejected", "branches", "linear", "rejected_by_reason")
    return {key: value for key, value in counts.as_dict().items() if key in keys}


def convert_line(line: JsonLine, fields: Schemas, dialect: str) -> Record | Rejection:
    """The record of one line, or why there is none."""
    try:
        source = read_source(line, fields)
    except DataError as e:
        return Rejection("broken line", str(e))
    if any(source.trace.forks()):
        return Rejection("tagged already", "the trace has native markers")
    try:
        trace = read_dialect(plain_text(source.trace), dialect)
    except FormatError as e:
        return Rejection(f"not {dialect}", str(e))
    form = "branches" if any(trace.forks()) else "linear"
    meta = {**source.meta, "origin": source.origin, "form": form, "dialect": dialect}
    meta.pop("separators", None)
    if separators := separators_of(trace):
        meta["separators"] = separators
    right = grade_trace(trace, source.answer, source.prompt).right
    answer_ok = source.answer_ok if right is None else right
    record = Record(
        source.id,
        source.messages,
        render(trace),
        source.answer,
        answer_ok,
        source.source,
        meta,
        tools=source.tools,
    )
    problem = next(check_record(record), None)
    return record if problem is None else Rejection("unfit block", problem)
