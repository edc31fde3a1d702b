"""Attention by parts, on any device: each part of a view once for all rows that see it, then one
merge. No mask over the whole cache, no copy of a shared prefix or of anything long."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from pinfer.attention.lse_merge import FUSED, Merge, attend_padded, attend_run, plan_merge
from pinfer.attention.view import Group, Part, View

COPY_BELOW_BYTES = 512 * 1024  # of keys and values: a run that costs less to copy than a call
BUNDLE_BELOW_BYTES = 2 * 2**20  # of one call: a larger copy leaves the processor's cache
# of keys: under one mask they cost less than a second call and a merge
SINGLE_CALL_BELOW_BYTES = 128 * 1024

Selection = Tensor | None  # indices of query rows; None: all rows in order


@dataclass(frozen=True, slots=True)
class SmallPass:
    """A pass whose keys lie in few slots, [start, start + length): one call under one mask. `bias`
    (R, length) is -inf where hidden; None where nothing is."""

    start: int
    length: int
    bias: Tensor | None


@dataclass(frozen=True, slots=True)
class Bundle:
    """Runs of like length that one row each sees: `slots` (B, L), of which those where `bias`
    (B, 1, 1, L) is 0 are in the run of row `rows` (B,)."""

    rows: Tensor
    slots: Tensor
    bias: Tensor


@dataclass(frozen=True, slots=True)
class Plan:
    """The calls of a pass, each with its query rows; made once for all layers. `merge` takes the
    results of the bundles, then of the parts, then of the groups."""

    bundles: list[tuple[Selection, Bundle]]
    parts: list[tuple[Selection, Part]]
    groups: list[tuple[Selection, Group]]
    merge: Merge


def attend(query: Tensor, view: View, layer: int, scale: float, softcap: float | None) -> Tensor:
    """Rows (R, H, D) of a pass, whose keys and values are stored; returns (R, H, D)."""
    keys, values = view.arena.keys[layer], view.arena.values[layer]
    assert keys is not None and values is not None, "rows are stored before they are attended"
    fused = FUSED is not None and query.device.type == "cpu" and softcap is None
    small = view.derived(find_small_pass) if fused else None
    if small is not None:
        run = slice(small.start, small.start + small.length)
        q, k, v = (x.transpose(0, 1)[None] for x in (query, keys[run], values[run]))
        out = scaled_dot_product_attention(q, k, v, small.bias, scale=scale, enable_gqa=True)
        return out[0].transpose(0, 1)
    plan = view.derived(plan_bundled if fused else plan_plain)
    partials = []
    for rows, bundle in plan.bundles:
        k, v = (
            x.index_select(0, bundle.slots.view(-1)).view(*bundle.slots.shape, *x.shape[1:])
            for x in (keys, values)
        )
        partials.append(attend_padded(_select(query, rows), k, v, scale, bundle.bias))
    by_head = keys.transpose(0, 1), values.transpose(0, 1)
    for rows, part in plan.parts:
        k, v = (x.narrow(1, part.start, part.length) for x in by_head)
        partials.append(attend_run(_select(query, rows), k, v, scale, softcap, part.mask))
    for rows, group in plan.groups:
        slots = view.slots[group.start : group.start + group.length]
        k, v = (x[:, slots] for x in by_head)
        partials.append(attend_run(_select(query, rows), k, v, scale, softcap, group.mask))
    return plan.merge(*zip(*partials, strict=True))


def _select(query: Tensor, rows: Selection) -> Tensor:
    return query if rows is None else query.index_select(0, rows)


def find_small_pass(view: View) -> SmallPass | None:
    """The slots that the rows of a small pass see, and one mask over them; None for a large one."""
    stored = next(x for x in view.arena.keys if x is not None)
    slots = view.slots.numpy()
    group_slots = [slots[g.start : g.start + g.length] for g in view.groups]
    low = min([p.start for p in view.parts] + [int(s.min()) for s in group_slots])
    high = max([p.start + p.length for p in view.parts] + [int(s.max()) + 1 for s in group_slots])
    if (high - low) * stored[0].numel() * stored.element_size() > SINGLE_CALL_BELOW_BYTES:
        return None
    visible = np.zeros((len(slots), high - low), dtype=bool)
    for p in view.parts:
        run = slice(p.start - low, p.start - low + p.length)
        visible[p.rows.numpy(), run] = True if p.mask is None else p.mask.numpy()
    for g, columns in zip(view.groups, group_slots, strict=True):
        visible[g.start : g.start + g.length][:, columns - low] = g.mask.numpy()
    bias = None
    if not visible.all():
        bias = torch.zeros(visible.shape, dtype=stored.dtype)
        bias.masked_fill_(torch.from_numpy(~visible), float("-inf"))
    return SmallPass(low, high - low, bias)


def plan_plain(view: View) -> Plan:
    """A call for each part."""
    return _plan(view, view.parts, [])


def plan_bundled(view: View) -> Plan:
    """A call for each part that is worth one, and for each bundle of others."""
    return _plan(view, *bundle_short_parts(view))


def _plan(view: View, parts: list[Part], bundles: list[Bundle]) -> Plan:
    device, count = view.slots.device, len(view.slots)
    group_rows = [torch.arange(g.start, g.start + g.length, device=device) for g in view.groups]
    pieces = [*(b.rows for b in bundles), *(p.rows for p in parts), *group_rows]
    every_row = list(range(count))

    def selection(rows: Tensor) -> Selection:
        return None if rows.tolist() == every_row else rows

    return Plan(
        [(selection(b.rows), b) for b in bundles],
        [(selection(p.rows), p) for p in parts],
        [(selection(r), g) for r, g in zip(group_rows, view.groups, strict=True)],
        plan_merge(pieces, count),
    )


def bundle_short_parts(view: View) -> tuple[list[Part], list[Bundle]]:
    """The parts that are worth a call each, and the others in bundles."""
    stored = next(x for x in view.arena.keys if x is not None)
    slot_bytes = 2 * stored[0].numel() * stored.element_size()  # keys and values
    most = COPY_BELOW_BYTES // slot_bytes
    short = [p for p in view.parts if len(p.rows) == 1 and p.length <= most and p.mask is None]
    short.sort(key=lambda p: p.length)
    bundles: list[list[Part]] = []
    for part in short:
        room = BUNDLE_BELOW_BYTES // (part.length * slot_bytes)
        if not bundles or part.length > 2 * bundles[-1][0].length + 16 or len(bundles[-1]) >= room:
            bundles.append([])
        bundles[-1].append(part)
    alone = {id(b[0]) for b in bundles if len(b) == 1}
    bundled = {id(p) for p in short} - alone
    return (
        [p for p in view.parts if id(p) not in bundled],
        [pad(b, stored.dtype) for b in bundles if len(b) > 1],
    )


def pad(parts: Sequence[Part], dtype: torch.dtype) -> Bundle:
    """Parts of one row each as one bundle, in order of rows."""
    parts = sorted(parts, key=lambda p: int(p.rows))
    starts = torch.tensor([p.start for p in parts])[:, None]
    column = torch.arange(max(p.length for p in parts))
    inside = column < torch.tensor([p.length for p in parts])[:, None]
    bias = torch.zeros(inside.shape, dtype=dtype).masked_fill_(~inside, float("-inf"))
    slots = torch.where(inside, starts + column, starts)
    return Bundle(torch.cat([p.rows for p in parts]), slots, bias[:, None, None])
