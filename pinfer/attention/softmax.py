"""Attention over runs of keys, and the merge of their results by log-sum-exp.

R rows, n keys, H query heads in groups that share one of the Hk key/value heads, D head dim.
"""

import torch
from torch import Tensor


def attend_run(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    scale: float,
    softcap: float | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Rows (R, H, D) over keys and values (n, Hk, D); mask (R, n) True where seen.

    Returns the result (R, H, D) and the log-sum-exp of the scores (R, H), -inf where a row sees
    nothing. Query heads of one key head are folded into the rows: one product a key head.
    """
    rows, heads, dim = query.shape
    groups = heads // keys.shape[1]
    folded = query.view(rows, -1, groups, dim).permute(1, 2, 0, 3).reshape(-1, groups * rows, dim)
    scores = (folded @ keys.permute(1, 2, 0)).mul_(scale)
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    if softcap is not None:
        scores = (scores / softcap).tanh_().mul_(softcap)
    if mask is not None:
        scores = scores.view(-1, groups, rows, len(keys)).masked_fill(~mask, float("-inf"))
        scores = scores.view(-1, groups * rows, len(keys))
    top = scores.amax(-1, keepdim=True).clamp_min(torch.finfo(scores.dtype).min)
    weights = scores.sub_(top).exp_()
    total = weights.sum(-1, keepdim=True)
    out = (weights / total.clamp_min(torch.finfo(total.dtype).tiny)).to(values.dtype)
    out = out @ values.permute(1, 0, 2)
    lse = (top + total.log()).view(-1, groups, rows)
    out = out.view(-1, groups, rows, dim).permute(2, 0, 1, 3).reshape(rows, heads, dim)
    return out, lse.permute(2, 0, 1).reshape(rows, heads)


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
