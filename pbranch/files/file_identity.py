"""Whether two paths lead to one file, so that no command writes over what it reads."""

import os
import stat
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path

from pbranch.errors import DataError

STDIN, STDOUT = 0, 1  # descriptors of what `-` names


def refuse_overwriting(written: Iterable[str | Path], read: Iterable[str | Path] = ()) -> None:
    """Raise DataError where a file that will be written is read too, or is written under two names.

    The same file: by its name, by a link, or as stdin or stdout, which `-` names. A folder stands
    for all files in it.
    """
    sources = {key: name for path in read for name, key in _find_files(path, STDIN)}
    targets: dict[Hashable, str] = {}
    for path in written:
        own: dict[Hashable, str] = {}
        for name, key in _find_files(path, STDOUT):
            if key in sources:
                raise DataError(
                    f"{name}: is the source itself ({sources[key]}), and would be written over; "
                    "give another place to write to"
                )
            if key in targets:
                raise DataError(
                    f"{name}: is written as {targets[key]} already; give another place to write to"
                )
            own.setdefault(key, name)  # a folder may hold a file and a link to it
        targets |= own


def _find_files(path: str | Path, descriptor: int) -> Iterator[tuple[str, Hashable]]:
    """(name, what tells the file from others) of a path. A device or a pipe is no file."""
    if str(path) == "-":
        try:
            found = os.fstat(descriptor)
        except OSError:  # closed
            return
        if stat.S_ISREG(found.st_mode):
            yield "stdin" if descriptor == STDIN else "stdout", (found.st_dev, found.st_ino)
        return
    if os.path.isdir(path):
        names = [os.path.join(top, name) for top, _, files in os.walk(path) for name in files]
    else:
        names = [str(path)]
    for name in names:
        try:
            found = os.stat(name)
        except OSError:  # nothing there yet: told by where it will be
            yield name, os.path.realpath(name)
            continue
        if stat.S_ISREG(found.st_mode):
            yield name, (found.st_dev, found.st_ino)
