"""One writer at a time: an advisory lock on an open file or folder, which ends with its process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pbranch.errors import DataError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def lock(descriptor: int, path: Path) -> None:
    """Hold `path`, open as `descriptor`, until that is closed; leaves nothing on the disk.

    Raises DataError where another one holds it. A file system without locks is written unguarded.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        raise DataError(
            f"{path}: another process is writing it; wait for its end, or give another place"
        ) from e
    except OSError:
        pass


@contextmanager
def locked_folder(path: Path) -> Iterator[None]:
    """Hold a folder, made where it is missing; it goes again if nothing comes into it. Raises
    DataError as `lock`, and OSError."""
    made = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)
        if made:
            with suppress(OSError):
                path.rmdir()
