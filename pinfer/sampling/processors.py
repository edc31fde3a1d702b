"""Logits as transformers' processors leave them: penalties, barred tokens, and then the warpers."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import RepetitionPenaltyLogitsProcessor

from pinfer.scheduling.batch import SampleSite
from pinfer.warping import warp


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
    return logits if params.temperature == 0 else warp(logits, params)
