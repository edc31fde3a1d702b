"""The one attention function through which transformers' own model code is driven.

A pass hands its `View` down as a keyword; the function stores the rows' keys and values and lets a
backend compute what the view says. Attention arguments that we do not know are refused.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pbranch.errors import ModelError, RequestError
from pinfer.view import View

ATTENTION_NAME = "pinfer_view"
Backend = Callable[[Tensor, View, int, float, float | None], Tensor]
# passed along by transformers' decoders, and without effect on what a row attends to
_HARMLESS = {
    "position_ids",
    "use_cache",
    "cache_position",
    "is_causal",
    "output_attentions",
    "output_router_logits",
}


def get_backend(
    name: str, device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> Backend:
    """`flash` (a varlen kernel, CUDA, half precision), `sdpa` (by parts, any device) or `dense`
    (explicit mask, the oracle), for a model of `dtype` on `device`. `auto`: `flash` where it can be
    had, else `sdpa`; it logs which, and why.

    A backend asked for by name and missing is an error, never another one.
    """
    if name in ("auto", "flash"):
        from pinfer.attention.flash import Flash
        from pinfer.attention.varlen import find_kernel

        asked, reason = name, ""
        try:
            name, flash = "flash", Flash(find_kernel(device or torch.device("cpu"), dtype))
        except RequestError as e:
            if asked == "flash":
                raise
            name, reason = "sdpa", f" ({e})"
        if asked == "auto":
            logging.getLogger("pinfer").info("attention: auto chose %s%s", name, reason)
        if name == "flash":
            return flash
    if name == "sdpa":
        from pinfer.attention import sdpa

        return sdpa.attend
    if name == "dense":
        from pinfer.attention import dense

        return dense.attend
    raise RequestError(f"attention {name!r}: expected auto, flash, sdpa or dense")


def register() -> None:
    """Make `ATTENTION_NAME` known to transformers; it gets no mask, as a view needs none."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION_NAME, view_attention)


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
    branch_backend: Backend | None = None,
    **unknown: Any,
) -> tuple[Tensor, None]:
    """Query (1, H, R, D), key and value (1, Hk, R, D); returns (1, R, H, D)."""
    strange = [k for k, v in unknown.items() if v is not None and k not in _HARMLESS]
    if attention_mask is not None:
        strange.append("attention_mask")  # we asked for none: the model made one of its own
    if strange:
        raise ModelError(f"{type(module).__name__}: unknown attention argument {strange[0]}")
    if branch_view is None or branch_backend is None:
        raise ModelError(
            f"{type(module).__name__} gets no view of a pass: its model's code drops keywords, or "
            "the model was loaded by pinfer and is used for something else"
        )
    layer = module.layer_idx
    branch_view.arena.write(
        layer, branch_view.slots, key[0].transpose(0, 1), value[0].transpose(0, 1)
    )
    view = branch_view.within(sliding_window)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = branch_backend(query[0].transpose(0, 1), view, layer, scale, softcap)
    return out[None], None
