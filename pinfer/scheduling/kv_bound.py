"""What bounds the cached tokens of a request: how many slots admission counts with, and how far a
pass may feed it."""

import sys
from collections.abc import Sequence
from itertools import islice

from pbranch.format.layout import LayoutOptions
from pinfer.eviction.options import most_slots
from pinfer.kv_cache.paged_lanes import PagedLaneCache
from pinfer.params import EngineLimits, SamplingParams
from pinfer.request.state import Lane, QueuedToken


class KVBound:
    """Of a cache that drops nothing."""

    def __call__(self, prompt_tokens: int, params: SamplingParams, kv_per_token: int) -> int:
        """Slots that a request may need at most, for a prompt and all that may follow it.
        kv_per_token: what each sampled token may bring, injected tokens included. RequestError
        where the request can never be served so."""
        return prompt_tokens + kv_per_token * params.max_new_tokens

    def fitting(self, tokens: Sequence[QueuedToken], most: int) -> int:
        """How many of a request's next tokens, up to `most`, the next pass may feed."""
        return min(len(tokens), most)

    def room(self, lane: Lane) -> int:
        """Tokens of a lane that a pass may feed, guesses included."""
        return sys.maxsize


keep_all = KVBound()


class PagedBound(KVBound):
    """Of a cache that keeps a budget a lane; of a layout that hides outlines, in lanes, too."""

    def __init__(self, cache: PagedLaneCache, limits: EngineLimits, layout: LayoutOptions) -> None:
        self.cache, self.limits, self.layout = cache, limits, layout

    def __call__(self, prompt_tokens: int, params: SamplingParams, kv_per_token: int) -> int:
        """As `KVBound`."""
        most = super().__call__(prompt_tokens, params, kv_per_token)
        lanes = 1
        if params.may_branch:
            at_depth = [params.max_topics**depth for depth in range(params.max_depth + 1)]
            lanes = sum(at_depth)
            if self.layout.outline == "own":
                lanes += sum(at_depth[:-1])  # one of each lane that may fork
        new, passing = params.max_new_tokens, self.limits.max_draft_rows
        return most_slots(self.cache.options, prompt_tokens, new, most, lanes, passing)

    def fitting(self, tokens: Sequence[QueuedToken], most: int) -> int:
        """As `KVBound`."""
        return self.cache.fitting(list(islice(tokens, most)))

    def room(self, lane: Lane) -> int:
        """As `KVBound`."""
        return self.cache.room(lane)
