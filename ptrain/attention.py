"""Two attention functions for transformers whose mask is built from the layout tensor.

The tensor travels as a 3-D `attention_mask` (B, 2 + 2 D, L), which every model that builds its
mask through `masking_utils` hands on untouched, with the window of each layer as `local_size`.
Names may contain neither flash, sdpa nor flex: transformers looks for those substrings.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from pbranch.visibility import dense_mask

BRANCH = "ptrain_branch"
BRANCH_EAGER = "ptrain_branch_eager"  # for models that cap their attention scores (Gemma-2)


def branch_mask(
    attention_mask: Tensor | None = None, local_size: int | None = None, **kwargs: Any
) -> Tensor | None:
    """Bool (B, 1, L, L) from a layout tensor; any other mask takes the ordinary way."""
    if attention_mask is not None and attention_mask.ndim == 3:
        return dense_mask(attention_mask, window=local_size)
    # written out even where causal: the eager function below knows no is_causal
    kwargs["allow_is_causal_skip"] = False
    return sdpa_mask(attention_mask=attention_mask, local_size=local_size, **kwargs)


def eager_forward(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float,
    dropout: float = 0.0,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Plain attention with an optional cap on the scores; (B, heads, L, d) in, (B, L, heads, d)."""
    groups = query.shape[1] // key.shape[1]
    scores = query @ repeat_kv(key, groups).transpose(2, 3) * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    weights = torch.nn.functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ repeat_kv(value, groups)).transpose(1, 2).contiguous(), weights


def register() -> None:
    """Make both names known to transformers; calling it again changes nothing."""
    AttentionInterface.register(BRANCH, sdpa_attention_forward)
    AttentionInterface.register(BRANCH_EAGER, eager_forward)
    for name in (BRANCH, BRANCH_EAGER):
        AttentionMaskInterface.register(name, branch_mask)
