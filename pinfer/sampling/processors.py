"""Logits as transformers' processors leave them: temperature, penalties, top-k, top-p, min-p."""

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

from pinfer.scheduling.batch import SampleSite


def process(logits: Tensor, sites: Sequence[SampleSite]) -> Tensor:
    """Logits (sites, vocabulary) of one request's sites; float64 where a temperature divides
    them, else in their own dtype."""
    params = sites[0].params
    if params.penalises:
        seen = [sorted(site.seen) for site in sites]
        longest = max(map(len, seen))  # repeating a token changes nothing: it is penalised once
        rows = [tokens + tokens[:1] * (longest - len(tokens)) for tokens in seen]
        ids = torch.tensor(rows, device=logits.device)
        logits = RepetitionPenaltyLogitsProcessor(params.repetition_penalty or 1.0)(ids, logits)
    if params.suppress_tokens:
        barred = [i for i in params.suppress_tokens if 0 <= i < logits.shape[1]]
        logits = logits.index_fill(1, torch.tensor(barred, device=logits.device), float("-inf"))
    if params.temperature == 0:
        return logits
    none: Any = None  # the others do not look at what came before
    # shifted first: the largest stays 0 however small the temperature
    logits = (logits - logits.amax(-1, keepdim=True)).double() / params.temperature
    if params.top_k:
        logits = TopKLogitsWarper(params.top_k)(none, logits)
    if params.top_p is not None and params.top_p < 1:
        logits = TopPLogitsWarper(params.top_p)(none, logits)
    if params.min_p:
        logits = MinPLogitsWarper(params.min_p)(none, logits)
    return logits
