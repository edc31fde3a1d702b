"""What the rows of a pass attend to: parts of the arena, and one another.

`plan_pass` turns rows into a `View`: each part is a run of slots and the rows that see all of it,
so siblings read a shared prefix in one call; rows that see other rows of the same pass form a
group with a small explicit mask. Backends compute a view; they know no lanes.
"""

from collections.abc import Sequence

import numpy as np
import torch

from pinfer.attention.view import Group, Part, View
from pinfer.kv_cache.arena import Arena
from pinfer.kv_cache.lanes import _leave, _open
from pinfer.request.lane_visibility import sees
from pinfer.request.state import Lane, Row


def plan_pass(rows: Sequence[Row], arena: Arena) -> View:
    """Store the rows of a pass in the arena, and say what each of them sees.

    Rows of one request stand together, each after all that it sees.
    """
    for request in dict.fromkeys(row.home.request for row in rows):
        _leave(request, arena)
    placed: dict[int, list[int]] = {}  # segment -> rows of this pass
    for i, row in enumerate(rows):
        if row.home.segment < 0:
            _open(row.home, arena)
        placed.setdefault(row.home.segment, []).append(i)
    before = {number: arena.segments[number].length for number in placed}
    for number, members in placed.items():
        arena.append(number, [rows[i].position for i in members])
    slots = [0] * len(rows)
    for number, members in placed.items():  # only now: an append may move other segments
        for i, slot in zip(members, arena.segments[number].slots[before[number] :], strict=True):
            slots[i] = slot

    readers: dict[tuple[int, int], list[int]] = {}  # (segment, length) -> rows
    groups: list[Group] = []
    for begin, end in _requests(rows):
        alone = _see_only_themselves(rows[begin:end])
        joined: set[int] = set()
        for i in range(begin, end):
            row = rows[i]
            if row.joins:
                joined.add(id(row.home))
            for shared in row.home.request.prefix:
                readers.setdefault(shared, []).append(i)
            for number in _visible(row.home, joined):
                held = before.get(number, arena.segments[number].length)
                length = held + (alone and number == row.home.segment)
                if length:
                    readers.setdefault((number, length), []).append(i)
        if not alone:
            mask = torch.from_numpy(_mutual(rows[begin:end])).to(arena.device)
            groups.append(Group(begin, end - begin, mask))
    parts = [
        Part(torch.tensor(readers_of, device=arena.device), arena.segments[number].start, length)
        for (number, length), readers_of in readers.items()
    ]
    positions = torch.tensor([r.position for r in rows])
    return View(arena, torch.tensor(slots, device=arena.device), positions, parts, groups)


def _requests(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Spans of rows of one request."""
    cuts = [i for i in range(1, len(rows)) if rows[i].home.request is not rows[i - 1].home.request]
    return list(zip([0, *cuts], [*cuts, len(rows)], strict=True)) if rows else []


def _see_only_themselves(rows: Sequence[Row]) -> bool:
    """One row a lane, and no lane another's ancestor: the usual decoding step."""
    paths = {row.home.path for row in rows}
    if len(paths) < len(rows):
        return False
    return len(rows) == 1 or not any(p[:n] in paths for p in paths for n in range(len(p)))


def _visible(lane: Lane, joined: set[int]) -> list[int]:
    """Segments that a lane's rows see: its ancestors', its own, and those of branches whose join
    row stands in this pass and which are therefore not yet part of its own."""
    chain: list[int] = []
    parent = lane.parent
    while parent is not None:
        chain.append(parent.segment)
        parent = parent.parent
    return [*reversed(chain), *_own(lane, joined)]


def _own(lane: Lane, joined: set[int]) -> list[int]:
    own = [lane.segment]
    if id(lane) in joined:
        for child in lane.block.hidden:
            own += _own(child, joined)
    return own


def _mutual(rows: Sequence[Row]) -> np.ndarray:
    """Bool (n, n): row q sees row k, both of this pass."""
    lanes = list(dict.fromkeys(row.home for row in rows))
    index = np.array([lanes.index(row.home) for row in rows])
    table = np.array([[sees(q.path, k.path) for k in lanes] for q in lanes])
    return table[index][:, index] & np.tri(len(rows), dtype=bool)
