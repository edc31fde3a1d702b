"""Prompts that begin alike are fed once: a request starts where an earlier one's rows lead it.

Only prompt rows are shared, those before any fork. Rows of one engine, so model, adapter and dtype
are the same. Host logic: it knows segments by number, no tensors.
"""

from collections.abc import Sequence

from pinfer.lane import Request

SMALLEST = 32  # rows that are worth waiting for


class PrefixCache:
    """Finished requests whose prompt rows are `kept`, in order of use; at most `max_rows` rows."""

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.kept: list[Request] = []

    def attach(self, request: Request, running: Sequence[Request]) -> bool:
        """Let a request that is about to be fed begin behind the rows that it shares with another,
        running or kept. False: those are still being fed, try again after the next pass."""
        source = request.source
        if source is None or (source.finish_reason is not None and source not in self.kept):
            earlier = running[: running.index(request)]
            request.source = source = _closest(request, [*self.kept, *earlier])
        if source is None:
            return True
        shared = _shared(request.prompt, source.prompt)
        if source.finish_reason is not None:
            shared = min(shared, source.prefilled)
        elif source.prefilled < shared:
            return False
        if source in self.kept:  # used just now
            self.kept.remove(source)
            self.kept.append(source)
        request.prefix = _first_rows(source, shared)
        request.prefilled = request.prefix_rows = shared
        request.source = None
        for _ in range(shared):
            request.queue.popleft()
        return True

    def keep(self, request: Request) -> None:
        """Keep what a finished request has fed of its prompt, where that is worth it."""
        if self.max_rows and request.prefilled - request.prefix_rows >= SMALLEST:
            self.kept.append(request)

    @property
    def rows(self) -> int:
        """Rows kept that no other kept request has too."""
        return sum(r.prefilled - r.prefix_rows for r in self.kept)

    def evict(self, room: int | None = None) -> list[Request]:
        """Requests no longer kept, so that at most `room` rows are: those longest unused."""
        limit = self.max_rows if room is None else max(0, min(room, self.max_rows))
        gone = []
        while self.kept and self.rows > limit:
            gone.append(self.kept.pop(0))
        return gone


def _closest(request: Request, others: Sequence[Request]) -> Request | None:
    """The request that shares most of the prompt, the first of them; None where it is little."""
    best = max(others, key=lambda r: _shared(request.prompt, r.prompt), default=None)
    if best is None or _shared(request.prompt, best.prompt) < SMALLEST:
        return None
    return best


def _shared(prompt: list[int], other: list[int]) -> int:
    """How many tokens both begin with; at least one of `prompt` is left to be fed."""
    low, high = 0, min(len(prompt) - 1, len(other))
    while low < high:  # slices are compared in C
        middle = (low + high + 1) // 2
        low, high = (middle, high) if prompt[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def _first_rows(source: Request, rows: int) -> list[tuple[int, int]]:
    """(segment, length) of the first prompt rows of a request, in order."""
    parts = []
    for number, length in [*source.prefix, (source.trunk.segment, rows)]:
        length = min(length, rows)
        if length:
            parts.append((number, length))
        rows -= length
    return parts
