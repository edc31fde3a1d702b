"""CUDA graphs of usual decoding steps: a step is recorded once for each size, then only replayed.

A usual step has one row a lane and no lane that sees another's row of the same pass. Its inputs are
copied into buffers that stay where they are, padded to the sizes that were recorded; everything
else runs as it is. Knows no lanes and no policy. Not yet run on a GPU.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinfer.attention.backend import Backend
from pinfer.attention.flash import FEW, Flash, Plan, Planner, room
from pinfer.attention.lse_merge import Merge
from pinfer.attention.varlen_kernels import Sequences
from pinfer.attention.view import View
from pinfer.kv_cache.arena import Arena
from pinfer.models.fast import FastModel

# of a recorded step. More are not worth a recording, and their runs may be longer than a chunk
ROWS = (1, 2, 4, 8, 16, FEW)
Step = Callable[[], Tensor]
Capture = Callable[[Step], tuple[Callable[[], None], Tensor]]  # -> what replays it, its output


@dataclass(frozen=True, slots=True)
class Size:
    """What a recorded step has room for: `rows`, `sequences` of the kernel, and `places`: results
    of which one row's is merged. No row stands in more sequences than that, so `rows * places`
    queries are enough."""

    rows: int
    sequences: int
    places: int

    @classmethod
    def of(cls, plan: Plan) -> "Size | None":
        """The smallest that holds a plan; None where it must not be recorded: parts or groups that
        are computed as products, no sequences, or too many rows."""
        count, places = plan.merge.index.shape
        if plan.others or plan.sequences is None or count > ROWS[-1]:
            return None
        rows = next(r for r in ROWS if r >= count)
        return cls(rows, room(len(plan.sequences.used)), room(places))


class Inputs:
    """The buffers of a recorded step, on its device. The numbers of a plan lie in one buffer, with
    a twin on the host: they go over in one copy."""

    def __init__(self, size: Size, device: torch.device) -> None:
        queries = size.rows * size.places
        self.size, self.device = size, device
        self.tokens, self.positions, self.slots = (
            torch.zeros(size.rows, dtype=torch.long, device=device) for _ in range(3)
        )
        starts = size.sequences + 1
        lengths = [queries, starts, starts, size.sequences, queries, queries]
        self._host = torch.zeros(sum(lengths), dtype=torch.int32, pin_memory=device.type == "cuda")
        self._there = torch.zeros_like(self._host, device=device)
        self._fields = [x.numpy() for x in self._host.split(lengths)]
        self.fields = self._there.split(lengths)

    def fill(self, tokens: Tensor, view: View, plan: Plan) -> None:
        """Take a pass's rows (R,) and its plan on the host. Rows beyond R are the last row again:
        they store the same keys in the same slot and read the same results."""
        buffers = self.tokens, self.positions, self.slots
        for buffer, given in zip(buffers, (tokens, view.positions, view.slots), strict=True):
            last = given[-1:].expand(len(buffer) - len(given))
            buffer[: len(given)].copy_(given, non_blocking=True)
            buffer[len(given) :].copy_(last, non_blocking=True)
        s = plan.sequences
        assert s is not None, "a step without sequences is not recorded"
        rows, q, k, used, index, bias = self._fields
        _pad(rows, plan.rows.numpy(), 0)
        for table, values in ((q, s.q.numpy()), (k, s.k.numpy())):
            _pad(table, values, int(values[-1]))  # sequences beyond the plan's: no rows, no slots
        _pad(used, s.used.numpy(), 0)
        shape = self.size.rows, self.size.places
        _pad_table(index.reshape(shape), plan.merge.index.numpy(), 0)
        floats = bias.view(np.float32).reshape(shape)
        _pad_table(floats, plan.merge.bias.numpy()[..., 0], -np.inf)
        self._there.copy_(self._host, non_blocking=True)

    def plan(self, groups: int, chunk: int) -> Plan:
        """The plan that a recorded step follows: the buffers, and capacities that never change."""
        rows, q, k, used, index, bias = self.fields
        sequences = Sequences(q, k, used, room(groups * self.size.rows), chunk)
        bias = bias.view(torch.float32).view(self.size.rows, -1, 1)
        merge = Merge(index.view(self.size.rows, -1), bias, in_order=False)
        return Plan(rows, sequences, [], [], merge)


@dataclass(frozen=True, slots=True)
class Follow:
    """A backend that follows one plan whatever the view says."""

    flash: Flash
    plan: Plan

    def __call__(
        self, query: Tensor, view: View, layer: int, scale: float, softcap: float | None
    ) -> Tensor:
        """As `Flash`."""
        return self.flash.follow(self.plan, query, view, layer, scale, softcap)


@dataclass(frozen=True, slots=True)
class Recording:
    """A step that can be replayed: fill `inputs`, `replay`, read `logits` (rows, vocabulary)."""

    inputs: Inputs
    replay: Callable[[], None]
    logits: Tensor


class Graphed:
    """A `FastModel` that replays its usual decoding steps; called as one, with equal results."""

    def __init__(self, model: FastModel, make_capture: Callable[[], Capture] | None = None) -> None:
        self.model, self.make_capture = model, make_capture or CudaCapture
        self.layers, self.device = len(model.blocks), model.embed.weight.device
        self.recordings: dict[Size, Recording] = {}
        self._slab: tuple[int, ...] = ()
        self._capture: Capture
        groups = {block.heads // block.kv_heads for block in model.blocks}
        windows = any(block.window is not None for block in model.blocks)
        self._groups = None if windows or len(groups) > 1 else groups.pop()

    def __call__(
        self, tokens: Tensor, positions: Tensor, view: View, drawn: Tensor, backend: Backend
    ) -> Tensor:
        """As `FastModel`, which computes the steps that are not usual, and all with other backends
        than `Flash`; and those of a model with sliding windows."""
        stored = view.arena.keys[-1] is not None  # else this pass allocates it
        usual = stored and not view.groups and len(view.slots) <= ROWS[-1]
        if self._groups is not None and usual and isinstance(backend, Flash):
            plan = Planner(self._groups, chunk=backend.chunk).plan(view)
            size = Size.of(plan)
            if size is not None:
                return self._replay(tokens, view, drawn, backend, plan, size)
        return self.model(tokens, positions, view, drawn, backend)

    def _replay(
        self, tokens: Tensor, view: View, drawn: Tensor, flash: Flash, plan: Plan, size: Size
    ) -> Tensor:
        self._forget_moved(view.arena)
        recording = self.recordings.get(size)
        inputs = recording.inputs if recording else Inputs(size, view.slots.device)
        inputs.fill(tokens, view, plan)
        if recording is None:
            recording = self.recordings[size] = self._record(inputs, view.arena, flash)
        recording.replay()
        return recording.logits.index_select(0, drawn)  # a copy: the next replay writes there

    def _forget_moved(self, arena: Arena) -> None:
        """Drop what was recorded over keys and values that have been allocated anew since. Later
        recordings take other memory: a pool whose graphs are gone cannot be recorded into."""
        pools = (arena.keys[0], arena.values[-1])
        slab = (arena.slots, *(p.data_ptr() for p in pools if p is not None))
        if slab != self._slab:
            self.recordings.clear()
            self._slab, self._capture = slab, self.make_capture()

    def _record(self, inputs: Inputs, arena: Arena, flash: Flash) -> Recording:
        assert self._groups is not None
        view = View(arena, inputs.slots, inputs.positions, [], [])
        follow = Follow(flash, inputs.plan(self._groups, flash.chunk))
        every = torch.arange(inputs.size.rows, device=inputs.device)

        def step() -> Tensor:
            return self.model(inputs.tokens, inputs.positions, view, every, follow)

        return Recording(inputs, *self._capture(step))


def graphed(forward: Any, backend: Backend) -> Any:
    """What decodes faster by recorded steps, so wrapped; anything else as it is."""
    usable = isinstance(forward, FastModel) and isinstance(backend, Flash)
    return Graphed(forward) if usable else forward


class CudaCapture:
    """Records steps as CUDA graphs. They share one memory pool: only one of them runs at a time,
    and its output is copied before the next."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, step: Step) -> tuple[Callable[[], None], Tensor]:
        """Runs a step twice, so that libraries choose kernels and allocate, then records it."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(2):
                step()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # work that other threads launch meanwhile is no fault of this recording
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            logits = step()
        self._pool = self._pool or graph.pool()
        return graph.replay, logits


def _pad(buffer: np.ndarray, values: np.ndarray, rest: int) -> None:
    buffer[: len(values)] = values
    buffer[len(values) :] = rest


def _pad_table(buffer: np.ndarray, values: np.ndarray, rest: float) -> None:
    """Columns beyond the values' hold `rest`, rows beyond them the last row again."""
    rows, columns = values.shape
    buffer[:rows, :columns] = values
    buffer[:rows, columns:] = rest
    buffer[rows:] = buffer[rows - 1]
