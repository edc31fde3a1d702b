"""Draws tokens from logits under the grammar.

A draw is keyed by (seed, sample, path, position), so it depends neither on what else is in the
batch nor on scheduling. Knows lanes' states, not what follows from a draw.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from pinfer.lane import Lane
from pinfer.scheduler import Choice


class Sampler:
    """`legal` (states, vocabulary): the grammar's table."""

    def __init__(self, legal: Tensor) -> None:
        self.legal = legal

    def __call__(self, logits: Tensor, lanes: Sequence[Lane]) -> list[Choice]:
        """One choice a lane from logits (lanes, vocabulary)."""
        if not lanes:
            return []
        logits = logits if logits.dtype == torch.float64 else logits.float()
        legal = self.legal[torch.tensor([lane.state for lane in lanes], device=self.legal.device)]
        masked = logits.masked_fill(~legal, float("-inf"))
        free, bound = self._draw(logits, lanes), self._draw(masked, lanes)
        allowed = legal.gather(1, free[:, None])[:, 0].tolist()
        return [
            Choice(b if lane.request.params.grammar == "on" else f, a, f)
            for f, b, a, lane in zip(free.tolist(), bound.tolist(), allowed, lanes, strict=True)
        ]

    def _draw(self, logits: Tensor, lanes: Sequence[Lane]) -> Tensor:
        tokens = logits.argmax(-1)
        for i, lane in enumerate(lanes):
            temperature = lane.request.params.temperature
            if temperature > 0:
                row = logits[i].double()
                mass = ((row - row.max()) / temperature).softmax(-1).cumsum(-1)
                point = uniform(lane) * mass[-1]
                tokens[i] = torch.searchsorted(mass, point, right=True).clamp(max=len(mass) - 1)
        return tokens


def uniform(lane: Lane) -> float:
    """A number in [0, 1) that belongs to the lane's next draw."""
    params = lane.request.params
    key = f"{params.seed}|{params.sample}|{lane.path}|{lane.position}"
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
