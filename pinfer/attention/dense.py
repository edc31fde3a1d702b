"""Attention under one explicit mask over the whole cache: slow, plain, the oracle of the others."""

import torch
from torch import Tensor

from pinfer.attention.view import View


def visible_slots(view: View) -> Tensor:
    """Bool (R, slots): which slots each row of the pass sees."""
    mask = torch.zeros(
        len(view.slots), view.arena.slots, dtype=torch.bool, device=view.slots.device
    )
    for part in view.parts:
        seen = True if part.mask is None else part.mask
        mask[part.rows, part.start : part.start + part.length] = seen
    for group in view.groups:
        run = slice(group.start, group.start + group.length)
        mask[run, view.slots[run]] = group.mask
    return mask


def attend(query: Tensor, view: View, layer: int, scale: float, softcap: float | None) -> Tensor:
    """Rows (R, H, D) of a pass, whose keys and values are stored; returns (R, H, D)."""
    keys, values = view.arena.keys[layer], view.arena.values[layer]
    assert keys is not None and values is not None, "rows are stored before they are attended"
    groups = query.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
    scores = torch.einsum("rhd,shd->hrs", query, keys) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~visible_slots(view), float("-inf"))
    return torch.einsum("hrs,shd->rhd", scores.softmax(-1), values)
