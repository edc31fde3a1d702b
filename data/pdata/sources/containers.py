"""The bytes of a source file: plain, compressed (gzip, bzip2, xz), or in a zip archive, told apart
by their first bytes and not by their names. Knows no rows.
"""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pbranch import console
from pbranch.errors import DataError

HEAD = 1 << 20  # bytes that are looked at
# what reading packed bytes raises
UNPACKING = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError,
             NotImplementedError)  # fmt: skip
_PACKED = {b"\x1f\x8b": gzip.GzipFile, b"BZh": bz2.BZ2File, b"\xfd7zXZ": lzma.LZMAFile}
_REFUSED = {
    b"\x28\xb5\x2f\xfd": "Zstandard, unpack it first",
    b"\xff\xfe": "UTF-16 text, expected UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "UTF-16 text, expected UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"ARROW1": "an Arrow file, expected Parquet or JSON lines",
}


class _Headed(io.RawIOBase):
    """A stream whose beginning was read already, up to what was wrong with it, if anything was."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.rest, self.error = stream, None
        self.start = b""
        try:
            while len(self.start) < HEAD and (data := stream.read1(1 << 16)):  # type: ignore
                self.start += data
        except UNPACKING as e:
            self.error = e
        self.head = memoryview(self.start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        if not self.head and self.error:
            raise self.error
        data = self.head[: len(buffer)] or self.rest.read(len(buffer))
        self.head = self.head[len(data) :]
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def open_bytes(file: str) -> Iterator[tuple[bytes, IO[bytes]]]:
    """(the first bytes, all bytes) of a file, of `ARCHIVE.zip/MEMBER` or of stdin (`-`), unpacked.

    Raises DataError for a packing that cannot be read here, and what `UNPACKING` names.
    """
    with _open(file) as stream:
        for _ in range(3):  # .gz in .zip, and one more
            headed = _Headed(stream)
            head, stream = headed.start, io.BufferedReader(headed)
            unpack = next((u for magic, u in _PACKED.items() if head.startswith(magic)), None)
            if unpack is None:
                break
            stream = unpack(fileobj=stream) if unpack is gzip.GzipFile else unpack(stream)  # type: ignore
        if found := next((name for magic, name in _REFUSED.items() if head.startswith(magic)), ""):
            raise DataError(f"{file}: is {found}")
        if head[257:262] == b"ustar":
            raise DataError(f"{file}: is a tar archive, unpack it first")
        yield head, stream


@contextmanager
def _open(file: str) -> Iterator[IO[bytes]]:
    archive, member = split_member(file)
    if file == "-":
        yield console.open_stdin()
    elif member:
        with zipfile.ZipFile(archive) as packed:
            try:
                info = packed.getinfo(member)
            except KeyError as e:
                raise DataError(f"{archive}: no file {member} in this archive") from e
            with packed.open(info) as stream:
                yield stream
    else:
        with open(file, "rb") as stream:
            yield stream


def begins_with(file: str, *magic: bytes) -> bool:
    """Whether the bytes of an ordinary file, as it lies on the disk, begin so."""
    if not Path(file).is_file():
        return False
    with open(file, "rb") as stream:
        return stream.read(8).startswith(magic)


def list_members(archive: Path) -> list[str]:
    """The files of an archive as `ARCHIVE/MEMBER`, by name. Raises DataError."""
    try:
        with zipfile.ZipFile(archive) as packed:
            # one of two members of a name is found by it
            names = sorted({info.filename for info in packed.infolist() if not info.is_dir()})
    except zipfile.BadZipFile as e:
        raise DataError(f"{archive}: cannot read ({e})") from e
    return [f"{archive}/{n}" for n in names if not n.startswith("__MACOSX/")]


def split_member(file: str) -> tuple[str, str]:
    """(archive, member) of `ARCHIVE/MEMBER`; (file, "") where `file` is one itself."""
    path = Path(file)
    if file == "-" or path.exists():
        return file, ""
    archive = next((p for p in path.parents if p.is_file()), None)
    return (str(archive), file[len(str(archive)) + 1 :]) if archive else (file, "")
