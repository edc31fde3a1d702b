"""A request's queue: applies what transitions emit to it and to the cache, and takes from it what
the next pass feeds. Appended tokens are fed, unless they were guessed right and are cached already.
"""

from collections import deque

from pinfer.request.state import Lane, QueuedToken, Request, Rewind
from pinfer.scheduling.kv_bound import KVBound
from pinfer.scheduling.token_cache import TokenCache


def take_tokens(request: Request, room: int, bound: KVBound) -> list[QueuedToken]:
    """Take up to `room` tokens from a request's queue, as far as its cache allows, each after all
    that it sees; once the prompt is fed, only of the lanes that its schedule serves, where it has
    one."""
    queue, schedule = request.queue, request.trunk.controller.schedule
    if schedule is None or request.prefix.cached < len(request.prompt):
        return [queue.popleft() for _ in range(bound.fitting(queue, room))]
    waiting: dict[Lane, int] = {}  # tokens of each lane, the one that came first first
    for token in queue:
        waiting[token.lane] = waiting.get(token.lane, 0) + 1
    places = set(schedule.choose(list(waiting.values()), request.live))
    held = {lane for i, lane in enumerate(waiting) if i not in places}
    served = list[QueuedToken]()
    for token in queue:
        if token.lane not in held and _sees_any(token.lane, held):
            held.add(token.lane)  # what it goes on from is not fed yet
        if token.lane not in held:
            served.append(token)
    taken = served[: bound.fitting(served, room)]
    fed = set(taken)
    request.queue = deque(token for token in queue if token not in fed)
    return taken


def _sees_any(lane: Lane, others: set[Lane]) -> bool:
    """Whether a lane goes on from one of others."""
    above = lane.parent
    while above is not None and above not in others:
        above = above.parent
    return above is not None


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
