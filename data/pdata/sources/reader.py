"""Reads source traces, whatever their keys: JSON lines (plain, gzipped, stdin), Parquet, `hf:`
data sets, and folders of such files.

Every row becomes a line of JSON with its origin. Knows no rewriter and no grading.
"""

import gzip
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from pbranch.errors import DataError, FormatError
from pbranch.format.tagged_text import parse, separators_of
from pbranch.format.tree import Trace, make_trace
from pdata.sources.fields import (
    FieldMap,
    guess_fields,
    parse_overrides,
    read_conversation,
    read_gold,
)
from pdata.sources.parquet_and_hub import HUB, parse_hub, read_hub, read_parquet

__all__ = [
    "FieldMap",
    "RawLine",
    "Source",
    "guess_fields",
    "list_files",
    "look_at_fields",
    "parse_line",
    "parse_overrides",
    "read_lines",
    "read_source",
]

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
LOOK_AHEAD = 1000  # lines to look at for one that shows which keys there are


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line or row as it stands in a file; `error` says why it could not be read as text."""

    file: str
    number: int
    text: str
    error: str = ""

    @property
    def origin(self) -> str:
        return f"{self.file}:{self.number}"


@dataclass(frozen=True, slots=True)
class Source:
    """A prompt and a trace of it; `trace` is linear unless the source was already branch-tagged."""

    origin: str
    id: str
    messages: tuple[dict[str, str], ...]
    trace: Trace
    answer: str | None = None
    answer_ok: bool | None = None
    source: str = ""
    meta: dict[str, Any] = field(default_factory=dict)

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
        found = sorted(str(p) for p in path.iterdir() if p.name.endswith(SUFFIXES))
        if not found:
            raise DataError(
                f"{source}: no {' or '.join(SUFFIXES)} file in this folder"
                " (folders inside are not searched)"
            )
        return found
    if not path.exists():
        raise DataError(f"{source}: no such file or folder")
    if not path.name.endswith(SUFFIXES):
        raise DataError(
            f"{source}: expected {', '.join(SUFFIXES)}, a folder of them, hf:dataset, or -"
        )
    return [source]


def read_lines(file: str) -> Iterator[RawLine]:
    """Lines that are not empty, or rows, numbered from 1. Raises DataError when it cannot read."""
    if file.startswith(HUB):
        yield from (RawLine(file, n, text) for n, text in enumerate(read_hub(file), 1))
    elif file.endswith(".parquet"):
        name = Path(file).name
        yield from (RawLine(name, n, text) for n, text in enumerate(read_parquet(file), 1))
    else:
        yield from _read_text_lines(file)


def _read_text_lines(file: str) -> Iterator[RawLine]:
    name = "stdin" if file == "-" else Path(file).name
    number = 0
    try:
        with _open(file) as lines:
            for number, line in enumerate(lines, 1):
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                except UnicodeDecodeError as e:
                    yield RawLine(name, number, "", f"not UTF-8: {e.reason} at byte {e.start}")
                    continue
                if text:
                    yield RawLine(name, number, text)
    except (OSError, EOFError) as e:
        reason = getattr(e, "strerror", None) or e
        raise DataError(f"{file}:{number + 1}: cannot read ({reason})") from e


def _open(file: str) -> IO[bytes]:
    if file == "-":
        return open(sys.stdin.fileno(), "rb", closefd=False)
    return gzip.open(file, "rb") if file.endswith(".gz") else open(file, "rb")  # type: ignore[return-value]


def look_at_fields(file: str, overrides: dict[str, str]) -> tuple[FieldMap, Iterator[RawLine]]:
    """The keys of `file`, guessed at its first object that shows them, and all of its lines.

    Says on stderr what it guessed. Raises DataError when no object shows prompt and trace.
    """
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


def parse_line(line: RawLine) -> dict[str, Any]:
    """The JSON object of a line. Raises DataError."""
    if line.error:
        raise DataError(f"{line.origin}: {line.error}")
    try:
        row = json.loads(line.text)
        if "\\ud" in line.text or "\\uD" in line.text:  # only so can half a pair come in
            json.dumps(row, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as e:
        raise DataError(f"{line.origin}: not JSON: {e.msg} (column {e.colno})") from e
    except RecursionError as e:
        raise DataError(f"{line.origin}: nested too deeply") from e
    except ValueError as e:  # half of a surrogate pair, or a number of thousands of digits
        raise DataError(f"{line.origin}: not text: {e}") from e
    if not isinstance(row, dict):
        raise DataError(f"{line.origin}: expected a JSON object, found {type(row).__name__}")
    return row


def read_source(line: RawLine, fields: FieldMap) -> Source:
    """The trace that stands in `line`. Raises DataError saying what is missing."""
    row = parse_line(line)
    try:
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
        )
    except DataError as e:
        raise DataError(f"{line.origin}: {e}") from e
    if from_trace:
        source.meta["gold_from"] = "trace"
    if "schema" in row:
        known = row.get("answer_ok") if isinstance(row.get("answer_ok"), bool) else None
        source = replace(source, answer_ok=known, source=str(row.get("source") or line.file))
    return source


def _make_id(line: RawLine) -> str:
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
