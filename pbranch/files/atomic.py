"""Writes a file or a folder whole or not at all: next to its place, flushed to the disk, renamed.

A rename may overtake the content of a file, so that is flushed first; an error removes what was
half-written. Knows no formats.
"""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pbranch.console import NamedFile
from pbranch.files.lock import locked_folder


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, where it lies. Raises OSError, which names it."""
    with io.BufferedWriter(NamedFile(str(path), str(path))) as file:
        file.write(text.encode("utf-8"))


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the place of `path` at the end; folders are made as needed.

    Processes may write the same path at a time: the last one stands. Raises OSError, which names
    a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with io.BufferedWriter(NamedFile(str(part), str(path))) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        flush_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, `.NAME.part`, which takes the place of `path` at the end.

    Raises OSError, and DataError where another process is filling it.
    """
    part, old = (path.with_name(f".{path.name}.{suffix}") for suffix in ("part", "old"))
    with locked_folder(part):
        try:
            for left in part.iterdir():  # by a process that was killed
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield part
            flush_tree(part)
            if path.exists():
                shutil.rmtree(old, ignore_errors=True)
                path.rename(old)
            part.rename(path)
            flush_folder(path.parent)
            shutil.rmtree(old, ignore_errors=True)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            if old.exists() and not path.exists():
                old.rename(path)
            raise


def flush_tree(folder: Path) -> None:
    """Have everything under `folder` on the disk."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            flush_folder(path)
        elif path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Have the names in `folder` on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
