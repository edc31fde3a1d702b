"""A stand-in for the varlen kernels, on a CPU, that holds callers to what those document: refuses
what a real one would compute wrongly, and leaves NaN where a real one leaves anything."""

import functools
import math
from typing import Any

import torch
from torch import Tensor

from pinfer.attention import varlen_kernels
from pinfer.attention.flash import Flash
from pinfer.attention.varlen_kernels import Call, Kernel, Sequences

HALF = (torch.float16, torch.bfloat16)


def fake_varlen_attn(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    return_aux: Any = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
    seqused_k: Tensor | None = None,
    num_splits: int | None = None,
    dtypes: tuple[torch.dtype, ...] = HALF,
    heads_first: bool = True,
) -> tuple[Tensor, Tensor]:
    """The signature of torch 2.13's `varlen_attn`; `dtypes`: what it computes."""
    assert query.dtype == key.dtype == value.dtype and query.dtype in dtypes, query.dtype
    assert query.dim() == key.dim() == 3 and key.shape == value.shape
    assert query.shape[1:] == key.shape[1:], "as many query heads as key heads"
    assert query.stride(-1) == key.stride(-1) == value.stride(-1) == 1
    assert num_splits == 1 and return_aux.lse and window_size == (-1, -1) and seqused_k is not None
    for table in (cu_seq_q, cu_seq_k, seqused_k):
        assert table.dtype == torch.int32 and table.is_contiguous()
    q, k, used = (table.tolist() for table in (cu_seq_q, cu_seq_k, seqused_k))
    assert len(q) == len(k) == len(used) + 1
    assert q[0] == 0 and q[-1] <= len(query) and 0 <= k[0] and k[-1] <= len(key)
    out = torch.full_like(query, math.nan)
    sums = torch.float64 if query.dtype == torch.float64 else torch.float32
    lse = torch.full(query.shape[:2], math.nan, dtype=sums)
    for i, n in enumerate(used):
        rows, slots = slice(q[i], q[i + 1]), slice(k[i], k[i] + n)
        assert 0 <= q[i + 1] - q[i] <= max_q, "rows of a sequence"
        assert 0 <= n <= min(max_k, k[i + 1] - k[i]), "slots of a sequence"
        if n == 0:
            out[rows], lse[rows] = 0, math.inf
            continue
        scores = torch.einsum("rhd,shd->rhs", query[rows].double(), key[slots].double()) * scale
        out[rows] = torch.einsum("rhs,shd->rhd", scores.softmax(-1), value[slots].double()).to(out)
        lse[rows] = scores.logsumexp(-1).to(lse)
    return out, lse.t().contiguous() if heads_first else lse


def fake_flash_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float,
    softmax_scale: float,
    causal: bool,
    window_size_left: int = -1,
    window_size_right: int = -1,
    softcap: float = 0.0,
    alibi_slopes: Tensor | None = None,
    return_softmax: bool = False,
    block_table: Tensor | None = None,
    leftpad_k: Tensor | None = None,
    seqused_k: Tensor | None = None,
    zero_tensors: bool = False,
) -> tuple[Tensor, ...]:
    """The signature of flash-attn 2.8's `_flash_attn_varlen_forward`."""
    assert dropout_p == softcap == 0.0 and not causal and not return_softmax
    aux = type("Aux", (), {"lse": True})
    found = fake_varlen_attn(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k,
        return_aux=aux, scale=softmax_scale, seqused_k=seqused_k, num_splits=1,
    )  # fmt: skip
    return (*found, torch.empty(0), torch.empty(2))


class Counted:
    """Counts calls of a kernel."""

    def __init__(self, call: Call) -> None:
        self.call, self.sequences = call, list[Sequences]()

    def __call__(self, query: Tensor, keys: Tensor, values: Tensor, s: Sequences, scale: float):
        self.sequences.append(s)
        return self.call(query, keys, values, s, scale)


def fake_flash(
    monkeypatch: Any, chunk: int = 8, dtypes: tuple[torch.dtype, ...] = (torch.float64,)
) -> tuple[Flash, Counted]:
    """The backend over the stand-in, through the adapter of torch's kernel; and its calls."""
    fake = functools.partial(fake_varlen_attn, dtypes=dtypes)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", fake)
    counted = Counted(varlen_kernels.torch_call())
    return Flash(Kernel("fake", counted, heads_first=True), chunk), counted
