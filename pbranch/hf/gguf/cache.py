"""Where GGUF files lie as Hugging Face folders: in the user's cache, by the hash of the file.

A file that changes is another model; two names of one file are one. `XDG_CACHE_HOME` moves it.
"""

import hashlib
from functools import cache
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from pbranch.hf.gguf.conversion import convert
from pbranch.hf.gguf.gguf_file import find_gguf

FORM = 1  # of what is written: counted up when `convert` writes something else


def open_gguf(name: str) -> str:
    """The folder of `FILE.gguf` or `REPO_ID:FILE.gguf`, written first where there is none yet.

    Raises ModelError on a file that is missing or cannot be read."""
    file = find_gguf(name)
    return convert_once(file, digest(file))


def folder_of(sha256: str) -> Path:
    """The folder of a file by its hash, whether it is there or not."""
    return cache_home() / "gguf" / f"{FORM}-{sha256[:16]}"


def cache_home() -> Path:
    """The project's part of the user's cache."""
    return user_cache_path("parallel-branches")


def convert_once(file: Path, sha256: str) -> str:
    """As `open_gguf`. One process converts, others that ask at the same time wait for it."""
    folder = folder_of(sha256)
    if not folder.is_dir():  # it is there whole, or not at all
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                convert(file, folder)
    return str(folder)


def digest(file: Path) -> str:
    """The file's sha256; a run asks more than once."""
    stat = file.stat()
    return _digest(file, stat.st_size, stat.st_mtime_ns)


@cache
def _digest(file: Path, size: int, modified: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
