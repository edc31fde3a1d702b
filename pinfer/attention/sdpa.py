"""Attention by parts, on any device: each part of a view once for all rows that see it, then one
merge. No mask over the whole cache, no copy of a shared prefix or of anything long."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from pinfer.attention.lse_merge import FUSED, Merge, attend_padded, attend_run, plan_merge
from pinfer.attention.view import Part, View

SHORT = 512 * 1024  # bytes: a run as short as this costs less to copy than to call a kernel for
SMALL = 128 * 1024  # bytes of keys: under one mask they cost less than a second call and a merge


@dataclass(frozen=True, slots=True)
class Window:
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
    """The calls of a pass, made once for all its layers. `rows`: of each call, in order of bundles,
    parts and groups; None where they are all rows in order."""

    bundles: list[Bundle]
    parts: list[Part]
    rows: list[Tensor | None]
    merge: Merge


def attend(query: Tensor, view: View, layer: int, scale: float, softcap: float | None) -> Tensor:
    """Rows (R, H, D) of a pass, whose keys and values are stored; returns (R, H, D)."""
    keys, values = view.arena.keys[layer], view.arena.values[layer]
    assert keys is not None and values is not None, "rows are stored before they are attended"
    fused = FUSED is not None and query.device.type == "cpu" and softcap is None
    window = view.derived(find_window) if fused else None
    if window is not None:
        run = slice(window.start, window.start + window.length)
        q, k, v = (x.transpose(0, 1)[None] for x in (query, keys[run], values[run]))
        out = scaled_dot_product_attention(q, k, v, window.bias, scale=scale, enable_gqa=True)
        return out[0].transpose(0, 1)
    plan = view.derived(plan_bundled if fused else plan_plain)
    queries = [query if rows is None else query.index_select(0, rows) for rows in plan.rows]
    found = []
    for q, many in zip(queries, plan.bundles, strict=False):
        k, v = (
            x.index_select(0, many.slots.view(-1)).view(*many.slots.shape, *x.shape[1:])
            for x in (keys, values)
        )
        found.append(attend_padded(q, k, v, scale, many.bias))
    by_head = keys.transpose(0, 1), values.transpose(0, 1)
    for q, part in zip(queries[len(found) :], plan.parts, strict=False):
        k, v = (x.narrow(1, part.start, part.length) for x in by_head)
        found.append(attend_run(q, k, v, scale, softcap, part.mask))
    for q, group in zip(queries[len(found) :], view.groups, strict=True):
        slots = view.slots[group.start : group.start + group.length]
        k, v = (x[:, slots] for x in by_head)
        found.append(attend_run(q, k, v, scale, softcap, group.mask))
    return plan.merge(*zip(*found, strict=True))


def find_window(view: View) -> Window | None:
    """The slots that the rows of a small pass see, and one mask over them; None for a large one."""
    stored = next(x for x in view.arena.keys if x is not None)
    slots = view.slots.numpy()
    used = [slots[g.start : g.start + g.length] for g in view.groups]
    low = min([p.start for p in view.parts] + [int(s.min()) for s in used])
    high = max([p.start + p.length for p in view.parts] + [int(s.max()) + 1 for s in used])
    if (high - low) * stored[0].numel() * stored.element_size() > SMALL:
        return None
    seen = np.zeros((len(slots), high - low), dtype=bool)
    for p in view.parts:
        run = slice(p.start - low, p.start - low + p.length)
        seen[p.rows.numpy(), run] = True if p.mask is None else p.mask.numpy()
    for g, own in zip(view.groups, used, strict=True):
        seen[g.start : g.start + g.length][:, own - low] = g.mask.numpy()
    bias = None
    if not seen.all():
        bias = torch.zeros(seen.shape, dtype=stored.dtype)
        bias.masked_fill_(torch.from_numpy(~seen), float("-inf"))
    return Window(low, high - low, bias)


def plan_plain(view: View) -> Plan:
    """A call for each part."""
    return _plan(view, view.parts, [])


def plan_bundled(view: View) -> Plan:
    """A call for each part that is worth one, and for each bundle of others."""
    return _plan(view, *bundle(view))


def _plan(view: View, parts: list[Part], bundles: list[Bundle]) -> Plan:
    device, count = view.slots.device, len(view.slots)
    groups = [torch.arange(g.start, g.start + g.length, device=device) for g in view.groups]
    rows = [*(b.rows for b in bundles), *(p.rows for p in parts), *groups]
    everything = list(range(count))
    some = [None if r.tolist() == everything else r for r in rows]
    return Plan(bundles, parts, some, plan_merge(rows, count))


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
