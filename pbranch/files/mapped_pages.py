"""Memory of weights that are views of a mapped file, given back before the last view is gone.

What was read of a mapped file counts as this process's memory while any tensor lies in it, also
where all else was copied long ago: of a model in its file's own dtype, all weights twice. On Linux;
elsewhere nothing is given back.
"""

import ctypes
import mmap
import re
from collections.abc import Iterable
from pathlib import Path

_MAPS = Path("/proc/self/smaps")
_ENTRY = re.compile(r"\n(?=[0-9a-f]+-)")  # its other lines begin with a capital letter
_FILE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+ +/")
_UNWRITTEN = re.compile(r"^Anonymous: +0 kB$", re.MULTILINE)


class MappedPages:
    """The file mappings that some addresses lie in. One that was written to is left out: what is
    in memory of it is not what is in the file."""

    def __init__(self, addresses: Iterable[int]) -> None:
        """Nobody may write to the mappings from now on."""
        self._spans: list[tuple[int, int]] = []
        if not (_MAPS.exists() and hasattr(mmap, "MADV_DONTNEED")):
            return
        wanted = set(addresses)
        for entry in _ENTRY.split(_MAPS.read_text(errors="replace")):
            found = _FILE.match(entry)
            if found is None or not _UNWRITTEN.search(entry):
                continue
            start, end = int(found[1], 16), int(found[2], 16)
            if any(start <= address < end for address in wanted):
                self._spans.append((start, end - start))

    def release(self) -> None:
        """Let go of the pages. What is used again is read again, from the system's file cache."""
        for start, length in self._spans:
            ctypes.CDLL(None).madvise(
                ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_DONTNEED
            )
