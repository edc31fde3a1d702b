"""Prompts that begin alike are fed once: a request starts with the cached tokens of an earlier one.

Only prompt tokens are shared, those before any fork. They belong to one engine, so model, adapter
and dtype are the same. Host logic: no tensors.
"""

from collections.abc import Sequence

from pinfer.request.state import Request
from pinfer.scheduling.token_cache import TokenCache

SMALLEST = 32  # tokens that are worth waiting for


class PrefixCache:
    """Finished requests whose prompt tokens are `kept`, least recently used first: at most
    `max_tokens`, and those of requests that another one starts from."""

    def __init__(self, max_tokens: int, cache: TokenCache) -> None:
        self.max_tokens, self.cache = max_tokens, cache
        self.kept: list[Request] = []

    def match(self, request: Request, running: Sequence[Request]) -> tuple[Request | None, int]:
        """The request that shares most of a prompt's beginning, and how many tokens; None, 0 where
        it is little, or where the prompt's own logits are asked for."""
        best, most = None, SMALLEST - 1
        if request.params.prompt_logprobs is not None:
            return None, 0
        for other in (*self.kept, *running):
            matched = _common_length(request.prompt, other.prompt)
            if other.finish_reason is not None:
                matched = min(matched, other.prefix.cached)
            if matched > most:
                best, most = other, matched
        return best, most if best else 0

    def acquire(self, request: Request, source: Request | None, matched: int) -> None:
        """Let `request` start from `source`, which stays until it has ended."""
        request.prefix.source, request.prefix.matched = source, matched
        if source is not None:
            source.prefix.users += 1
        if source in self.kept:  # used just now
            self.kept.remove(source)
            self.kept.append(source)

    def begin(self, request: Request) -> bool:
        """Let a request that is about to be fed begin after the tokens that it shares. False: those
        are still being fed, try again after the next pass."""
        prefix = request.prefix
        source = prefix.source
        if source is None:
            return True
        if source.finish_reason is None and source.prefix.cached < prefix.matched:
            return False
        shared = shareable(request)
        if not shared:  # the source ended before anything of it was fed
            return True
        self.cache.share(request.trunk, source.trunk, shared)
        prefix.cached = prefix.shared = shared
        for _ in range(shared):
            request.queue.popleft()
        return True

    def release(self, request: Request) -> None:
        """Give back what a finished request holds, but for its prompt's tokens where those are
        worth keeping."""
        prefix = request.prefix
        worth = self.max_tokens > 0 and prefix.cached - prefix.shared >= SMALLEST
        if prefix.cached and (worth or prefix.users):
            self.cache.release(request, keep_prompt=prefix.cached)
            self.kept.append(request)
        else:
            self.cache.release(request)
            _leave_source(request)

    @property
    def tokens(self) -> int:
        """Tokens kept; those that two share count once."""
        return sum(r.prefix.cached - r.prefix.shared for r in self.kept)

    def evict(self, room: int | None = None) -> None:
        """Give back prompts longest unused until at most `room` tokens are kept. What another
        request starts from stays."""
        limit = self.max_tokens if room is None else max(0, min(room, self.max_tokens))
        while self.tokens > limit:
            idle = next((r for r in self.kept if not r.prefix.users), None)
            if idle is None:
                break
            self.kept.remove(idle)
            self.cache.release(idle)
            _leave_source(idle)


def shareable(request: Request) -> int:
    """Tokens that a request can share: fewer than matched where its source was cut short."""
    source = request.prefix.source
    if source is None or source.finish_reason is None or request.prefix.shared:
        return request.prefix.matched
    return min(request.prefix.matched, source.prefix.cached)


def _leave_source(request: Request) -> None:
    if request.prefix.source is not None:
        request.prefix.source.prefix.users -= 1
        request.prefix.source = None


def _common_length(prompt: list[int], other: list[int]) -> int:
    """How many tokens both begin with; at least one of `prompt` is left to be fed."""
    low, high = 0, min(len(prompt) - 1, len(other))
    while low < high:  # slices are compared in C
        middle = (low + high + 1) // 2
        low, high = (middle, high) if prompt[low:middle] == other[low:middle] else (low, middle - 1)
    return low
