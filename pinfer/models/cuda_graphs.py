"""CUDA graphs of decode steps with one token a lane: captured once for each shape, then replayed.

In such a step no lane sees another's token of the same pass. Its inputs are copied into buffers
that stay where they are, padded to the captured shape; all other steps run as they are. Knows no
lanes and no policy. Not yet run on a GPU.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinfer.attention.flash import FEW, Flash, Plan, Planner, room
from pinfer.attention.lse_merge import Merge
from pinfer.attention.varlen_kernels import Sequences
from pinfer.attention.view import Backend, View
from pinfer.execution.forward import PassInput
from pinfer.kv_cache.arena import Arena
from pinfer.models.fast import FastModel

# of a captured step. More are not worth a capture, and their runs may be longer than a chunk
ROWS = (1, 2, 4, 8, 16, FEW)
Step = Callable[[], Tensor]
Capture = Callable[[Step], tuple[Callable[[], None], Tensor]]  # -> what replays it, its output


@dataclass(frozen=True, slots=True)
class GraphShape:
    """What a captured step has room for: `rows` tokens, `sequences` of the kernel, and `max_spans`
    partial results a token. No token stands in more sequences than that, so `rows * max_spans`
    queries are enough."""

    rows: int
    sequences: int
    max_spans: int

    @classmethod
    def of(cls, plan: Plan) -> "GraphShape | None":
        """The smallest that holds a plan; None where it must not be captured: parts or groups that
        are computed as products, no sequences, or too many rows."""
        count, max_spans = plan.merge.index.shape
        if plan.masked or plan.groups or plan.sequences is None or count > ROWS[-1]:
            return None
        rows = next(r for r in ROWS if r >= count)
        return cls(rows, room(len(plan.sequences.used)), room(max_spans))


class Inputs:
    """The buffers of a captured step, on its device. The numbers of a plan lie in one buffer, with
    a twin on the host: they go over in one copy."""

    def __init__(self, shape: GraphShape, device: torch.device) -> None:
        queries = shape.rows * shape.max_spans
        self.shape, self.device = shape, device
        self.tokens, self.positions, self.slots = (
            torch.zeros(shape.rows, dtype=torch.long, device=device) for _ in range(3)
        )
        starts = shape.sequences + 1
        lengths = [queries, starts, starts, shape.sequences, queries, queries]
        self._host_buffer = torch.zeros(
            sum(lengths), dtype=torch.int32, pin_memory=device.type == "cuda"
        )
        self._device_buffer = torch.zeros_like(self._host_buffer, device=device)
        self._fields = [x.numpy() for x in self._host_buffer.split(lengths)]
        self.fields = self._device_buffer.split(lengths)

    def fill(self, tokens: Tensor, view: View, plan: Plan) -> None:
        """Take a pass's rows (R,) and its plan on the host. Rows beyond R are the last row again:
        they store the same keys in the same slot and read the same results."""
        buffers = self.tokens, self.positions, self.slots
        for buffer, given in zip(buffers, (tokens, view.positions, view.slots), strict=True):
            last = given[-1:].expand(len(buffer) - len(given))
            buffer[: len(given)].copy_(given, non_blocking=True)
            buffer[len(given) :].copy_(last, non_blocking=True)
        s = plan.sequences
        assert s is not None, "a step without sequences is not captured"
        rows, q, k, used, index, bias = self._fields
        _pad(rows, plan.rows.numpy(), 0)
        for table, values in ((q, s.q.numpy()), (k, s.k.numpy())):
            _pad(table, values, int(values[-1]))  # sequences beyond the plan's: no rows, no slots
        _pad(used, s.used.numpy(), 0)
        table = self.shape.rows, self.shape.max_spans
        _pad_table(index.reshape(table), plan.merge.index.numpy(), 0)
        floats = bias.view(np.float32).reshape(table)
        _pad_table(floats, plan.merge.bias.numpy()[..., 0], -np.inf)
        self._device_buffer.copy_(self._host_buffer, non_blocking=True)

    def plan(self, groups: int, chunk: int) -> Plan:
        """The plan that a captured step follows: the buffers, and capacities that never change."""
        rows, q, k, used, index, bias = self.fields
        sequences = Sequences(q, k, used, room(groups * self.shape.rows), chunk)
        bias = bias.view(torch.float32).view(self.shape.rows, -1, 1)
        merge = Merge(index.view(self.shape.rows, -1), bias, in_order=False)
        return Plan(rows, sequences, [], [], merge)


@dataclass(frozen=True, slots=True)
class ReplayBackend:
    """A backend that follows one plan whatever the view says."""

    flash: Flash
    plan: Plan

    def __call__(
        self, query: Tensor, view: View, layer: int, *, scale: float, softcap: float | None
    ) -> Tensor:
        """As `Flash`."""
        return self.flash.follow(self.plan, query, view, layer, scale, softcap)


@dataclass(frozen=True, slots=True)
class CapturedStep:
    """A step that can be replayed: fill `inputs`, `replay`, read `logits` (rows, vocabulary)."""

    inputs: Inputs
    replay: Callable[[], None]
    logits: Tensor


class CudaGraphModel:
    """A `FastModel` that replays its usual decoding steps; called as one, with equal results."""

    def __init__(self, model: FastModel, make_capture: Callable[[], Capture] | None = None) -> None:
        self.model, self.make_capture = model, make_capture or CudaCapture
        self.layers, self.device = model.layers, model.embed.weight.device
        self.captured: dict[GraphShape, CapturedStep] = {}
        self._pool_key: tuple[int, ...] = ()
        self._capture: Capture
        groups = {x.heads // x.kv_heads for x in model.decoder_layers}
        windows = any(x.window is not None for x in model.decoder_layers)
        self._groups = None if windows or len(groups) > 1 else groups.pop()

    def __call__(self, batch: PassInput) -> Tensor:
        """As `Forward`. All other steps are computed by the model itself, as are those with another
        backend than `Flash` and those of a model with sliding windows."""
        view = batch.view
        stored = view.arena.keys[-1] is not None  # else this pass allocates it
        plain = batch.embeddings is None and batch.adapter is None and view.policy is None
        small = not view.groups and not view.layers and len(view.slots) <= ROWS[-1]
        if self._groups is not None and stored and plain and small:
            if isinstance(view.backend, Flash):
                plan = Planner(self._groups, chunk=view.backend.chunk).plan(view)
                shape = GraphShape.of(plan)
                if shape is not None:
                    return self._replay(batch, view.backend, plan, shape)
        return self.model(batch)

    def _replay(self, batch: PassInput, flash: Flash, plan: Plan, shape: GraphShape) -> Tensor:
        view = batch.view
        self._forget_moved(view.arena)
        step = self.captured.get(shape)
        inputs = step.inputs if step else Inputs(shape, view.slots.device)
        inputs.fill(batch.token_ids, view, plan)
        if step is None:
            step = self.captured[shape] = self._capture_step(inputs, view.arena, flash)
        step.replay()
        # a copy: the next replay writes there
        return step.logits.index_select(0, batch.logits_indices)

    def _forget_moved(self, arena: Arena) -> None:
        """Drop what was captured over keys and values that have been reallocated since. Later
        captures take other memory: a pool whose graphs are gone cannot be captured into."""
        pools = (*arena.keys, *arena.values)  # one may come to lie where it was, and others not
        key = (arena.slots, *(p.data_ptr() for p in pools if p is not None))
        if key != self._pool_key:
            self.captured.clear()
            self._pool_key, self._capture = key, self.make_capture()

    def _capture_step(self, inputs: Inputs, arena: Arena, flash: Flash) -> CapturedStep:
        assert self._groups is not None
        replay = ReplayBackend(flash, inputs.plan(self._groups, flash.chunk))
        view = View(arena, inputs.slots, inputs.positions, [], [], replay)
        every = torch.arange(inputs.shape.rows, device=inputs.device)
        batch = PassInput(inputs.tokens, inputs.positions, view, every)
        return CapturedStep(inputs, *self._capture(lambda: self.model(batch)))


def with_cuda_graphs(forward: Any, backend: Backend) -> Any:
    """The forward, wrapped where captured steps make it faster."""
    usable = isinstance(forward, FastModel) and isinstance(backend, Flash)
    return CudaGraphModel(forward) if usable else forward


class CudaCapture:
    """Records steps as CUDA graphs. They share one memory pool: only one of them runs at a time,
    and its output is copied before the next."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, step: Step) -> tuple[Callable[[], None], Tensor]:
        """Runs a step twice, so that libraries choose kernels and allocate, then captures it."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(2):
                step()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # work that other threads launch meanwhile is no fault of this capture
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
