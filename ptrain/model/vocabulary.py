"""Embedding and head of a vocabulary that is frozen, all but the markers' rows.

peft copies the whole matrix in each pass to put the rows in their places, and its gradient is of
the whole matrix too. trl's fused head, where there is no Triton, scores prompts as well, computes
each logit twice, and makes that gradient. Here the matrix is only read. Knows no trainer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from peft import PeftModel
from peft.utils.other import TrainableTokensWrapper
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.functional import embedding
from trl.trainer.utils import FusedCausalLMOutput

from pbranch.format.layout import NO_TARGET

TOKENS, WORDS = 512, 4096  # of a tile of logits
# names by which configurations scale logits; trl's head knows what each of them means
SCALES = ("logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


@dataclass(frozen=True, slots=True)
class FrozenHead:
    """A head of V rows of width d, of which those at `ids` are trained.

    weight (V, d) and bias (V,) are frozen; rows (R, d) stand at ids (R,), in order. cap: on the
    logits, as Gemma-2 has it.
    """

    weight: Tensor
    bias: Tensor | None
    rows: Tensor
    ids: Tensor
    cap: float | None = None

    def score(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Log-probabilities (N,) of `targets` (N,) after the states `hidden` (N, d), in float32;
        and where no gradient is asked for, whether each is the likeliest token."""
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        with torch.autocast(kind, enabled=False):
            states, rows = hidden.to(dtype), self.rows.to(dtype)
            if torch.is_grad_enabled():
                return _LogProbs.apply(states, rows, targets, self), None
            log_probs, best = _in_parts(_score, self, states, rows, targets)
            return log_probs, best == targets

    def tiles(self, hidden: Tensor, rows: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Ids (v,), rows (v, d) and logits (N, v) in float32 of each tile: the frozen ones in
        order, then `rows`."""
        every = torch.arange(len(self.weight), device=rows.device)
        for before, after in pairwise([-1, *self.ids.tolist(), len(self.weight)]):
            for first in range(before + 1, after, WORDS):
                ids = every[first : min(first + WORDS, after)]
                tile = self.weight[first : first + len(ids)].to(rows.dtype)
                yield ids, tile, self._logits(hidden, ids, tile)
        yield self.ids, rows, self._logits(hidden, self.ids, rows)

    def _logits(self, hidden: Tensor, ids: Tensor, tile: Tensor) -> Tensor:
        logits = (hidden @ tile.T).float()
        if self.bias is not None:
            logits += self.bias[ids]
        return logits if self.cap is None else logits.div_(self.cap).tanh_().mul_(self.cap)


class _LogProbs(torch.autograd.Function):
    """Its gradient is made in the forward pass, of the same logits."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, rows: Tensor, targets: Tensor, head: FrozenHead
    ) -> Tensor:
        log_probs, by_hidden, by_rows = _in_parts(_derive, head, hidden, rows, targets)
        ctx.save_for_backward(hidden, by_hidden, by_rows)
        return log_probs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden, by_hidden, by_rows = ctx.saved_tensors
        grad = grads[0][:, None]
        of_rows = (grad * by_rows).T @ hidden.float()
        return (grad * by_hidden).to(hidden.dtype), of_rows.to(hidden.dtype), None, None


def _in_parts(
    scan: Callable[..., tuple[Tensor, ...]],
    head: FrozenHead,
    hidden: Tensor,
    rows: Tensor,
    targets: Tensor,
) -> list[Tensor]:
    """What `scan` gives for all tokens, a tile's tokens at a time."""
    parts = zip(hidden.split(TOKENS), targets.split(TOKENS), strict=True)
    found = [scan(head, states, rows, wanted) for states, wanted in parts]
    return [torch.cat(x) for x in zip(*found, strict=True)]


def _derive(
    head: FrozenHead, hidden: Tensor, rows: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities (N,), and their derivatives by the states (N, d) and by the logits of the
    trained rows (N, R), as they are before a cap.

    One pass over the vocabulary with a running maximum, as flash attention makes over keys: the
    mean row under the probabilities, which the first derivative takes off, grows along.
    """
    peak, total, chosen = _start(hidden)
    mean = torch.zeros(hidden.shape, device=hidden.device)
    for ids, tile, logits in head.tiles(hidden, rows):
        chosen = _choose(chosen, logits, ids, targets)
        slope = None if head.cap is None else 1 - (logits / head.cap).square()
        before, peak = peak, torch.maximum(peak, logits.amax(1, keepdim=True))
        shrink = torch.exp(before - peak)
        weights = logits.sub_(peak).exp_()
        total = total * shrink + weights.sum(1, keepdim=True)
        if slope is not None:
            weights *= slope
        if tile.dtype == torch.float32:
            mean.mul_(shrink).addmm_(weights, tile)
        else:
            mean.mul_(shrink).add_(weights.to(tile.dtype) @ tile)
    hit = (targets[:, None] == ids).float()  # the last tile is that of the trained rows
    row = torch.where(hit.any(1, keepdim=True), hit @ rows.float(), head.weight[targets].float())
    log_probs = (chosen - peak - total.log())[:, 0]
    if head.cap is not None:
        slope = 1 - (chosen / head.cap).square()
        row, hit = slope * row, slope * hit
    return log_probs, row - mean / total, hit - weights / total


def _score(
    head: FrozenHead, hidden: Tensor, rows: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and likeliest tokens, (N,) each."""
    peak, total, chosen = _start(hidden)
    best = torch.zeros_like(targets)[:, None]
    for ids, _, logits in head.tiles(hidden, rows):
        chosen = _choose(chosen, logits, ids, targets)
        top, place = logits.max(1, keepdim=True)
        best = torch.where(top > peak, ids[place], best)
        before, peak = peak, torch.maximum(peak, top)
        total = total * torch.exp(before - peak) + logits.sub_(peak).exp_().sum(1, keepdim=True)
    return (chosen - peak - total.log())[:, 0], best[:, 0]


def _start(hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Running maximum, sum of exponentials below it, and the target's logit: (N, 1) each."""
    peak = torch.full((len(hidden), 1), -torch.inf, device=hidden.device)
    return peak, torch.zeros_like(peak), torch.zeros_like(peak)


def _choose(chosen: Tensor, logits: Tensor, ids: Tensor, targets: Tensor) -> Tensor:
    """The targets' logits, where they are in this tile."""
    place = torch.searchsorted(ids, targets).clamp(max=len(ids) - 1)[:, None]
    return torch.where(ids[place] == targets[:, None], logits.gather(1, place), chosen)


def use_frozen_vocabulary(model: Any) -> None:
    """Let embedding and head of a model with LoRA, which trl has given its fused head, train their
    rows without touching the rest.

    On a GPU the head stays trl's, whose Triton kernels are at home there. Nor does anything change
    where weights are sharded, the head has LoRA, or logits are scaled.
    """
    if not isinstance(model, PeftModel):
        return
    plain: Any = model.get_base_model()
    inputs = plain.get_input_embeddings()
    if isinstance(inputs, TrainableTokensWrapper):
        layer: Any = inputs.token_adapter
        layer.forward = _make_embed(layer)
    config = plain.config.get_text_config()
    if not any(getattr(config, name, None) for name in SCALES):
        plain.forward = _make_forward(plain)


def _make_embed(layer: Any) -> Callable[..., Tensor]:
    peft_forward = layer.forward

    def embed(tokens: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        trained = _trained_rows(layer)
        if trained is None:
            return peft_forward(tokens, *args, **kwargs)
        rows, ids = trained
        frozen = layer.get_base_layer()(tokens, *args, **kwargs)  # scaled, where Gemma scales
        places = torch.searchsorted(ids, tokens).clamp(max=len(ids) - 1)
        own = embedding(places, rows.to(frozen.dtype))
        scale = layer._get_embed_scale()
        own = own if scale is None else own * scale.to(own.dtype)
        return torch.where((ids[places] == tokens)[..., None], own, frozen)

    return embed


def _make_forward(plain: Any) -> Callable[..., Any]:
    trl_forward = plain.forward

    def forward(*args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        head = _read_head(plain) if fused_lm_head else None
        if head is None:
            return trl_forward(*args, fused_lm_head=fused_lm_head, **kwargs)
        targets = kwargs.pop("shift_labels")
        kwargs.pop("labels", None)
        hidden = plain.base_model(*args, **kwargs).last_hidden_state
        mask = targets != NO_TARGET
        log_probs, top1 = head.score(hidden[mask], targets[mask])

        def spread(values: Tensor) -> Tensor:  # tied to the graph even where nothing is a target
            return values.new_zeros(mask.shape).masked_scatter(mask, values)

        return FusedCausalLMOutput(
            log_probs=spread(log_probs),
            is_top1=None if top1 is None else spread(top1),
            label_mask=mask,
        )

    return forward


def _read_head(plain: Any) -> FrozenHead | None:
    """The head as it is now, or None where trl's has to do."""
    module = plain.get_output_embeddings()
    if not isinstance(module, TrainableTokensWrapper):
        return None
    layer: Any = module.token_adapter
    trained = _trained_rows(layer)
    if trained is None or trained[0].device.type != "cpu":
        return None
    linear = layer.get_base_layer()
    cap = getattr(plain.config.get_text_config(), "final_logit_softcapping", None)
    return FrozenHead(linear.weight, linear.bias, *trained, cap=cap)


def _trained_rows(layer: Any) -> tuple[Tensor, Tensor] | None:
    """The rows (R, d) that peft trains in a matrix, and their ids (R,) in order; None where it is
    not the only thing trained there, or where the matrix is not here as a whole."""
    matrix = layer.get_base_layer().weight
    sharded = hasattr(matrix, "ds_id") or isinstance(matrix, DTensor)
    trains = any(p.requires_grad for p in layer.get_base_layer().parameters())
    if sharded or trains or layer.disable_adapters or layer.merged:
        return None
    (name,) = layer.active_adapters
    rows = layer.trainable_tokens_delta[name]
    ids, order = torch.tensor(layer.token_indices[name], device=rows.device).sort()
    return rows[order], ids
