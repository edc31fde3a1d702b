"""What each token of a pass sees, as attention metadata. A pure function of the tokens and of where
they are cached.

Each part is a run of slots and the tokens that see all of it, so siblings read a shared prefix in
one call; tokens that see others of the same pass form a group with a small explicit mask.
"""

from collections.abc import Sequence

import numpy as np
import torch

from pinfer.attention.view import Backend, Group, KVPolicy, Part, View
from pinfer.kv_cache.lanes import LaneCache, Placement, Span
from pinfer.request.lane_visibility import sees
from pinfer.request.state import Lane, LiveFork, QueuedToken


def plan_pass(
    tokens: Sequence[QueuedToken],
    placement: Placement,
    cache: LaneCache,
    backend: Backend,
    policy: KVPolicy | None = None,
) -> View:
    """The view of a pass whose tokens are placed. Tokens of one request stand together, each after
    all that it sees."""
    arena, before = cache.arena, placement.before
    readers: dict[tuple[int, int, Lane | None], list[int]] = {}  # (segment, length, …) -> tokens
    groups: list[Group] = []
    for begin, end in _requests(tokens):
        alone = _see_only_themselves(tokens[begin:end])
        joined: dict[Lane, LiveFork] = {}
        for i in range(begin, end):
            token = tokens[i]
            if token.joins is not None:
                joined[token.home] = token.joins
            own = cache.segment(token.home)
            for number, span in visible_spans(token.home, joined, cache):
                length = before.get(number, arena.segments[number].length) if span is None else span
                length += alone and number == own
                if length:
                    partly = token.home if (token.home, number) in placement.hidden else None
                    readers.setdefault((number, length, partly), []).append(i)
        if not alone:
            mask = torch.from_numpy(_mutual(tokens[begin:end])).to(arena.device)
            groups.append(Group(begin, end - begin, mask))
    parts = []
    for (number, length, lane), members in readers.items():
        rows = torch.tensor(members, device=arena.device)
        seen = None
        if lane is not None:
            seen = placement.hidden[lane, number].expand(len(members), -1)
        parts.append(Part(rows, arena.segments[number].start, length, seen))
    positions = torch.tensor([t.position for t in tokens])
    slots = torch.tensor(placement.slots, device=arena.device)
    layers = {
        layer: plan_pass(tokens, own, cache, backend, policy)
        for layer, own in enumerate(placement.layers)
    }
    return View(arena, slots, positions, parts, groups, backend, policy, layers)


def visible_spans(lane: Lane, joined: dict[Lane, LiveFork], cache: LaneCache) -> list[Span]:
    """What a lane's tokens see: its context, its own segment, and those of branches whose join
    token stands in this pass and which are therefore not yet part of its own."""
    return [*cache.context(lane), *own_spans(lane, joined, cache)]


def own_spans(lane: Lane, joined: dict[Lane, LiveFork], cache: LaneCache) -> list[Span]:
    """A lane's own segment, and those of the branches that it joins in this pass."""
    number = cache.segment(lane)
    spans: list[Span] = [] if number is None else [(number, None)]
    if lane in joined:
        for child in joined[lane].hidden:
            spans += own_spans(child, joined, cache)
    return spans


def _requests(tokens: Sequence[QueuedToken]) -> list[tuple[int, int]]:
    """Runs of tokens of one request."""
    cuts = [
        i for i in range(1, len(tokens)) if tokens[i].home.request is not tokens[i - 1].home.request
    ]
    return list(zip([0, *cuts], [*cuts, len(tokens)], strict=True)) if tokens else []


def _see_only_themselves(tokens: Sequence[QueuedToken]) -> bool:
    """One token a lane, and no lane another's ancestor: the usual decode step."""
    paths = {token.home.path for token in tokens}
    if len(paths) < len(tokens):
        return False
    return len(tokens) == 1 or not any(p[:n] in paths for p in paths for n in range(len(p)))


def _mutual(tokens: Sequence[QueuedToken]) -> np.ndarray:
    """Bool (n, n): token q sees token k, both of this pass."""
    lanes = list(dict.fromkeys(token.home for token in tokens))
    index = np.array([lanes.index(token.home) for token in tokens])
    table = np.array([[sees(q.path, k.path) for k in lanes] for q in lanes])
    mask = table[index][:, index] & np.tri(len(tokens), dtype=bool)
    for q in (i for i, token in enumerate(tokens) if token.scratch):
        anchor = next(i for i, token in enumerate(tokens) if token is tokens[q].anchor)
        same = [token.anchor is tokens[q].anchor for token in tokens]
        mask[:, q] &= same  # a scratch token is seen by those of its own anchor
        mask[q] &= np.array(same) | (np.arange(len(tokens)) <= anchor)
    return mask
