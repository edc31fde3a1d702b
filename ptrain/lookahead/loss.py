"""The loss of look-ahead rows, and what an evaluation counts of them.

0.1 of the cross-entropy with the text, and 0.9 of the total variation from the model's own
distribution at the same place: 1 - total variation is what speculative sampling accepts. Later
rows count less, by exp(-(k - 1) / L). The recipe of DSpark (arXiv 2607.05147).
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pbranch.format.layout import NO_TARGET
from pbranch.hf.lookahead.row_lora import RowLora
from ptrain.config import LookaheadOptions
from ptrain.lookahead.anchors import rows_ahead
from ptrain.lookahead.row_pass import run_ahead, run_text
from ptrain.lookahead.weights import Lookahead


@dataclass(frozen=True, slots=True)
class Scores:
    """Of the look-ahead rows of a batch, (B, G L) each, 0 where `labelled` is False: the weighted
    loss, 1 - total variation, and whether the best token is the model's own."""

    labelled: Tensor
    losses: Tensor
    accepted: Tensor
    agrees: Tensor


def score_batch(
    model: Any,
    lora: RowLora,
    lookahead: Lookahead,
    batch: dict[str, Tensor],
    options: LookaheadOptions,
) -> Scores:
    """Both passes over a batch of `LookaheadCollator`. The token before a row, which the Markov
    head reads, is the text's own: a draft is of use only behind drafts that were right."""
    text, row_pass = run_text(model, batch)
    ahead = run_ahead(model, lora, lookahead, batch, row_pass)
    rows, _ = rows_ahead(batch, options.tokens)
    labelled = batch["labels"] != NO_TARGET
    own = text.gather(1, rows[..., None].expand(-1, -1, text.shape[2]))[labelled]
    head = model.get_output_embeddings()
    previous = batch["input_ids"].gather(1, rows)[labelled]
    logits = head(ahead[labelled]).float() + lookahead.bias(previous)
    with torch.no_grad():
        target = head(own).float().softmax(-1)
    scores = logits.log_softmax(-1)
    ce = -scores.gather(-1, batch["labels"][labelled][:, None])[:, 0]
    tv = (scores.exp() - target).abs().sum(-1) / 2
    place = torch.arange(labelled.shape[1], device=labelled.device) % options.tokens
    weights = torch.exp(-place / options.tokens).expand_as(labelled)[labelled]
    losses = weights * (options.ce_weight * ce + options.tv_weight * tv)
    agrees = scores.argmax(-1) == target.argmax(-1)

    def spread(values: Tensor) -> Tensor:
        return values.new_zeros(labelled.shape).masked_scatter(labelled, values)

    return Scores(labelled, spread(losses), spread(1 - tv.detach()), spread(agrees.float()))


@dataclass(slots=True)
class Tally:
    """Sums of one evaluation, (rows, 4) a batch: L rows of losses, accepted, agreeing and
    counted by place; then one of anchors whose L rows all count: tokens agreed, and how many."""

    tokens: int
    sums: list[Tensor] = field(default_factory=list)

    def count(self, scores: Scores) -> Tensor:
        """(B, L + 1, 4) of a batch's sequences."""
        parts = (scores.losses, scores.accepted, scores.agrees, scores.labelled.float())
        by_place = torch.stack([x.unflatten(1, (-1, self.tokens)) for x in parts], -1)
        whole = by_place[..., 3].prod(2)
        run = by_place[..., 2].cumprod(2).sum(2) * whole
        none = torch.zeros_like(whole)
        chain = torch.stack((run, whole, none, none), -1).sum(1, keepdim=True)
        return torch.cat((by_place.sum(1), chain), 1).detach()

    def scores(self) -> dict[str, float]:
        """`eval_loss`; by place `eval_agreement_k` (greedy drafts that the model would accept
        behind right ones) and `eval_acceptance_k` (drawn ones); `eval_accepted`: mean length of a
        run of agreeing drafts. And start again."""
        sums = torch.cat(self.sums).double().sum(0).cpu()
        self.sums.clear()
        places, (run, anchors, *_) = sums[:-1], sums[-1].tolist()
        counts = places[:, 3].clamp(min=1)
        found = {"eval_loss": float(places[:, 0].sum() / counts.sum())}
        for k, (_, accepted, agrees, counted) in enumerate((places / counts[:, None]).tolist(), 1):
            if counted:
                found |= {f"eval_agreement_{k}": agrees, f"eval_acceptance_{k}": accepted}
        return found | ({"eval_accepted": run / anchors} if anchors else {})
