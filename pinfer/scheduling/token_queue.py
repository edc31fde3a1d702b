"""Applies what transitions emit to a request's queue and to the cache: appended tokens are fed,
unless they were guessed right and are cached already."""

from collections import deque

from pinfer.request.state import QueuedToken, Request, Rewind
from pinfer.scheduling.token_cache import TokenCache


def apply_effects(
    request: Request, cache: TokenCache, drafts: deque[QueuedToken] | None = None
) -> None:
    """Apply a request's effects in order. drafts: guesses that the last pass has fed for a lane and
    that are not yet part of its text; those confirmed are taken from the left, and all others
    dropped as soon as the text goes on differently."""
    effects, request.effects = request.effects, []
    for effect in effects:
        if isinstance(effect, QueuedToken):
            _append(effect, cache, drafts)
            continue
        drop_drafts(request, cache, drafts)
        if isinstance(effect, Rewind):
            _rewind(request, effect, cache)
            continue
        gone = set(effect.lanes)
        request.queue = deque(token for token in request.queue if token.lane not in gone)
        request.stats.dropped += sum(map(cache.discard, effect.lanes))


def drop_drafts(request: Request, cache: TokenCache, drafts: deque[QueuedToken] | None) -> None:
    """Drop guesses that the text did not confirm."""
    if drafts:
        request.stats.dropped += cache.truncate(drafts[0].home, len(drafts))
        drafts.clear()


def _append(token: QueuedToken, cache: TokenCache, drafts: deque[QueuedToken] | None) -> None:
    lane = token.lane
    if lane.newest is not None:
        lane.newest.sampled = False
    if drafts and _confirms(token, drafts[0]):
        lane.newest = drafts.popleft()
        lane.request.stats.accepted[lane.newest.draft] += 1
        return
    drop_drafts(lane.request, cache, drafts)
    lane.newest = token
    lane.request.queue.append(token)


def _confirms(token: QueuedToken, draft: QueuedToken) -> bool:
    same_place = token.home is draft.home and token.position == draft.position
    return same_place and token.token_id == draft.token_id and token.joins is None


def _rewind(request: Request, effect: Rewind, cache: TokenCache) -> None:
    queued = [token for token in reversed(request.queue) if token.lane is effect.lane]
    gone = set(queued[: effect.count])
    request.queue = deque(token for token in request.queue if token not in gone)
    request.stats.dropped += cache.truncate(effect.lane, effect.count - len(gone))
