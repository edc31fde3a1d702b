"""The contract of the cache towards the scheduler: by lanes and counts of tokens, no tensors."""

from typing import Protocol

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
