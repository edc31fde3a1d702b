"""Runs one pass: rows in, logits of the drawn rows out.

Holds the arena; knows no policy: which rows a pass has is the scheduler's matter.
"""

from typing import Protocol

import torch
from torch import Tensor

from pinfer.attention.backend import Backend
from pinfer.attention.view import View
from pinfer.execution.pass_plan import plan_pass
from pinfer.kv_cache.arena import Arena
from pinfer.kv_cache.lanes import finish_joins, release_lanes
from pinfer.request.state import Request
from pinfer.scheduling.batch import Batch


class Forward(Protocol):
    """A model: `GeneralModel` or `FastModel`."""

    layers: int
    device: torch.device

    def __call__(
        self, tokens: Tensor, positions: Tensor, view: View, drawn: Tensor, backend: Backend
    ) -> Tensor:
        """tokens, positions (R,); drawn: rows to draw from. Logits (drawn rows, vocabulary)."""


class Runner:
    """A model and its key/value arena."""

    def __init__(self, model: Forward, backend: Backend, max_kv_rows: int | None = None) -> None:
        self.model, self.backend, self.device = model, backend, model.device
        self.arena = Arena(model.layers, self.device, limit=max_kv_rows)

    @torch.inference_mode()
    def run(self, batch: Batch) -> Tensor:
        """Feed the batch's rows; returns logits (drawn rows, vocabulary)."""
        view = plan_pass(batch.rows, self.arena)
        tokens = torch.tensor([r.token for r in batch.rows], device=self.device)
        drawn = torch.tensor(batch.drawn, dtype=torch.long, device=self.device)
        positions = view.positions.to(self.device)
        logits = self.model(tokens, positions, view, drawn, self.backend)
        finish_joins(batch.rows, self.arena)
        return logits

    def release(self, request: Request, keep_prompt: bool = False) -> None:
        """Give back the cache of a finished request, but for its prompt's rows where those stay."""
        if keep_prompt and request.trunk.segment >= 0:
            self.arena.cut(request.trunk.segment, request.prefilled - request.prefix_rows)
        lanes = [*request.lanes, *request.outlines]
        release_lanes(lanes[keep_prompt:], self.arena)
