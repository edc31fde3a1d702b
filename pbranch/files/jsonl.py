"""Files that only grow by whole lines: whatever ends a run, what is written is valid, and can be
resumed. Knows JSON objects, not what is in them.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from pbranch.errors import DataError


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
        data = line.encode("utf-8")
        try:
            written = self.file.write(data)
            while written < len(data):  # a full disk takes a part, and then raises
                written += self.file.write(data[written:])
        except OSError as e:
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


def read_objects(path: Path) -> Iterator[dict[str, object]]:
    """The objects of an earlier run's file. Raises DataError at a line that is none."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break  # torn when its writer was killed; the next one cuts it off
            try:
                row = json.loads(line)
            except ValueError as e:
                raise DataError(f"{path}:{number}: not a line of an earlier run ({e})") from e
            if not isinstance(row, dict):
                raise DataError(f"{path}:{number}: expected a JSON object")
            yield row
