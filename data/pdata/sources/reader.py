"""Reads source traces, whatever their keys: JSON lines (plain, gzipped, stdin), Parquet, `hf:`
data sets, and folders of such files.

Every row becomes a line of JSON with its origin. Knows no rewriter and no grading.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pbranch.console import say
from pbranch.errors import DataError, FormatError
from pbranch.files.jsonl import JsonLine, read_lines
from pbranch.format.tagged_text import parse, separators_of
from pbranch.format.tree import Trace, make_trace
from pdata.sources.fields import FieldMap, guess_fields, read_conversation, read_gold, read_tools
from pdata.sources.parquet_and_hub import HUB, parse_hub, read_hub, read_parquet

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
LOOK_AHEAD = 1000  # lines to look at for one that shows which keys there are


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

    @property
    def prompt(self) -> str:
        return "\n".join(message["content"] for message in self.messages)


def list_files(source: str) -> list[str]:
    """The files of SOURCE by name, without those of folders inside. Raises DataError if none."""
    if source == "-":
        return ["-"]
    if source.startswith(HUB):
        parse_hub(source)
        return [source]
    path = Path(source)
    if path.is_dir():
        files = sorted(str(p) for p in path.iterdir() if p.name.endswith(SUFFIXES))
        if not files:
            raise DataError(
                f"{source}: no {' or '.join(SUFFIXES)} file in this folder"
                " (folders inside are not searched)"
            )
        return files
    if not path.exists():
        raise DataError(f"{source}: no such file or folder")
    if not path.name.endswith(SUFFIXES):
        raise DataError(
            f"{source}: expected {', '.join(SUFFIXES)}, a folder of them, hf:dataset, or -"
        )
    return [source]


def read_source_lines(file: str) -> Iterator[JsonLine]:
    """Lines that are not empty, or rows, numbered from 1. Raises DataError when it cannot read."""
    name = _name(file)
    if file.startswith(HUB):
        yield from (JsonLine(name, n, text) for n, text in enumerate(read_hub(file), 1))
    elif file.endswith(".parquet"):
        yield from (JsonLine(name, n, text) for n, text in enumerate(read_parquet(file), 1))
    else:
        yield from read_lines(file, name)


def _name(file: str) -> str:
    """What origins call a file."""
    return "stdin" if file == "-" else file if file.startswith(HUB) else Path(file).name


def look_at_fields(file: str, overrides: dict[str, str]) -> tuple[FieldMap, Iterator[JsonLine]]:
    """The keys of `file`, guessed at its first object that shows them, and all of its lines.

    Raises DataError when no object shows prompt and trace.
    """
    lines = read_source_lines(file)
    seen: list[JsonLine] = []
    fields, keys = FieldMap(), ""
    for line in islice(lines, LOOK_AHEAD):
        seen.append(line)
        try:
            row = line.parse()
        except DataError:
            continue
        keys = keys or ", ".join(row)
        fields = guess_fields(row, overrides)
        if fields.complete:
            break
    if keys and not fields.complete:
        raise DataError(
            f"{file}: cannot tell which keys hold prompt and trace, found {keys}; "
            "give --map prompt=… --map completion=…"
        )
    return fields, chain(seen, lines)


def say_fields(file: str, fields: FieldMap) -> None:
    """Says on stderr which keys were guessed, where there is anything to read."""
    if fields.complete:
        say(f"{_name(file)}: {fields} (--map role=key changes it)")


def read_source(line: JsonLine, fields: FieldMap) -> Source:
    """The trace that stands in `line`. Raises DataError saying what is missing."""
    try:
        row = line.parse()
        messages, text = read_conversation(row, fields)
        trace = _native_trace(row, text) if "schema" in row else make_trace(text)
        if not text.strip():
            raise DataError(f"key {fields.completion or fields.messages!r}: the trace is empty")
        answer, from_trace = read_gold(row, fields)
        meta = row.get("meta")
        known_id = row.get(fields.id) if fields.id else None
        source = Source(
            origin=line.origin,
            id=_make_id(line) if known_id in (None, "") else str(known_id),
            messages=messages,
            trace=trace,
            answer=answer,
            source=line.file,
            meta=dict(meta) if isinstance(meta, dict) else {},
            tools=read_tools(row, fields.tools or "tools"),
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
    """A record of ours holds tagged text; what does not parse as such is ordinary text."""
    meta = row.get("meta")
    separators = meta.get("separators") if isinstance(meta, dict) else None
    try:
        trace = parse(text, separators)
        return trace if separators_of(trace) == separators else parse(text)
    except (FormatError, TypeError):
        return make_trace(text)
