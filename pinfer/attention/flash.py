"""Attention by one varlen kernel call a layer, on a CUDA device: every run of slots is a sequence.

The parts of a pass are cut into runs that no two of them share, so no slot is read twice and the
kernel's layout is legal; long runs of few rows are cut into chunks, to fill the chip. Masked parts,
groups and soft caps are computed as products. One merge by log-sum-exp. Not yet run on a GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pbranch.errors import RequestError
from pinfer.attention.lse_merge import Merge, attend_run
from pinfer.attention.varlen_kernels import Kernel, Sequences
from pinfer.attention.view import Group, Part, View

CHUNK = 1024  # slots: the most that one sequence of few rows has
FEW = 32  # rows: with more of them a run fills the chip by itself
WIDEST = 256  # of a head, in multiples of 8: what the kernels take


@dataclass(frozen=True, slots=True)
class Run:
    """Slots [start, start + length), seen by `rows` and by no others."""

    start: int
    length: int
    rows: list[int]


@dataclass(frozen=True, slots=True)
class Plan:
    """The calls of a pass, made once for all its layers. `rows` (n,): of the kernel's sequences,
    one after another; `masked`, `groups`: what is computed as products. Without `sequences` there
    is nothing for the kernel. `merge` takes the kernel's result, the masked parts', the groups'."""

    rows: Tensor
    sequences: Sequences | None
    masked: list[Part]
    groups: list[Group]
    merge: Merge

    def to(self, device: torch.device) -> "Plan":
        """The same plan on a device, where the view's parts and groups are already."""
        s, m = self.sequences, self.merge
        tables = [self.rows, m.index, m.bias, *((s.q, s.k, s.used) if s else ())]
        rows, index, bias, *rest = (t.to(device, non_blocking=True) for t in tables)
        if s is not None:
            q, k, used = rest
            s = Sequences(q, k, used, s.max_q, s.max_k)
        return Plan(rows, s, self.masked, self.groups, Merge(index, bias, m.in_order))


@dataclass(frozen=True, slots=True)
class Planner:
    """Makes plans for layers with `groups` query heads a key head; `whole`: the kernel may serve
    (it knows no soft cap)."""

    groups: int
    whole: bool = True
    chunk: int = CHUNK

    def __call__(self, view: View) -> Plan:
        """The plan where the view's tensors are, so that `view.derived` keeps it."""
        return self.plan(view).to(view.slots.device)

    def plan(self, view: View) -> Plan:
        """The plan on the host."""
        plain = [p for p in view.parts if self.whole and p.mask is None]
        masked = [p for p in view.parts if not self.whole or p.mask is not None]
        runs = [c for run in cut(plain) for c in chunks(run, self.chunk)]
        rows = np.array([row for run in runs for row in run.rows], dtype=np.int64)
        masked_rows = [p.rows.cpu().numpy() for p in masked]
        group_rows = [np.arange(g.start, g.start + g.length) for g in view.groups]
        merge = find_merge([rows, *masked_rows, *group_rows], len(view.slots))
        sequences = lay_out(runs, self.groups) if runs else None
        return Plan(torch.from_numpy(rows), sequences, masked, view.groups, merge)


@dataclass(frozen=True, slots=True)
class Flash:
    """The backend: computes what a view says with a varlen kernel."""

    kernel: Kernel
    chunk: int = CHUNK

    def __call__(
        self, query: Tensor, view: View, layer: int, scale: float, softcap: float | None
    ) -> Tensor:
        """Rows (R, H, D) of a pass, whose keys and values are stored; returns (R, H, D)."""
        groups = query.shape[1] // _stored(view, layer)[0].shape[1]
        plan = view.derived(Planner(groups, softcap is None, self.chunk))
        return self.follow(plan, query, view, layer, scale, softcap)

    def follow(
        self,
        plan: Plan,
        query: Tensor,
        view: View,
        layer: int,
        scale: float,
        softcap: float | None = None,
    ) -> Tensor:
        """The same by a given plan, for as many rows as its merge has."""
        keys, values = _stored(view, layer)
        partials = []
        if plan.sequences is not None:
            partials.append(self._sequences(query, keys, values, plan.rows, plan.sequences, scale))
        by_head = keys.transpose(0, 1), values.transpose(0, 1)
        for part in plan.masked:
            k, v = (x.narrow(1, part.start, part.length) for x in by_head)
            queries = query.index_select(0, part.rows)
            partials.append(attend_run(queries, k, v, scale, softcap, part.mask))
        for group in plan.groups:
            rows = slice(group.start, group.start + group.length)
            k, v = (x[:, view.slots[rows]] for x in by_head)
            partials.append(attend_run(query[rows], k, v, scale, softcap, group.mask))
        return plan.merge(*zip(*partials, strict=True))

    def _sequences(
        self, query: Tensor, keys: Tensor, values: Tensor, rows: Tensor, s: Sequences, scale: float
    ) -> tuple[Tensor, Tensor]:
        """Result (n, H, D) and log-sum-exp (n, H) of the kernel's rows. The query heads of one key
        head are rows of it: a slot is then read once for all of them."""
        heads, dim = query.shape[1:]
        if dim > WIDEST or dim % 8:
            raise RequestError(
                f"attention 'flash': heads of {dim}, expected a multiple of 8 up to {WIDEST}; "
                "use sdpa"
            )
        kv_heads, n = keys.shape[1], len(rows)
        folded = query.view(len(query), kv_heads, -1, dim).transpose(1, 2)
        folded = folded.index_select(0, rows).reshape(-1, kv_heads, dim)
        out, lse = self.kernel(folded, keys, values, s, scale)
        out = out.reshape(n, -1, kv_heads, dim).transpose(1, 2).reshape(n, heads, dim)
        return out, lse.reshape(n, -1, kv_heads).transpose(1, 2).reshape(n, heads)


def cut(parts: Sequence[Part]) -> list[Run]:
    """Disjoint runs of slots in order, each with all rows that see it, in order."""
    readers = [p.rows.tolist() for p in parts]
    edges = sorted(
        edge
        for i, p in enumerate(parts)
        for edge in ((p.start, True, i), (p.start + p.length, False, i))
    )
    runs: list[Run] = []
    inside: set[int] = set()
    before = 0
    for at, begins, i in edges:
        if inside and at > before:
            rows = sorted({row for j in inside for row in readers[j]})
            runs.append(Run(before, at - before, rows))
        before = at
        (inside.add if begins else inside.remove)(i)
    return runs


def chunks(run: Run, most: int) -> list[Run]:
    """A run of few rows in pieces of at most `most` slots; one of many rows as it is."""
    if len(run.rows) > FEW:
        return [run]
    end = run.start + run.length
    return [Run(at, min(most, end - at), run.rows) for at in range(run.start, end, most)]


def lay_out(runs: Sequence[Run], groups: int) -> Sequences:
    """Runs in order of slots as sequences on the host, with `groups` queries a row. The capacities
    are powers of two: a captured graph keeps them, and kernels choose their blocks by them."""
    widths = [groups * len(run.rows) for run in runs]
    used = [run.length for run in runs]
    k = [*(run.start for run in runs), runs[-1].start + runs[-1].length]
    q, starts, lengths = (
        torch.from_numpy(np.array(x, dtype=np.int32)) for x in (np.cumsum([0, *widths]), k, used)
    )
    return Sequences(q, starts, lengths, room(max(widths)), room(max(used)))


def find_merge(pieces: Sequence[np.ndarray], count: int) -> Merge:
    """As `plan_merge`, without a loop over rows: a usual step has little time for it."""
    rows = np.concatenate(pieces)
    order = np.argsort(rows, kind="stable")  # the places of row 0, those of row 1, ...
    held = np.bincount(rows, minlength=count)
    column = np.arange(held.max())
    inside = column < held[:, None]
    first = (np.cumsum(held) - held)[:, None]
    index = order[np.where(inside, first + column, first)]
    bias = np.where(inside, np.float32(0), np.float32(-np.inf))[..., None]
    return Merge(torch.from_numpy(index), torch.from_numpy(bias), in_order=False)


def room(n: int) -> int:
    """The smallest power of two that holds `n`."""
    return 1 << (n - 1).bit_length()


def _stored(view: View, layer: int) -> tuple[Tensor, Tensor]:
    keys, values = view.arena.keys[layer], view.arena.values[layer]
    assert keys is not None and values is not None, "rows are stored before they are attended"
    return keys, values
