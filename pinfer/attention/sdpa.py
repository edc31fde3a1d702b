"""Attention by parts, on any device: each part of a view once for all rows that see it, then one
merge. No mask over the whole cache, no copy of a shared prefix or of anything long."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pinfer.attention.softmax import FUSED, attend_padded, attend_run, merge_runs
from pinfer.view import Part, View

SHORT = 512 * 1024  # bytes: a run as short as this costs less to copy than to call a kernel for


@dataclass(frozen=True, slots=True)
class Bundle:
    """Runs of like length that one row each sees: `slots` (B, L), of which `mask` (B, L) are in
    the run of row `rows` (B,)."""

    rows: Tensor
    slots: Tensor
    mask: Tensor


def attend(query: Tensor, view: View, layer: int, scale: float, softcap: float | None) -> Tensor:
    """Rows (R, H, D) of a pass, whose keys and values are stored; returns (R, H, D)."""
    keys, values = view.arena.keys[layer], view.arena.values[layer]
    assert keys is not None and values is not None, "rows are stored before they are attended"
    parts, bundles = view.parts, list[Bundle]()
    if FUSED is not None and query.device.type == "cpu" and softcap is None:
        parts, bundles = view.derived(bundle)
    pieces = []
    for many in bundles:
        k, v = (
            x.index_select(0, many.slots.view(-1)).view(*many.slots.shape, *x.shape[1:])
            for x in (keys, values)
        )
        pieces.append((many.rows, *attend_padded(query[many.rows], k, v, scale, many.mask)))
    keys, values = keys.transpose(0, 1), values.transpose(0, 1)
    for part in parts:
        run = (1, part.start, part.length)
        q, k, v = query.index_select(0, part.rows), keys.narrow(*run), values.narrow(*run)
        pieces.append((part.rows, *attend_run(q, k, v, scale, softcap, part.mask)))
    for group in view.groups:
        rows = slice(group.start, group.start + group.length)
        k, v = keys[:, view.slots[rows]], values[:, view.slots[rows]]
        index = torch.arange(rows.start, rows.stop, device=query.device)
        pieces.append((index, *attend_run(query[rows], k, v, scale, softcap, group.mask)))
    return merge_runs(pieces, len(query))


def bundle(view: View) -> tuple[list[Part], list[Bundle]]:
    """The parts that are worth a call of their own, and the others in bundles."""
    stored = next(x for x in view.arena.keys if x is not None)
    most = SHORT // (2 * stored[0].numel() * stored.element_size())  # slots of keys and values
    short = [p for p in view.parts if len(p.rows) == 1 and p.length <= most and p.mask is None]
    short.sort(key=lambda p: p.length)
    bundles: list[list[Part]] = []
    for part in short:
        if not bundles or part.length > 2 * bundles[-1][0].length + 16:
            bundles.append([])
        bundles[-1].append(part)
    alone = {id(b[0]) for b in bundles if len(b) == 1}
    small = {id(p) for p in short} - alone
    return (
        [p for p in view.parts if id(p) not in small],
        [pad(b) for b in bundles if len(b) > 1],
    )


def pad(parts: Sequence[Part]) -> Bundle:
    """Parts of one row each, the longest last, as one bundle."""
    starts = torch.tensor([p.start for p in parts])
    lengths = torch.tensor([p.length for p in parts])
    column = torch.arange(parts[-1].length)
    mask = column < lengths[:, None]
    slots = torch.where(mask, starts[:, None] + column, starts[:, None])
    return Bundle(torch.cat([p.rows for p in parts]), slots, mask)
