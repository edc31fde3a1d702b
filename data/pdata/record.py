"""The trace record: one JSON object a line, plain or gzipped, checked key by key when read.

Knows nothing of markers: a completion is text here, linear or tagged.
"""

import gzip
import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pbranch.errors import DataError
from pbranch.files.atomic import atomic_write
from pbranch.files.jsonl import JsonLine, read_lines, to_json
from pbranch.format.trace_record import KEYS, SCHEMA, check_keys


@dataclass(frozen=True, slots=True)
class Record:
    """A prompt (`messages`: role, content and what else a chat template reads; `tools`: what the
    answer might have called) and its completion."""

    id: str
    messages: tuple[dict[str, Any], ...]
    completion: str
    answer: str | None = None
    answer_ok: bool | None = None
    source: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA
    tools: tuple[dict[str, Any], ...] = ()

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Record":
        """A record of a parsed JSON object. Raises DataError naming the missing or wrong key."""
        check_keys(row)
        lists = {key: tuple(row.get(key, ())) for key in ("messages", "tools")}
        return cls(**{**row, **lists})

    @property
    def prompt(self) -> str:
        """The text of all messages."""
        return "\n".join(message["content"] for message in self.messages)

    def to_json(self) -> dict[str, Any]:
        """The keys of a line; `tools` where there are any."""
        row = {key: getattr(self, key) for key in KEYS}
        row["messages"] = list(self.messages)
        return {**row, "tools": list(self.tools)} if self.tools else row


def dump_line(record: Record) -> str:
    """One line of JSON with its line break."""
    return to_json(record.to_json()) + "\n"


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


def read_records(
    path: str | Path, drop_torn: bool = False
) -> Iterator[tuple[int, Record | DataError]]:
    """(line number from 1, record or what is wrong with the line); `-` is stdin. drop_torn: see
    `read_lines`.

    Raises DataError when the file cannot be read at all; empty lines are skipped.
    """
    for line in read_lines(path, drop_torn=drop_torn):
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
    return to_json(row) + "\n"


def rejected_path(out: Path) -> Path:
    """FILE.jsonl -> FILE.rejected.jsonl."""
    return out.with_name(out.name.removesuffix(".jsonl") + ".rejected.jsonl")
