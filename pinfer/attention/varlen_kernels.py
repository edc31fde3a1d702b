"""Kernels over sequences of any lengths that hand out the log-sum-exp: flash-attn's, else torch's.

Both are wrapped into one call, and tried on a tiny example before they are trusted. Knows neither
views nor passes. Not yet run on a GPU: written against flash-attn 2.8 and torch 2.13.
"""

import inspect
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pbranch.errors import RequestError

HALF = (torch.float16, torch.bfloat16)
ONE_SPLIT = {"num_splits": 1}  # a sequence's result is then the same whatever else is in the call
log = logging.getLogger("pinfer")


@dataclass(frozen=True, slots=True)
class Sequences:
    """Query rows [q[i], q[i + 1]) see key slots [k[i], k[i] + used[i]). q, k (S + 1,) and used
    (S,) are int32; q and k never fall, so slots of two sequences never overlap. `max_q` and `max_k`
    are at least the rows and the slots of any sequence."""

    q: Tensor
    k: Tensor
    used: Tensor
    max_q: int
    max_k: int


# query (n, H, D), keys and values (slots, H, D), sequences, scale -> result and log-sum-exp
Call = Callable[[Tensor, Tensor, Tensor, Sequences, float], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A varlen kernel; `heads_first`: its log-sum-exp is (H, n), whatever its documentation says.

    There are as many query heads as key heads. With fewer key heads, and `max_q` 1, flash-attn
    takes every sequence to have a row and fails on others (Dao-AILab/flash-attention#1537).
    """

    name: str
    call: Call
    heads_first: bool

    def __call__(
        self, query: Tensor, keys: Tensor, values: Tensor, sequences: Sequences, scale: float
    ) -> tuple[Tensor, Tensor]:
        """Result (n, H, D) and log-sum-exp (n, H), -inf for the rows of a sequence without slots.
        Rows of no sequence hold anything. RequestError on a log-sum-exp of another shape."""
        out, lse = self.call(query, keys, values, sequences, scale)
        by_row = lse.t() if self.heads_first else lse
        if by_row.shape != query.shape[:2]:
            raise RequestError(
                f"attention 'flash': {self.name} gives a log-sum-exp of shape {tuple(lse.shape)} "
                f"for {query.shape[0]} rows of {query.shape[1]} heads; use sdpa"
            )
        return out, by_row.nan_to_num(nan=math.nan, posinf=-math.inf, neginf=-math.inf)


def find_kernel(device: torch.device, dtype: torch.dtype) -> Kernel:
    """The first kernel that works here; RequestError says why none does."""
    if device.type != "cuda":
        raise RequestError(f"attention 'flash': needs a CUDA device, found {device.type}; use sdpa")
    if dtype not in HALF:
        name = str(dtype).removeprefix("torch.")
        raise RequestError(
            f"attention 'flash': computes float16 and bfloat16, the model is {name}; use sdpa"
        )
    reasons = []
    for name, find in (("flash-attn", flash_attn_call), ("torch varlen_attn", torch_call)):
        try:
            kernel = trusted(name, find(), device, dtype)
        except (ImportError, OSError, AttributeError, TypeError, RuntimeError, RequestError) as e:
            lines = str(e).splitlines()
            reasons.append(f"{name}: {lines[0] if lines else type(e).__name__}")
        else:
            log.info("attention: flash computes with %s", name)
            return kernel
    raise RequestError(f"attention 'flash': no usable kernel ({'; '.join(reasons)}); use sdpa")


def flash_attn_call() -> Call:
    """flash-attn's kernel. Its public function says nothing of `seqused_k` up to 2.8, the operator
    below it takes it."""
    from flash_attn import flash_attn_interface as flash

    forward: Any = flash.flash_attn_varlen_func
    takes = inspect.signature(forward).parameters
    extra: dict[str, Any] = {"return_attn_probs": True}
    if "num_splits" in takes:
        extra |= ONE_SPLIT
    if "seqused_k" not in takes:
        forward = flash._flash_attn_varlen_forward
        extra = {"dropout_p": 0.0, "return_softmax": False}

    def call(query: Tensor, keys: Tensor, values: Tensor, s: Sequences, scale: float) -> Any:
        out, lse, *_ = forward(
            q=query, k=keys, v=values, cu_seqlens_q=s.q, cu_seqlens_k=s.k, seqused_k=s.used,
            max_seqlen_q=s.max_q, max_seqlen_k=s.max_k, softmax_scale=scale, causal=False, **extra,
        )  # fmt: skip
        return out, lse

    return call


def torch_call() -> Call:
    """The kernel that torch ships."""
    from torch.nn.attention.varlen import AuxRequest, varlen_attn

    takes = inspect.signature(varlen_attn).parameters
    if "seqused_k" not in takes:
        raise ImportError(f"of torch {torch.__version__} takes no seqused_k")
    extra: dict[str, Any] = ONE_SPLIT if "num_splits" in takes else {}

    def call(query: Tensor, keys: Tensor, values: Tensor, s: Sequences, scale: float) -> Any:
        return varlen_attn(
            query, keys, values, s.q, s.k, s.max_q, s.max_k, seqused_k=s.used, scale=scale,
            return_aux=AuxRequest(lse=True), **extra,
        )  # fmt: skip

    return call


def trusted(name: str, call: Call, device: torch.device, dtype: torch.dtype) -> Kernel:
    """A kernel that computes a tiny example rightly: gaps between sequences, one without slots, and
    which way its log-sum-exp lies. RequestError where it does not."""
    g = torch.Generator().manual_seed(0)
    rows, heads, dim, slots = 6, 2, 64, 40
    shapes = ((rows, heads, dim), (slots, heads, dim), (slots, heads, dim))
    query, keys, values = (torch.randn(s, generator=g).to(device, dtype) for s in shapes)
    spans = [(0, 1, 2, 17), (1, 4, 21, 9), (4, 6, 33, 0)]  # rows from, to; slots from, how many
    table = [[a for a, *_ in spans] + [rows], [s for *_, s, _ in spans] + [33]]
    q, k = (torch.tensor(row, dtype=torch.int32, device=device) for row in table)
    used = torch.tensor([n for *_, n in spans], dtype=torch.int32, device=device)
    out, lse = call(query, keys, values, Sequences(q, k, used, 4, 32), 0.125)
    kernel = Kernel(name, call, heads_first=lse.shape == (heads, rows))
    if lse.shape not in ((heads, rows), (rows, heads)):
        raise RequestError(f"its log-sum-exp has shape {tuple(lse.shape)}, expected {heads, rows}")
    lse = lse.t() if kernel.heads_first else lse
    for first, last, start, n in spans:
        run = slice(start, start + n)
        scores = torch.einsum("rhd,shd->rhs", query[first:last], keys[run]).double() * 0.125
        if not n:
            good = bool(lse[first:last].isinf().all())
        else:
            expected = torch.einsum("rhs,shd->rhd", scores.softmax(-1), values[run].double())
            good = _near(out[first:last], expected) and _near(lse[first:last], scores.logsumexp(-1))
        if not good:
            raise RequestError(f"it computes an example of {n} slots wrongly")
    return kernel


def _near(computed: Tensor, expected: Tensor) -> bool:
    return torch.allclose(computed.double(), expected, rtol=0.02, atol=0.02)
