"""JSON lines: the one reader of them, and files that only grow by whole lines.

A reader names file and line of whatever is wrong, and the caller chooses: stop at the first bad
line, or set it aside with its reason. What a writer has written is valid whatever ends the run, and
can be resumed. Knows JSON objects, not what is in them.
"""

import gzip
import json
import math
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from pbranch import console
from pbranch.errors import DataError
from pbranch.files.lock import lock

LONGEST = 1 << 25  # bytes of a line; a trace of a million words has a fifth of them
KEPT = 1000  # bytes of a longer one, to be recognised by
DEEPEST = 100  # levels of lists and objects: what walks a row may call itself for each


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
            row = _decoder.decode(self.text)
            if "\\ud" in self.text or "\\uD" in self.text:  # only so can half a pair come in
                json.dumps(row, ensure_ascii=False).encode("utf-8")
        except DataError:
            raise
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
        if self.text.count("[") + self.text.count("{") > DEEPEST and _depth(row) > DEEPEST:
            raise DataError("not JSON text: nested too deeply")
        return row


def to_json(value: Any, **options: Any) -> str:
    """JSON text of plain values, in which a number that JSON has no word for (NaN, an infinity) is
    null. options: see `json.dumps`."""
    options = {"ensure_ascii": False, **options}
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_without_nan(value), allow_nan=False, **options)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return [_without_nan(inner) for inner in value] if isinstance(value, list | tuple) else value


def _refuse_constant(name: str) -> Any:
    raise DataError(f"not JSON text: {name} is no number of JSON")


def _read_float(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse_constant(f"{digits:.20}")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_read_float)


def _depth(row: dict[str, Any]) -> int:
    """Levels of lists and objects."""
    depth, level = 0, list[Any]([row])
    while level:
        depth += 1
        inner = chain.from_iterable(x.values() if isinstance(x, dict) else x for x in level)
        level = [x for x in inner if isinstance(x, dict | list)]
    return depth


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


def read_stream(stream: IO[bytes], name: str, drop_torn: bool = False) -> Iterator[JsonLine]:
    """As `read_lines`, of a file that is open; of a line above LONGEST the beginning is kept."""
    number = 0
    while data := stream.readline(LONGEST + 1):
        number += 1
        if len(data) > LONGEST:
            begin = data[:KEPT].decode("utf-8", "replace").strip()
            yield JsonLine(name, number, begin, f"longer than {LONGEST >> 20} MiB")
            while data and not data.endswith(b"\n"):
                data = stream.readline(LONGEST)
            continue
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
    """A file that only ever grows by whole lines, by one process at a time."""

    def __init__(self, path: Path, resume: bool) -> None:
        """resume: go on behind the whole lines that are there; a torn one is cut off by the first
        write, so that a file that turns out to be another's stays as it is. Raises DataError where
        the file cannot be written, or another process writes it."""
        self.path, self.size, self._torn = path, 0, False
        with ExitStack() as stack:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self.file = stack.enter_context(open(path, "ab", buffering=0))
                if stat.S_ISREG(os.fstat(self.file.fileno()).st_mode):  # no pipe, no /dev/null
                    lock(self.file.fileno(), path)
                    self.size = _find_torn_line(path) if resume else self.file.truncate(0)
                    self._torn = resume
            except OSError as e:
                raise DataError(f"{path}: cannot write ({e.strerror})") from e
            stack.pop_all()  # it stays open

    def write(self, line: str) -> None:
        """Append `line`. Raises DataError when it does not fit; the file then ends before it."""
        data = line.encode("utf-8", "replace")  # a file's name in an error may be no text
        try:
            self._cut()
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
        self._torn = False

    def _cut(self) -> None:
        if self._torn:
            self.file.truncate(self.size)

    def __enter__(self) -> "LineFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if kind is None:
            self._cut()
        self.file.close()


def _find_torn_line(path: Path) -> int:
    """The size of a file up to its last line break."""
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            if at >= 0:
                end = start + at + 1
                break
            end = start
        return end
