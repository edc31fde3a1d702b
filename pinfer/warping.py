"""Logits as a request has tokens drawn from them: temperature, top-k, top-p, min-p, by the warpers
of transformers. What is sampled goes through it, and so does what is guessed."""

from typing import Any

from torch import Tensor
from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from pinfer.params import SamplingParams


def warp(logits: Tensor, params: SamplingParams) -> Tensor:
    """Logits (rows, vocabulary), float64, of which the softmax is drawn from. The temperature of
    `params` is above 0."""
    none: Any = None  # the warpers do not look at what came before
    # shifted first: the largest stays 0 however small the temperature
    logits = (logits - logits.amax(-1, keepdim=True)).double() / params.temperature
    if params.top_k:
        logits = TopKLogitsWarper(params.top_k)(none, logits)
    if params.top_p is not None and params.top_p < 1:
        logits = TopPLogitsWarper(params.top_p)(none, logits)
    if params.min_p:
        logits = MinPLogitsWarper(params.min_p)(none, logits)
    return logits
