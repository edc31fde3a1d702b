"""Draws tokens from logits under the grammar.

A draw is keyed by (seed, path, position), so it depends neither on what else is in the batch nor on
scheduling; sample i of a prompt has the seed plus i. Knows lanes' states, not what a draw does.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from pbranch.format.grammar import LaneState
from pinfer.lane import Lane, Logprob
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


def shape(logits: Tensor, lanes: Sequence[Lane]) -> Tensor:
    """Logits (lanes, vocabulary) of one request's lanes, as transformers' processors leave them."""
    params = lanes[0].request.params
    if params.repetition_penalty != 1:
        seen = [sorted(lane.visible_tokens()) for lane in lanes]
        longest = max(map(len, seen))  # repeating a token changes nothing: it is penalised once
        rows = [tokens + tokens[:1] * (longest - len(tokens)) for tokens in seen]
        ids = torch.tensor(rows, device=logits.device)
        logits = RepetitionPenaltyLogitsProcessor(params.repetition_penalty)(ids, logits)
    none: Any = None  # the others do not look at what came before
    if params.temperature > 0:
        # shifted first: the largest stays 0 however small the temperature
        logits = (logits - logits.amax(-1, keepdim=True)).double() / params.temperature
    if params.top_k > 0:
        logits = TopKLogitsWarper(params.top_k)(none, logits)
    if params.top_p < 1:
        logits = TopPLogitsWarper(params.top_p)(none, logits)
    if params.min_p > 0:
        logits = MinPLogitsWarper(params.min_p)(none, logits)
    return logits


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


def gumbel(lanes: Sequence[Lane], like: Tensor) -> Tensor:
    """Gumbel noise (lanes, vocabulary) that belongs to the lanes' next draws.

    The token with the largest sum of logit and noise has the probability that softmax gives it
    (Gumbel 1954). Each token's noise is its own, so rounding in the logits moves a draw only where
    two sums nearly tie, and not wherever a cumulated sum does. SplitMix64 (Steele, Lea and Flood
    2014) makes it of the lane's key and the token: the same on every device.
    """
    keys = torch.tensor([[_key(lane)] for lane in lanes], device=like.device)
    x = keys + torch.arange(1, like.shape[1] + 1, device=like.device) * _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    uniform = (_shift(x ^ _shift(x, 31), 12).double() + 0.5) / 2**52
    return -torch.log(-torch.log(uniform))


def _key(lane: Lane) -> int:
    """Of 64 bits, for the lane's next draw."""
    key = f"{lane.request.params.seed}|{lane.path}|{lane.position}"
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big", signed=True)


def _signed(bits: int) -> int:
    return bits - (1 << 64) if bits >> 63 else bits


def _shift(x: Tensor, n: int) -> Tensor:
    """Logical shift to the right, of int64."""
    return (x >> n) & ((1 << (64 - n)) - 1)
