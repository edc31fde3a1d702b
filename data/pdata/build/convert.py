"""`pdata convert`: traces of a published dialect in, native trace records out, rejected beside.

Every input line ends up in exactly one of the two files.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pbranch.errors import DataError, FormatError
from pbranch.files.jsonl import JsonLine, LineFile
from pbranch.format.tagged_text import render, separators_of
from pbranch.format.tree import plain_text
from pdata.build.process_line import reject
from pdata.grading.answer_match import grade_trace
from pdata.record import Record, dump_line, rejected_path
from pdata.sources.dialects import DIALECTS, read_dialect
from pdata.sources.fields import FieldMap, parse_overrides
from pdata.sources.reader import list_files, look_at_fields, read_source
from pdata.validate import check_record


def convert(
    source: str, out: Path, dialect: str, *, overrides: Iterable[str] = ()
) -> dict[str, Any]:
    """Write `out` and its `.rejected.jsonl`; returns counts as `pdata build` does.

    Raises DataError on a source that cannot be read, an unknown dialect, and a full disk.
    """
    if dialect not in DIALECTS:
        raise DataError(f"dialect {dialect!r}: expected {', '.join(DIALECTS)}")
    if not out.name.endswith(".jsonl"):
        raise DataError(f"{out}: expected a .jsonl file, since .rejected.jsonl goes beside it")
    mapping, files = parse_overrides(overrides), list_files(source)
    targets = {out.resolve(), rejected_path(out).resolve()}
    if any(f != "-" and Path(f).resolve() in targets for f in files):
        raise DataError(f"{out}: is the source itself; give another --out")
    total: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    with LineFile(out, False) as kept, LineFile(rejected_path(out), False) as rejected:
        for file in files:
            fields, lines = look_at_fields(file, mapping)
            for line in lines:
                total["in"] += 1
                try:
                    record = convert_line(line, fields, dialect)
                except _Refused as refused:
                    rejected.write(reject(line, refused.reason, str(refused)).line)
                    reasons[refused.reason] += 1
                    continue
                kept.write(dump_line(record))
                total[record.meta["form"]] += 1
    total["rejected"] = reasons.total()
    total["out"] = total["in"] - total["rejected"]
    counts = {key: total[key] for key in ("in", "out", "rejected", "branches", "linear")}
    return {**counts, "rejected_by_reason": dict(reasons.most_common())}


class _Refused(DataError):
    """A line that has no place in the output, by a reason that can be counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def convert_line(line: JsonLine, fields: FieldMap, dialect: str) -> Record:
    """The record of one line. Raises DataError saying why there is none."""
    try:
        source = read_source(line, fields)
    except DataError as e:
        raise _Refused("broken line", str(e)) from e
    if next(source.trace.forks(), None) is not None:
        raise _Refused("tagged already", "the trace has native markers")
    try:
        trace = read_dialect(plain_text(source.trace), dialect)
    except FormatError as e:
        raise _Refused(f"not {dialect}", str(e)) from e
    form = "branches" if next(trace.forks(), None) else "linear"
    meta = {**source.meta, "origin": source.origin, "form": form, "dialect": dialect}
    meta.pop("separators", None)
    if separators := separators_of(trace):
        meta["separators"] = separators
    right = grade_trace(trace, source.answer, source.prompt).right
    answer_ok = source.answer_ok if right is None else right
    record = Record(
        source.id, source.messages, render(trace), source.answer, answer_ok, source.source, meta
    )
    problem = next(check_record(record), None)
    if problem:
        raise _Refused("unfit block", problem)
    return record
