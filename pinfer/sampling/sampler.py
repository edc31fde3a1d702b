"""Draws tokens from logits under the grammar.

A draw is keyed by (seed, path, position), so it depends neither on what else is in the batch nor on
scheduling; sample i of a prompt has the seed plus i. Knows lanes' states, not what a draw does.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pbranch.format.grammar import LaneState
from pinfer.request.state import Lane, Logprob
from pinfer.sampling.noise import gumbel
from pinfer.sampling.processors import shape
from pinfer.scheduling.batch import Choice

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
        free = draw(logits, lanes)
        bound, allowed = self._bind(logits, lanes, states, free)
        wanted = bound if unbound == states else self._bind(logits, lanes, unbound, free)[0]
        bind = [lane.request.params.grammar == "on" for lane in lanes]
        tokens = bound
        if not all(bind):
            tokens = [b if on else f for f, b, on in zip(free.tolist(), bound, bind, strict=True)]
        scores = _logprobs(logits, lanes, tokens)
        return [
            Choice(t, a, w if on else t, p)
            for t, a, w, on, p in zip(tokens, allowed, wanted, bind, scores, strict=True)
        ]

    def _bind(
        self, logits: Tensor, lanes: Sequence[Lane], states: Sequence[LaneState], free: Tensor
    ) -> tuple[list[int], list[bool]]:
        """The lanes' draws among what is legal, and whether their free draws are legal already.

        Greedy lanes of which all have drawn legally wait for the device once, and no vocabulary is
        masked: the best of all tokens is then the best of the legal ones.
        """
        # from pinned memory numbers go over without waiting for the device
        rows = torch.tensor(states, pin_memory=free.is_cuda).to(free.device, non_blocking=True)
        tokens, allowed = torch.stack((free, self.legal[rows, free].long())).tolist()
        sampled = any(lane.request.params.temperature > 0 for lane in lanes)
        if sampled or not all(allowed):
            tokens = draw(logits.masked_fill(~self.legal[rows], float("-inf")), lanes).tolist()
        return tokens, list(map(bool, allowed))


def draw(logits: Tensor, lanes: Sequence[Lane]) -> Tensor:
    """A token a lane (lanes,), left on the device; requests are drawn for one by one, each with its
    own parameters."""
    tokens = logits.argmax(-1)
    members: dict[int, list[int]] = {}
    for i, lane in enumerate(lanes):
        params = lane.request.params
        if params.temperature > 0 or params.repetition_penalty != 1:
            members.setdefault(lane.request.number, []).append(i)
    for rows in members.values():
        mine = [lanes[i] for i in rows]
        shaped = shape(logits[rows], mine)
        if mine[0].request.params.temperature == 0:
            tokens[rows] = shaped.argmax(-1)
            continue
        tokens[rows] = (shaped + gumbel(mine, shaped)).argmax(-1)
    return tokens


def _logprobs(logits: Tensor, lanes: Sequence[Lane], tokens: Sequence[int]) -> list[Logprob | None]:
    """Of the drawn tokens, where asked for, under the model's own distribution."""
    found: list[Logprob | None] = [None] * len(lanes)
    for i, (lane, token) in enumerate(zip(lanes, tokens, strict=True)):
        best = lane.request.params.logprobs
        if best is not None:
            row = logits[i].log_softmax(-1)
            values, ids = row.topk(min(best, len(row)))
            top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
            found[i] = Logprob(float(row[token]), top)
    return found


def _linear(lane: Lane) -> bool:
    return not lane.request.params.forks
