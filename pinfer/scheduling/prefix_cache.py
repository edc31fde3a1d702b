"""Prompts that begin alike are fed once: a request starts where an earlier one's rows lead it.

Only prompt rows are shared, those before any fork. Rows of one engine, so model, adapter and dtype
are the same. Host logic: it knows segments by number, no tensors.
"""

from collections.abc import Sequence

from pinfer.request.state import Request

SMALLEST = 32  # rows that are worth waiting for


class PrefixCache:
    """Finished requests whose prompt rows are `kept`, in order of use: at most `max_rows` rows, and
    those of requests that another one starts from."""

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.kept: list[Request] = []

    def find(self, prompt: list[int], running: Sequence[Request]) -> tuple[Request | None, int]:
        """The request that shares most of a prompt's beginning, and how many rows; None, 0 where it
        is little."""
        best, most = None, SMALLEST - 1
        for request in (*self.kept, *running):
            shared = _shared(prompt, request.prompt)
            if request.finish_reason is not None:
                shared = min(shared, request.prefilled)
            if shared > most:
                best, most = request, shared
        return best, most if best else 0

    def use(self, request: Request, source: Request | None, shared: int) -> None:
        """Note that `request` is to start from `source`, which stays until it has ended."""
        request.source, request.shared = source, shared
        if source is not None:
            source.users += 1
        if source in self.kept:  # used just now
            self.kept.remove(source)
            self.kept.append(source)

    def attach(self, request: Request) -> bool:
        """Let a request that is about to be fed begin behind the rows that it shares. False: those
        are still being fed, try again after the next pass."""
        source = request.source
        if source is None:
            return True
        if source.finish_reason is None and source.prefilled < request.shared:
            return False
        shared = shareable(request)
        request.prefix = _first_rows(source, shared)
        request.prefilled = request.prefix_rows = shared
        for _ in range(shared):
            request.queue.popleft()
        return True

    def end(self, request: Request) -> None:
        """Keep what a finished request has fed of its prompt, where that is worth it."""
        worth = self.max_rows > 0 and request.prefilled - request.prefix_rows >= SMALLEST
        if request.prefilled and (worth or request.users):
            self.kept.append(request)
        else:
            _leave(request)

    @property
    def rows(self) -> int:
        """Rows kept; those that two share count once."""
        return sum(r.prefilled - r.prefix_rows for r in self.kept)

    def evict(self, room: int | None = None) -> list[Request]:
        """Requests no longer kept, so that at most `room` rows are: those longest unused. What
        another request starts from stays."""
        limit = self.max_rows if room is None else max(0, min(room, self.max_rows))
        gone: list[Request] = []
        while self.rows > limit:
            idle = next((r for r in self.kept if not r.users), None)
            if idle is None:
                break
            self.kept.remove(idle)
            _leave(idle)
            gone.append(idle)
        return gone


def shareable(request: Request) -> int:
    """Rows that a request can share: fewer than planned where its source was cut short."""
    source = request.source
    if source is None or source.finish_reason is None or request.prefix:
        return request.shared
    return min(request.shared, source.prefilled)


def _leave(request: Request) -> None:
    if request.source is not None:
        request.source.users -= 1
        request.source = None


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
