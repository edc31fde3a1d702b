"""Look-ahead sources for toy models: random weights, and rows that say what an earlier run said."""

import random
from collections.abc import Sequence
from typing import Any

import torch

from pbranch.hf.lookahead.files import LookaheadConfig, tensor_shapes
from pinfer.drafting.lookahead import LookaheadSource, Mode
from pinfer.request.state import QueuedToken, Request
from tests.support.draft_sources import sampled_tokens


def shapes_for(model: Any, length: int = 3, r: int = 4, markov_rank: int = 4) -> dict:
    """Of the tensors for a model."""
    width = model.config.get_text_config().hidden_size
    return tensor_shapes(
        LookaheadConfig("base", "none", None, length, r, markov_rank, width), model
    )


def random_tensors(model: Any, seed: int = 0, **sizes: int) -> dict[str, torch.Tensor]:
    """Weights that move logits well away from those of the bare model."""
    g = torch.Generator().manual_seed(seed)
    return {
        name: 0.3 * torch.randn(shape, generator=g, dtype=model.dtype)
        for name, shape in shapes_for(model, **sizes).items()
    }


def random_source(model: Any, mode: Mode, seed: int = 0, **sizes: int) -> LookaheadSource:
    """A source that nothing was trained for."""
    return LookaheadSource(random_tensors(model, seed, **sizes), mode)


class Recalling(LookaheadSource):
    """Its rows say what an earlier run has sampled at their place, or with probability `wrong`
    something else; all else is as in the source that it stands for."""

    def __init__(
        self, model: Any, mode: Mode, requests: Sequence[Request], wrong: float = 0.0, **sizes: int
    ) -> None:
        super().__init__(random_tensors(model, **{"markov_rank": 0, **sizes}), mode)
        self.known = {r.number: sampled_tokens(r) for r in requests}
        self.wrong, self.rng = wrong, random.Random(0)

    def take(self, rows: Sequence[QueuedToken], logits: torch.Tensor) -> None:
        said = torch.zeros_like(logits)
        for row, line in zip(rows, said, strict=True):
            lane = row.lane
            texts = self.known[lane.request.number].get(lane.path, [])
            # the row stands as many places behind the newest sampled token as it is ahead of it
            at = lane.budget.sampled + row.position + 1 - lane.position
            token = texts[at] if 0 <= at < len(texts) else 0
            line[self.rng.randrange(16) if self.rng.random() < self.wrong else token] = 9.0
        super().take(rows, said)
