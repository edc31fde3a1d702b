"""JSON lines: the one reader of them, and files that only grow by whole lines.

A reader names file and line of whatever is wrong, and the caller chooses: stop at the first bad
line, or set it aside with its reason. What a writer has written is valid whatever ends the run, and
can be resumed. Knows JSON objects, not what is in them.
"""

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from pbranch import console
from pbranch.errors import DataError


@dataclass(frozen=True, slots=True)
class JsonLine:
    """A line of `file`, or a row; `error` says what was wrong with it when it was read, such as
    bytes that are no text, which `text` then lacks."""

    file: str
    number: int
    text: str
    error: str = ""

    @property
    def origin(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.number}"

    def parse(self) -> dict[str, Any]:
        """The line's object. Raises DataError that says what is wrong, without the origin: a caller
        puts that before this and before what is wrong with the object."""
        if self.error:
            raise DataError(self.error)
        try:
            row = json.loads(self.text)
            if "\\ud" in self.text or "\\uD" in self.text:  # only so can half a pair come in
                json.dumps(row, ensure_ascii=False).encode("utf-8")
        except json.JSONDecodeError as e:
            raise DataError(f"not JSON text: {e.msg} (column {e.colno})") from e
        except RecursionError as e:
            raise DataError("not JSON text: nested too deeply") from e
        except UnicodeEncodeError as e:
            raise DataError("not JSON text: half of a surrogate pair") from e
        except ValueError as e:  # Python reads no integer of thousands of digits
            raise DataError("not JSON text: a number of too many digits") from e
        if not isinstance(row, dict):
            raise DataError(f"found {type(row).__name__}, expected a JSON object")
        return row


def read_lines(
    path: str | Path, name: str | None = None, drop_torn: bool = False
) -> Iterator[JsonLine]:
    """The lines of a file that are not blank, numbered from 1; `.gz` is unpacked, `-` is stdin.

    name: what origins call the file, else `path`; drop_torn: leave out a last line without its line
    break. Raises DataError where the file cannot be read; a bad line raises when it is parsed.
    """
    number = 0
    try:
        with _open(path) as stream:
            for line in read_stream(stream, name or str(path), drop_torn):
                number = line.number
                yield line
    except (OSError, EOFError, zlib.error) as e:
        where = f"{path}:{number + 1}" if number else str(path)
        reason = getattr(e, "strerror", None) or e
        reason = reason if isinstance(e, OSError) else f"cannot decompress: {reason}"
        raise DataError(f"{where}: cannot read ({reason})") from e


def read_stream(stream: Iterable[bytes], name: str, drop_torn: bool = False) -> Iterator[JsonLine]:
    """As `read_lines`, of a file that is open."""
    for number, data in enumerate(stream, 1):
        if drop_torn and not data.endswith(b"\n"):
            return
        line = _decode(data, name, number)
        if line.text or line.error:
            yield line


def read_objects(path: str | Path) -> Iterator[dict[str, Any]]:
    """The objects of a file that a `LineFile` has written, without a last line that was torn when
    its writer was killed. Raises DataError at the first line that is no object."""
    for line in read_lines(path, drop_torn=True):
        try:
            yield line.parse()
        except DataError as e:
            raise DataError(f"{line.origin}: {e}") from e


def _open(path: str | Path) -> AbstractContextManager[IO[bytes]]:
    if str(path) == "-":
        return nullcontext(console.open_stdin())
    return gzip.open(path) if str(path).endswith(".gz") else open(path, "rb")  # type: ignore[return-value]


def _decode(data: bytes, file: str, number: int) -> JsonLine:
    try:
        text, error = data.decode("utf-8"), ""
    except UnicodeDecodeError as e:
        text = data.decode("utf-8", "replace")
        error = f"not JSON text: not UTF-8 ({e.reason} at byte {e.start})"
    return JsonLine(file, number, text.removeprefix("\ufeff").strip(), error)


class LineFile:
    """A file that only ever grows by whole lines."""

    def __init__(self, path: Path, resume: bool) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = open(path, "ab" if resume else "wb", buffering=0)
            self.size = _cut_torn_line(path) if resume else 0
        except OSError as e:
            raise DataError(f"{path}: cannot write ({e.strerror})") from e

    def write(self, line: str) -> None:
        """Append `line`. Raises DataError when it does not fit; the file then ends before it."""
        data = line.encode("utf-8", "replace")  # a file's name in an error may be no text
        try:
            written = self.file.write(data)
            while written < len(data):  # a full disk takes a part, and then raises
                written += self.file.write(data[written:])
        except OSError as e:
            with suppress(OSError):  # a device is cut nowhere
                self.file.truncate(self.size)
            raise DataError(
                f"{self.path}: cannot write ({e.strerror}); "
                "what is written so far is whole, --resume goes on from there"
            ) from e
        self.size += len(data)

    def __enter__(self) -> "LineFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.file.close()


def _cut_torn_line(path: Path) -> int:
    """Cut what follows the last line break; returns the size that is left."""
    with open(path, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            if at >= 0:
                end = start + at + 1
                break
            end = start
        file.truncate(end)
        return end
