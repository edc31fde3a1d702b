"""The attention backends by name."""

import logging

import torch

from pbranch.errors import RequestError
from pinfer.attention.view import Backend


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
