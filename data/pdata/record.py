"""The trace record: one JSON object a line, plain or gzipped, checked key by key when read.

Knows nothing of markers: a completion is text here, linear or tagged.
"""

import gzip
import io
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pbranch.errors import DataError
from pbranch.files.atomic import atomic_write
from pbranch.files.jsonl import JsonLine, read_lines

SCHEMA = 1
KEYS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "messages": (list,),
    "completion": (str,),
    "answer": (str, type(None)),
    "answer_ok": (bool, type(None)),
    "source": (str,),
    "meta": (dict,),
    "schema": (int,),
}


@dataclass(frozen=True, slots=True)
class Record:
    """A prompt (`messages`: role and content) and its completion."""

    id: str
    messages: tuple[dict[str, str], ...]
    completion: str
    answer: str | None = None
    answer_ok: bool | None = None
    source: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Record":
        """A record of a parsed JSON object. Raises DataError naming the missing or wrong key."""
        for key, kinds in KEYS.items():
            if key not in row:
                raise DataError(f"missing key {key!r}; a record has {', '.join(KEYS)}")
            if not isinstance(row[key], kinds):
                names = " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
                raise DataError(f"key {key!r}: expected {names}, found {row[key]!r:.60}")
        unknown = [key for key in row if key not in KEYS]
        if unknown:
            raise DataError(f"unknown key {unknown[0]!r}; a record has {', '.join(KEYS)}")
        if row["schema"] != SCHEMA:
            raise DataError(f"key 'schema': expected {SCHEMA}, found {row['schema']}")
        _check_messages(row["messages"])
        return cls(**{**row, "messages": tuple(row["messages"])})

    @property
    def prompt(self) -> str:
        """The text of all messages."""
        return "\n".join(message["content"] for message in self.messages)

    def to_json(self) -> dict[str, Any]:
        row = {key: getattr(self, key) for key in KEYS}
        return {**row, "messages": list(self.messages)}


def _check_messages(messages: list[Any]) -> None:
    if not messages:
        raise DataError("key 'messages': expected at least one message, found none")
    for i, message in enumerate(messages):
        for key in ("role", "content"):
            if not isinstance(message, dict) or not isinstance(message.get(key), str):
                raise DataError(f"key 'messages': message {i} has no text under {key!r}")


def dump_line(record: Record) -> str:
    """One line of JSON with its line break."""
    return json.dumps(record.to_json(), ensure_ascii=False) + "\n"


@contextmanager
def open_writer(path: str | Path) -> Iterator[IO[str]]:
    """A text file that appears whole under `path`, or not at all; `.gz` compresses, `-` is stdout.

    The same text gives the same bytes, compressed or not.
    """
    if str(path) == "-":
        yield sys.stdout
        return
    with ExitStack() as stack:
        raw = stack.enter_context(atomic_write(Path(path)))
        packed: IO[bytes] | gzip.GzipFile = raw
        if str(path).endswith(".gz"):  # no file name and no time in the header
            packed = stack.enter_context(gzip.GzipFile("", "wb", 6, raw, mtime=0))
        out = io.TextIOWrapper(packed, encoding="utf-8", newline="\n")
        try:
            yield out
        finally:
            out.detach()  # flushes, and leaves it to the stack to close the file


def write_jsonl(path: str | Path, records: Iterable[Record]) -> int:
    """Write `records`; returns how many."""
    count = 0
    with open_writer(path) as out:
        for record in records:
            out.write(dump_line(record))
            count += 1
    return count


def read_records(path: str | Path) -> Iterator[tuple[int, Record | DataError]]:
    """(line number from 1, record or what is wrong with the line); `-` is stdin.

    Raises DataError when the file cannot be read at all; empty lines are skipped.
    """
    for line in read_lines(path):
        try:
            yield line.number, Record.from_json(line.parse())
        except DataError as e:
            yield line.number, DataError(f"{line.origin}: {e}")


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a line of a source becomes no record: a reason that can be counted, and the detail."""

    reason: str
    detail: str = ""


def dump_rejected(line: JsonLine, rejection: Rejection) -> str:
    """A line of the rejected file, with its line break."""
    row = {"origin": line.origin, "reason": rejection.reason, "detail": rejection.detail,
           "text": line.text}  # fmt: skip
    return json.dumps(row, ensure_ascii=False) + "\n"


def rejected_path(out: Path) -> Path:
    """FILE.jsonl -> FILE.rejected.jsonl."""
    return out.with_name(out.name.removesuffix(".jsonl") + ".rejected.jsonl")


def check_out(out: Path, sources: Iterable[str | Path]) -> None:
    """DataError where `out` is no .jsonl file, or where it or its rejected file is a source."""
    if not out.name.endswith(".jsonl"):
        raise DataError(f"{out}: expected a .jsonl file, since .rejected.jsonl goes next to it")
    written = {out.resolve(), rejected_path(out).resolve()}
    if any(str(source) != "-" and Path(source).resolve() in written for source in sources):
        raise DataError(f"{out}: is the source itself; give another --out")
