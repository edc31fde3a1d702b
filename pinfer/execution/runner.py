"""Runs one pass: tokens in, logits out. Knows no policy: which tokens a pass has is the
scheduler's matter."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from pinfer.attention.view import Backend, KVPolicy
from pinfer.execution.forward import Forward, PassInput
from pinfer.execution.pass_plan import plan_pass
from pinfer.kv_cache.arena import Arena
from pinfer.kv_cache.lanes import LaneCache
from pinfer.scheduling.batch import Batch


class Runner:
    """A model and its key/value cache."""

    def __init__(
        self,
        model: Forward,
        backend: Backend,
        policy: KVPolicy | None = None,
        cache: LaneCache | None = None,
    ) -> None:
        """cache: None for one that keeps everything."""
        self.model, self.backend, self.device = model, backend, model.device
        self.around: Callable[[], AbstractContextManager[None]] = nullcontext  # each forward
        self.policy = policy
        self.cache = cache or LaneCache(Arena(model.layers, self.device))

    @property
    def arena(self) -> Arena:
        """The slots of the cache."""
        return self.cache.arena

    @torch.inference_mode()
    def run(self, batch: Batch) -> Tensor:
        """Feed the batch's tokens; returns logits (sites, vocabulary). Those of look-ahead rows go
        to the source whose they are."""
        tokens, source = batch.tokens, batch.ahead
        ahead = [i for i, t in enumerate(tokens) if t.scratch] if source else []
        wanted = [*batch.logits_indices, *ahead]
        placement = self.cache.append(tokens)
        view = plan_pass(tokens, placement, self.cache, self.backend, self.policy)
        given = PassInput(
            token_ids=torch.tensor([t.token_id for t in tokens], device=self.device),
            positions=view.positions.to(self.device),
            view=view,
            logits_indices=torch.tensor(wanted, dtype=torch.long, device=self.device),
        )
        if source is not None:
            given = replace(given, **source.inputs(tokens, ahead))
        with self.around():
            logits = self.model(given)
        self.cache.finish_pass(tokens)
        if source is None:
            return logits
        sites = len(batch.logits_indices)
        source.take([tokens[i] for i in ahead], logits[sites:])
        return logits[:sites]
