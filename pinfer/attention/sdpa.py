"""Attention by parts, on any device: each part of a view once for all rows that see it, then one
merge. No mask over the whole cache, no copy of a shared prefix."""

import torch
from torch import Tensor

from pinfer.attention.softmax import attend_run, merge_runs
from pinfer.view import View


def attend(query: Tensor, view: View, layer: int, scale: float, softcap: float | None) -> Tensor:
    """Rows (R, H, D) of a pass, whose keys and values are stored; returns (R, H, D)."""
    keys, values = view.arena.keys[layer], view.arena.values[layer]
    assert keys is not None and values is not None, "rows are stored before they are attended"
    pieces = []
    for part in view.parts:
        run = slice(part.start, part.start + part.length)
        found = attend_run(query[part.rows], keys[run], values[run], scale, softcap, part.mask)
        pieces.append((part.rows, *found))
    for group in view.groups:
        run = slice(group.start, group.start + group.length)
        slots = view.slots[run]
        found = attend_run(query[run], keys[slots], values[slots], scale, softcap, group.mask)
        pieces.append((torch.arange(run.start, run.stop, device=query.device), *found))
    return merge_runs(pieces, len(query))
