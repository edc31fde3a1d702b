"""Attention over runs of keys, and the merge of their results by log-sum-exp.

R rows, n keys, H query heads in groups that share one of the Hk key/value heads, D head dim.
"""

import torch
from torch import Tensor

# what scaled_dot_product_attention runs on a CPU, which does not hand out the log-sum-exp
FUSED = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)


def attend_run(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    scale: float,
    softcap: float | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Rows (R, H, D) over keys and values (Hk, n, D); mask (R, n) True where seen.

    Returns the result (R, H, D) and the log-sum-exp of the scores (R, H), -inf where a row sees
    nothing. Query heads of one key head are folded into the rows: one product a key head.
    """
    rows, heads, dim = query.shape
    groups = heads // len(keys)
    folded = query.view(rows, -1, groups, dim).permute(1, 2, 0, 3).reshape(-1, groups * rows, dim)
    if FUSED is not None and query.device.type == "cpu" and mask is None and softcap is None:
        batch_of_one = (x.unsqueeze(0) for x in (folded, keys, values))
        fused, fused_lse = FUSED(*batch_of_one, scale=scale)
        return _unfold(fused, rows), _unfold(fused_lse.unsqueeze(-1), rows).squeeze(-1)
    scores = (folded @ keys.transpose(1, 2)).mul_(scale)
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    if softcap is not None:
        scores = (scores / softcap).tanh_().mul_(softcap)
    if mask is not None:
        scores = scores.view(-1, groups, rows, keys.shape[1]).masked_fill(~mask, float("-inf"))
        scores = scores.view(-1, groups * rows, keys.shape[1])
    top = scores.amax(-1, keepdim=True).clamp_min(torch.finfo(scores.dtype).min)
    weights = scores.sub_(top).exp_()
    total = weights.sum(-1, keepdim=True)
    out = (weights / total.clamp_min(torch.finfo(total.dtype).tiny)).to(values.dtype)
    out = out @ values
    return _unfold(out, rows), _unfold(top + total.log(), rows).squeeze(-1)


def attend_padded(
    query: Tensor, keys: Tensor, values: Tensor, scale: float, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """B rows (B, H, D), each over keys and values (B, n, Hk, D) of its own, as far as mask (B, n)
    says; returns what `attend_run` does. On a CPU only."""
    assert FUSED is not None
    rows, heads, dim = query.shape
    kv_heads = keys.shape[2]
    folded = query.reshape(rows, kv_heads, -1, dim)
    bias = torch.zeros(mask.shape, dtype=query.dtype).masked_fill_(~mask, float("-inf"))
    out, lse = FUSED(
        *(folded, keys.transpose(1, 2), values.transpose(1, 2)),
        attn_mask=bias[:, None, None].expand(-1, -1, folded.shape[2], -1),
        scale=scale,
    )
    return out.reshape(rows, heads, dim), lse.reshape(rows, heads)


def _unfold(folded: Tensor, rows: int) -> Tensor:
    """(Hk, groups * rows, D) back to (rows, H, D)."""
    dim = folded.shape[-1]
    if rows == 1:
        return folded.reshape(1, -1, dim)
    heads = folded.shape[-3]
    return folded.view(heads, -1, rows, dim).permute(2, 0, 1, 3).reshape(rows, -1, dim)


def merge_runs(pieces: list[tuple[Tensor, Tensor, Tensor]], rows: int) -> Tensor:
    """One softmax out of several: `pieces` are (row indices, result, log-sum-exp) of runs.

    A row may stand in any number of pieces; returns (rows, H, D).
    """
    index = torch.cat([p[0] for p in pieces])
    result = torch.cat([p[1] for p in pieces])
    if len(index) == rows and len(pieces) <= rows and len(torch.unique(index)) == rows:
        return torch.empty_like(result).index_copy_(0, index, result)
    lse = torch.cat([p[2] for p in pieces])
    low = torch.finfo(lse.dtype).min
    top = lse.new_full((rows, lse.shape[1]), low)
    top.scatter_reduce_(0, index[:, None].expand_as(lse), lse, "amax")
    weight = (lse - top[index]).exp_()
    total = torch.zeros_like(top).index_add_(0, index, weight)
    weighted = result * weight[..., None]
    out = weighted.new_zeros(rows, *result.shape[1:]).index_add_(0, index, weighted)
    return (out / total[..., None]).to(result.dtype)
