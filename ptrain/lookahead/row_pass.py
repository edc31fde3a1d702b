"""The forward of look-ahead training, in two passes: the text without gradients, then the
look-ahead rows alone, over the keys and values that the text has left.

The text never sees look-ahead rows, so gradients are those of one pass over both, at the memory of
the few. Masks, which are not square here, travel to our attention function as a keyword.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from pbranch.format.visibility import dense_mask
from pbranch.hf.lookahead.row_lora import RowLora
from ptrain.lookahead.anchors import rows_ahead
from ptrain.lookahead.weights import Lookahead

ATTENTION = "ptrain_lookahead"
Mask = Callable[[int | None], Tensor]  # by window: bool (B, 1, queries, keys)


@dataclass(slots=True)
class RowPass:
    """One forward pass: who sees whom, and keys and values by layer of rows before it. `keeps`:
    those of this pass are put there."""

    mask: Mask
    kept: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    keeps: bool = False


def attend_rows(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    row_pass: RowPass | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """(B, heads, Q, d) in, (B, Q, heads, d) out, after the rows that are kept."""
    assert row_pass is not None, "the model's code drops keywords"
    layer: Any = module.layer_idx
    if row_pass.keeps:
        row_pass.kept[layer] = key, value
    elif row_pass.kept:
        before = row_pass.kept[layer]
        key, value = (torch.cat(x, 2) for x in zip(before, (key, value), strict=True))
    mask = row_pass.mask(sliding_window)
    out = scaled_dot_product_attention(
        query, key, value, mask, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )
    return out.transpose(1, 2).contiguous(), None


def register() -> None:
    """Make ATTENTION known to transformers, which then builds no mask of its own."""
    AttentionInterface.register(ATTENTION, attend_rows)


def run_text(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, RowPass]:
    """Last states (B, T, width) of the text, without gradients, and what its rows have left."""
    tensor = batch["attention_mask"]
    row_pass = RowPass(cache(lambda window: dense_mask(tensor, window)), keeps=True)
    with torch.no_grad():
        states = model.base_model(
            input_ids=batch["input_ids"],
            position_ids=batch["position_ids"],
            use_cache=False,
            row_pass=row_pass,
        ).last_hidden_state
    return states, row_pass


def run_ahead(
    model: Any, lora: RowLora, lookahead: Lookahead, batch: dict[str, Tensor], text: RowPass
) -> Tensor:
    """Last states (B, G L, width) of the look-ahead rows behind a text."""
    sequences, groups = batch["anchors"].shape
    embeddings = lookahead.embed(sequences, groups)
    tokens = embeddings.shape[1] // groups
    positions = rows_ahead(batch, tokens)[1]
    mask = cache(lambda window: ahead_mask(batch, positions, window))
    with lora.on(0):
        return model.base_model(
            inputs_embeds=embeddings.to(model.dtype),
            position_ids=positions,
            use_cache=False,
            row_pass=RowPass(mask, text.kept),
        ).last_hidden_state


def ahead_mask(batch: dict[str, Tensor], positions: Tensor, window: int | None = None) -> Tensor:
    """Bool (B, 1, G L, T + G L): a look-ahead row at `positions` (B, G L) sees what its anchor
    sees, and the rows of the same anchor up to itself. window: in positions."""
    tensor, anchors = batch["attention_mask"], batch["anchors"]
    seen = dense_mask(tensor)[:, 0]
    of_anchor = anchors[..., None].expand(-1, -1, seen.shape[2])
    groups, count = anchors.shape[1], positions.shape[1]
    tokens = count // groups
    seen = seen.gather(1, of_anchor).repeat_interleave(tokens, 1)
    every = torch.arange(count, device=seen.device)
    own = (every[:, None] // tokens == every // tokens) & (every[:, None] >= every)
    own = own.expand(len(seen), -1, -1)
    if window is not None:
        seen = seen & (positions[:, :, None] - tensor[:, 1, None] < window)
        own = own & (positions[:, :, None] - positions[:, None] < window)
    return torch.cat((seen, own), 2)[:, None]
