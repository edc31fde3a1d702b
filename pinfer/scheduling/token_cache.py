"""The contract of the cache towards the scheduler: by lanes and counts of tokens, no tensors."""

from collections.abc import Sequence
from typing import Protocol

from pinfer.drafting.draft import Follower
from pinfer.request.state import Lane, Request


class TokenCache(Protocol):
    """Where the tokens of lanes are kept. `kv_cache.lanes.LaneCache` is one."""

    def share(self, lane: Lane, source: Lane, tokens: int) -> None:
        """Let `lane`, of which nothing is cached, begin with the first tokens of `source`."""

    def truncate(self, lane: Lane, drop: int) -> int:
        """Drop the last tokens of a lane; returns how many there were to drop."""

    def discard(self, lane: Lane) -> int:
        """Drop all tokens of a lane; returns how many there were."""

    def release(self, request: Request, keep_prompt: int | None = None) -> None:
        """Drop all that a request holds, but for the first `keep_prompt` tokens of its prompt."""

    def clear(self) -> None:
        """Drop everything, whatever state an exception has left it in."""

    def check(self) -> None:
        """Raise AssertionError where an exception has left it inconsistent."""


class NoCache:
    """For a scheduler without a model: nothing is cached."""

    def share(self, lane: Lane, source: Lane, tokens: int) -> None:
        """As `TokenCache`."""

    def truncate(self, lane: Lane, drop: int) -> int:
        """As `TokenCache`."""
        return 0

    def discard(self, lane: Lane) -> int:
        """As `TokenCache`."""
        return 0

    def release(self, request: Request, keep_prompt: int | None = None) -> None:
        """As `TokenCache`."""

    def clear(self) -> None:
        """As `TokenCache`."""

    def check(self) -> None:
        """As `TokenCache`."""


class FollowedCache:
    """A cache, and those who hear what happens to its tokens."""

    def __init__(self, cache: TokenCache, followers: Sequence[Follower]) -> None:
        self.cache, self.followers = cache, followers

    def share(self, lane: Lane, source: Lane, tokens: int) -> None:
        """As `TokenCache`."""
        self.cache.share(lane, source, tokens)
        for follower in self.followers:
            follower.shared(lane, tokens)

    def truncate(self, lane: Lane, drop: int) -> int:
        """As `TokenCache`."""
        dropped = self.cache.truncate(lane, drop)
        for follower in self.followers:
            follower.truncated(lane, dropped)
        return dropped

    def discard(self, lane: Lane) -> int:
        """As `TokenCache`."""
        for follower in self.followers:
            follower.discarded(lane)
        return self.cache.discard(lane)

    def release(self, request: Request, keep_prompt: int | None = None) -> None:
        """As `TokenCache`."""
        self.cache.release(request, keep_prompt)

    def clear(self) -> None:
        """As `TokenCache`."""
        self.cache.clear()
        for follower in self.followers:
            follower.reset()

    def check(self) -> None:
        """As `TokenCache`."""
        self.cache.check()
        for follower in self.followers:
            follower.check()


def follow(cache: TokenCache, followers: Sequence[Follower]) -> TokenCache:
    """The cache, with those who follow it."""
    return FollowedCache(cache, followers) if followers else cache
