"""Runs one pass: rows in, logits of the drawn rows out, through the model's own forward.

Holds the arena; knows no policy: which rows a pass has is the scheduler's matter.
"""

from typing import Any

import torch
from torch import Tensor

from pinfer.arena import Arena
from pinfer.attention import ATTENTION_NAME, Backend, register
from pinfer.lane import Request
from pinfer.scheduler import Batch
from pinfer.view import finish_joins, plan_pass, release_lanes


class Runner:
    """A model and its key/value arena."""

    def __init__(self, model: Any, backend: Backend, max_kv_rows: int | None = None) -> None:
        register()
        model.set_attn_implementation(ATTENTION_NAME)
        self.model, self.backend = model, backend
        config = model.config.get_text_config()
        self.device = model.get_input_embeddings().weight.device
        self.arena = Arena(config.num_hidden_layers, self.device, limit=max_kv_rows)

    @torch.inference_mode()
    def run(self, batch: Batch) -> Tensor:
        """Feed the batch's rows; returns logits (drawn rows, vocabulary)."""
        view = plan_pass(batch.rows, self.arena)
        tokens = torch.tensor([[r.token for r in batch.rows]], device=self.device)
        logits = self.model(
            input_ids=tokens,
            position_ids=view.positions[None].to(self.device),
            use_cache=False,
            logits_to_keep=torch.tensor(batch.drawn, dtype=torch.long, device=self.device),
            branch_view=view,
            branch_backend=self.backend,
        ).logits[0]
        finish_joins(batch.rows, self.arena)
        return logits

    def release(self, request: Request, keep_prompt: bool = False) -> None:
        """Give back the cache of a finished request, but for its prompt's rows where those stay."""
        if keep_prompt and request.trunk.segment >= 0:
            self.arena.cut(request.trunk.segment, request.prefilled - request.prefix_rows)
        lanes = [*request.lanes, *request.outlines]
        release_lanes(lanes[keep_prompt:], self.arena)
