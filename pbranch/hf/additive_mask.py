"""Who sees whom, as the ready-made masks that transformers adds to attention scores.

transformers adds nothing to a ready-made mask, so a sliding window has to be in it, and a model
whose layers differ takes one mask for each kind of layer. Knows no layouts and no branches.
"""

from typing import Any

import torch
from torch import Tensor


def layer_windows(config: Any) -> dict[str, int | None]:
    """Sliding window in positions by kind of layer (`layer_types`); None: full attention."""
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None) or None
    kinds = getattr(text, "layer_types", None)
    kinds = kinds or ["full_attention" if window is None else "sliding_attention"]
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(set(kinds))}


def additive_masks(
    seen: Tensor, positions: Tensor, config: Any, dtype: torch.dtype
) -> Tensor | dict[str, Tensor]:
    """`attention_mask` for a model of `config`: one mask, or one for each kind of layer.

    Args:
        seen: bool (B, 1, L, L), True where the token of dim 2 sees the token of dim 3.
        positions: int (B, L). A window is counted in positions, as branches share them.
        dtype: of the model, and so of the masks (B, 1, L, L): 0 where seen, else its minimum.
    """
    distance = positions[:, None, :, None] - positions[:, None, None, :]
    masks = {}
    for kind, window in layer_windows(config).items():
        near = seen if window is None else seen & (distance < window)
        mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
        masks[kind] = mask.masked_fill_(~near, torch.finfo(dtype).min)
    return masks if len(masks) > 1 else masks.popitem()[1]
