"""The one attention function through which transformers' own model code is driven.

A pass hands its `View` down as a keyword; the function stores the rows' keys and values and lets a
backend compute what the view says. Attention arguments that we do not know are refused, and so is a
window that a model's code keeps to itself.
"""

from typing import Any

import torch
from torch import Tensor

from pbranch.errors import ModelError
from pinfer.attention.attend import attend
from pinfer.attention.view import View

ATTENTION_NAME = "pinfer_view"
_WINDOWS_NAME = "pinfer_windows"

# passed along by transformers' decoders, and without effect on what a row attends to
_HARMLESS = {
    "position_ids",
    "use_cache",
    "cache_position",
    "is_causal",
    "output_attentions",
    "output_router_logits",
}
# what others are for
_MEANING = {"s_aux": "attention sinks (s_aux)", "attention_mask": "a mask of the model's own"}


def register() -> None:
    """Make `ATTENTION_NAME` known to transformers; it gets no mask, as a view needs none."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION_NAME, view_attention)


@torch.inference_mode()
def hidden_window(model: Any) -> int | None:
    """The window by which a model's code masks some layer without a word to its attention function,
    which would attend too far; None where there is none. One forward of two tokens, in which a mask
    is nothing but its window."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    found: list[int] = []

    def mask(*args: Any, local_size: int | None = None, **kwargs: Any) -> Tensor | None:
        return None if local_size is None else torch.full((1, 1, 1, 1), local_size)  # as masks are

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
        *args: Any, sliding_window: int | None = None, **kwargs: Any,
    ) -> tuple[Tensor, None]:  # fmt: skip
        if attention_mask is not None and attention_mask.numel() == 1 and sliding_window is None:
            found.append(int(attention_mask))
        return query.new_zeros(*query.transpose(1, 2).shape[:3], value.shape[-1]), None

    AttentionMaskInterface.register(_WINDOWS_NAME, mask)
    AttentionInterface.register(_WINDOWS_NAME, attention)
    before = model.config._attn_implementation
    model.set_attn_implementation(_WINDOWS_NAME)
    try:
        ids = torch.zeros(1, 2, dtype=torch.long, device=model.get_input_embeddings().weight.device)
        model(input_ids=ids, use_cache=False)
    finally:
        model.set_attn_implementation(before)
    return min(found, default=None)


def view_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    branch_view: View | None = None,
    **unknown: Any,
) -> tuple[Tensor, None]:
    """Query (1, H, R, D), key and value (1, Hk, R, D); returns (1, R, H, D)."""
    strange = [k for k, v in unknown.items() if v is not None and k not in _HARMLESS]
    if attention_mask is not None:
        strange.append("attention_mask")  # we asked for none: the model made one of its own
    if strange:
        wanted = _MEANING.get(strange[0], strange[0])
        raise ModelError(f"{type(module).__name__} needs {wanted}, which is not implemented")
    if branch_view is None:
        raise ModelError(
            f"{type(module).__name__} gets no view of a pass: its model's code drops keywords, or "
            "the model was loaded by pinfer and is used for something else"
        )
    out = attend(
        module.layer_idx,
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        branch_view,
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        window=sliding_window,
        softcap=softcap,
    )
    return out[None], None
