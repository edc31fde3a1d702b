"""Reads source traces: JSON lines (plain, gzipped, stdin, a folder of them), whatever their keys.

Guesses which key plays which role; `--map role=key` overrides. Knows no rewriter and no grading.
"""

import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from pbranch.errors import DataError, FormatError
from pbranch.text import parse, separators_of
from pbranch.tree import Trace, make_trace

SUFFIXES = (".jsonl", ".jsonl.gz")
ROLES = ("messages", "prompt", "completion", "answer", "id")
# what a role is usually called, the likeliest first
GUESSES: dict[str, tuple[str, ...]] = {
    "messages": ("messages",),
    "prompt": ("prompt", "question", "problem", "instruction"),
    "completion": ("completion", "normal_response", "response", "solution", "output", "answer"),
    "answer": ("gold_keys", "gold", "final_answer", "answer"),
    "id": ("id",),
}


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line as it stands in a file; `error` says why it could not be read as text."""

    file: str
    number: int
    text: str
    error: str = ""

    @property
    def origin(self) -> str:
        return f"{self.file}:{self.number}"


@dataclass(frozen=True, slots=True)
class FieldMap:
    """The key of each role; None where a source has none."""

    messages: str | None = None
    prompt: str | None = None
    completion: str | None = None
    answer: str | None = None
    id: str | None = None

    def __str__(self) -> str:
        named = ((role, getattr(self, role)) for role in ROLES)
        return ", ".join(f"{role}={key}" for role, key in named if key)

    @property
    def complete(self) -> bool:
        return bool(self.messages or (self.prompt and self.completion))


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


def parse_overrides(flags: Iterable[str]) -> dict[str, str]:
    """`role=key` flags as a mapping. Raises DataError on an unknown role."""
    overrides = {}
    for flag in flags:
        role, _, key = flag.partition("=")
        if role not in ROLES or not key:
            raise DataError(f"--map {flag}: expected role=key with role in {', '.join(ROLES)}")
        overrides[role] = key
    return overrides


def guess_fields(row: dict[str, Any], overrides: dict[str, str]) -> FieldMap:
    """Which key of `row` plays which role; incomplete when the keys say nothing."""
    found: dict[str, str] = {}
    for role, keys in GUESSES.items():
        key = overrides.get(role)
        if key is None:
            used = set(found.values()) | set(overrides.values())
            key = next((k for k in keys if k in row and k not in used), None)
        if key is not None:
            found[role] = key
    if "prompt" in overrides:
        found.pop("messages", None)
    elif "messages" in found:
        found.pop("prompt", None)
    return FieldMap(**found)


def list_files(source: str) -> list[str]:
    """The files of SOURCE in order. Raises DataError when there are none."""
    if source == "-":
        return ["-"]
    path = Path(source)
    if path.is_dir():
        found = sorted(str(p) for p in path.iterdir() if p.name.endswith(SUFFIXES))
        if not found:
            raise DataError(f"{source}: no {' or '.join(SUFFIXES)} file in this folder")
        return found
    if not path.exists():
        raise DataError(f"{source}: no such file or folder")
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"{source}: expected {' or '.join(SUFFIXES)}, a folder of them, or -")
    return [source]


def read_lines(file: str) -> Iterator[RawLine]:
    """Lines that are not empty, numbered from 1. Raises DataError when the file cannot be read."""
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


def parse_line(line: RawLine) -> dict[str, Any]:
    """The JSON object of a line. Raises DataError."""
    if line.error:
        raise DataError(f"{line.origin}: {line.error}")
    try:
        row = json.loads(line.text)
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
        messages, text = _conversation(row, fields)
        trace = _native_trace(row, text) if "schema" in row else make_trace(text)
        if not text.strip():
            raise DataError(f"key {fields.completion or fields.messages!r}: the trace is empty")
        answer = row.get(fields.answer) if fields.answer else None
        meta = row.get("meta")
        source = Source(
            origin=line.origin,
            id=str(row.get(fields.id or "", "")) or f"{Path(line.file).stem}-{line.number:06d}",
            messages=messages,
            trace=trace,
            answer=None if answer is None else str(answer),
            source=line.file,
            meta=dict(meta) if isinstance(meta, dict) else {},
        )
    except DataError as e:
        raise DataError(f"{line.origin}: {e}") from e
    if "schema" in row:
        known = row.get("answer_ok") if isinstance(row.get("answer_ok"), bool) else None
        source = replace(source, answer_ok=known, source=str(row.get("source") or line.file))
    return source


def _conversation(row: dict[str, Any], fields: FieldMap) -> tuple[tuple[dict[str, str], ...], str]:
    """The prompt's messages, and the trace: a key of its own, or the last assistant turn."""
    if not fields.messages:
        return ({"role": "user", "content": _text(row, fields.prompt)},), _text(
            row, fields.completion
        )
    turns = row.get(fields.messages)
    if not isinstance(turns, list) or not turns:
        raise DataError(f"key {fields.messages!r}: expected a list of messages")
    messages = [{"role": _text(turn, "role"), "content": _text(turn, "content")} for turn in turns]
    if fields.completion and fields.completion in row:
        return tuple(messages), _text(row, fields.completion)
    if messages[-1]["role"] != "assistant" or len(messages) < 2:
        raise DataError(f"key {fields.messages!r}: the last message is not an assistant's answer")
    return tuple(messages[:-1]), messages[-1]["content"]


def _text(row: Any, key: str | None) -> str:
    if not isinstance(row, dict) or key not in row:
        keys = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
        raise DataError(f"missing key {key!r}; found {keys}")
    if not isinstance(row[key], str):
        raise DataError(f"key {key!r}: expected text, found {row[key]!r:.40}")
    return row[key]


def _native_trace(row: dict[str, Any], text: str) -> Trace:
    """A record of ours holds tagged text; what does not parse as such is ordinary text."""
    meta = row.get("meta")
    separators = meta.get("separators") if isinstance(meta, dict) else None
    try:
        trace = parse(text, separators)
        return trace if separators_of(trace) == separators else parse(text)
    except (FormatError, TypeError):
        return make_trace(text)
