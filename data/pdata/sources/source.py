"""A line of a source, whatever its keys, as a prompt and a trace. Knows no rewriter, no grading."""

from dataclasses import dataclass, field, replace
from typing import Any

from pbranch.errors import DataError, FormatError
from pbranch.files.jsonl import JsonLine
from pbranch.format.tagged_text import parse, separators_of
from pbranch.format.trace_record import check_separators
from pbranch.format.tree import Trace, make_trace
from pdata.roles.field_map import FieldMap, find_value
from pdata.roles.schemas import Schemas
from pdata.roles.values import read_conversation, read_gold, read_tools


@dataclass(frozen=True, slots=True)
class Source:
    """A prompt and a trace of it; `trace` is linear unless the source was already branch-tagged."""

    origin: str
    id: str
    messages: tuple[dict[str, Any], ...]
    trace: Trace
    answer: str | None = None
    answer_ok: bool | None = None
    source: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    tools: tuple[dict[str, Any], ...] = ()
    fields: FieldMap = field(default_factory=FieldMap)

    @property
    def prompt(self) -> str:
        return "\n".join(message["content"] for message in self.messages)


def read_source(line: JsonLine, schemas: FieldMap | Schemas) -> Source:
    """The trace that stands in `line`. Raises DataError saying what is missing."""
    try:
        row = line.parse()
        fields = schemas.choose(row)
        messages, text = read_conversation(row, fields)
        trace = _native_trace(row, text) if "schema" in row else make_trace(text)
        if not text.strip():
            raise DataError(f"key {fields.completion or fields.messages!r}: the trace is empty")
        answer, from_trace = read_gold(row, fields)
        meta = row.get("meta")
        known_id = find_value(row, fields.id)
        source = Source(
            origin=line.origin,
            id=_make_id(line) if known_id in (None, "") else str(known_id),
            messages=messages,
            trace=trace,
            answer=answer,
            source=line.file,
            meta=dict(meta) if isinstance(meta, dict) else {},
            tools=read_tools(row, fields.tools or "tools"),
            fields=fields,
        )
    except DataError as e:
        raise DataError(f"{line.origin}: {e}") from e
    if from_trace:
        source.meta["gold_from"] = "trace"
    if "schema" in row:
        known = row.get("answer_ok") if isinstance(row.get("answer_ok"), bool) else None
        source = replace(source, answer_ok=known, source=str(row.get("source") or line.file))
    return source


def _make_id(line: JsonLine) -> str:
    """File and number; the ending stays where another file may have the same name without it."""
    return f"{line.file.removesuffix('.jsonl').removesuffix('.gz')}-{line.number:06d}"


def _native_trace(row: dict[str, Any], text: str) -> Trace:
    """A record of ours holds tagged text; what does not parse as such is ordinary text. Raises
    DataError on separators that are none."""
    meta = row.get("meta")
    separators = meta.get("separators") if isinstance(meta, dict) else None
    check_separators(separators)
    try:
        trace = parse(text, separators)
        return trace if separators_of(trace) == separators else parse(text)
    except FormatError:
        return make_trace(text)
