"""The attention backends by name."""

import logging
from typing import Protocol

import torch
from torch import Tensor

from pbranch.errors import RequestError
from pinfer.attention.view import View


class Backend(Protocol):
    """Computes what a view says.

    It reads `view.arena.keys[layer]` and `values[layer]` (slots, Hk, D), in which the pass's own
    tokens are stored already, and writes nothing. Every token sees at least one slot. What it
    derives from the view alone it keeps by `view.derived`: the same view comes once a layer. It
    never falls back to another backend.
    """

    def __call__(
        self, query: Tensor, view: View, layer: int, *, scale: float, softcap: float | None
    ) -> Tensor:
        """Tokens (R, H, D) of a pass; returns (R, H, D). softcap: scores are
        softcap * tanh(scores / softcap)."""


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
        from pinfer.attention.varlen_kernels import find_kernel

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
