"""Draws tokens from logits under the grammar.

A draw is keyed by (seed, sample, path, position), so it depends neither on what else is in the
batch nor on scheduling. Knows lanes' states, not what follows from a draw.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from pbranch.stream import LaneState
from pinfer.lane import Lane
from pinfer.scheduler import Choice

# a lane that may not fork, and what it would be if it might
_UNBOUND = {LaneState.TRUNK_FLAT: LaneState.TRUNK, LaneState.BRANCH_FLAT: LaneState.BRANCH}


class Sampler:
    """`legal` (states, vocabulary): the grammar's table."""

    def __init__(self, legal: Tensor) -> None:
        self.legal = legal

    def __call__(self, logits: Tensor, lanes: Sequence[Lane]) -> list[Choice]:
        """One choice a lane from logits (lanes, vocabulary)."""
        if not lanes:
            return []
        logits = logits if logits.dtype == torch.float64 else logits.float()
        states = [lane.state for lane in lanes]
        unbound = [
            s if _linear(x) else _UNBOUND.get(s, s) for s, x in zip(states, lanes, strict=True)
        ]
        free = self._draw(logits, lanes).tolist()
        bound = self._draw_legal(logits, lanes, states)
        wanted = bound if unbound == states else self._draw_legal(logits, lanes, unbound)
        allowed = self.legal[states, free].tolist()
        return [
            Choice(b, a, w) if lane.request.params.grammar == "on" else Choice(f, a, f)
            for f, b, a, w, lane in zip(free, bound, allowed, wanted, lanes, strict=True)
        ]

    def _draw_legal(
        self, logits: Tensor, lanes: Sequence[Lane], states: Sequence[LaneState]
    ) -> list[int]:
        legal = self.legal[torch.tensor(states, device=self.legal.device)]
        return self._draw(logits.masked_fill(~legal, float("-inf")), lanes).tolist()

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


def _linear(lane: Lane) -> bool:
    return lane.request.params.mode == "linear"


def uniform(lane: Lane) -> float:
    """A number in [0, 1) that belongs to the lane's next draw."""
    params = lane.request.params
    key = f"{params.seed}|{params.sample}|{lane.path}|{lane.position}"
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
