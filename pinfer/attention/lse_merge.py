"""Attention over runs of keys, and the merge of their results by log-sum-exp.

R rows, n keys, H query heads in groups that share one of the Hk key/value heads, D head dim.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    query: Tensor, keys: Tensor, values: Tensor, scale: float, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """B rows (B, H, D), each over keys and values (B, n, Hk, D) of its own; bias (B, 1, 1, n) is
    -inf where they end earlier. Returns what `attend_run` does. On a CPU only."""
    assert FUSED is not None
    rows, heads, dim = query.shape
    kv_heads = keys.shape[2]
    folded = query.reshape(rows, kv_heads, -1, dim)
    out, lse = FUSED(
        *(folded, keys.transpose(1, 2), values.transpose(1, 2)),
        attn_mask=bias.expand(-1, -1, folded.shape[2], -1),
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


@dataclass(frozen=True, slots=True)
class Merge:
    """Where each row's results lie among those of all pieces: `index` (R, K) into their rows, one
    after another; `bias` (R, K, 1) is -inf where a row stands in fewer than K of them."""

    index: Tensor
    bias: Tensor
    in_order: bool  # each of the K pieces holds all rows, one after another

    def __call__(self, results: Sequence[Tensor], sums: Sequence[Tensor]) -> Tensor:
        """One softmax out of several: results (n, H, D) and log-sum-exps (n, H) of the pieces;
        returns (R, H, D)."""
        rows, most = self.index.shape
        if self.in_order and most == 1:
            return results[0]
        if self.in_order and most == 2:
            (a, b), (first, second) = results, sums
            share = torch.sigmoid(second - first)[..., None]
            return torch.lerp(a.to(share.dtype), b.to(share.dtype), share).to(a.dtype)
        flat = self.index.view(-1)
        chosen = torch.cat(tuple(results)).index_select(0, flat)
        if most == 1:
            return chosen
        scores = torch.cat(tuple(sums)).index_select(0, flat).view(rows, most, -1)
        weights = (scores + self.bias).softmax(1)
        merged = (chosen.view(rows, most, *chosen.shape[1:]) * weights[..., None]).sum(1)
        return merged.to(chosen.dtype)


def plan_merge(pieces: Sequence[Tensor], rows: int) -> Merge:
    """The merge of pieces that hold the given row indices; every row stands in one at least."""
    device = pieces[0].device
    lists = [p.tolist() for p in pieces]
    places: list[list[int]] = [[] for _ in range(rows)]
    count = 0
    for piece in lists:
        for row in piece:
            places[row].append(count)
            count += 1
    most = max(map(len, places))
    bias = [[0.0] * len(p) + [-math.inf] * (most - len(p)) for p in places]
    return Merge(
        torch.tensor([p + p[:1] * (most - len(p)) for p in places], device=device),
        torch.tensor(bias, device=device)[..., None],
        all(piece == list(range(rows)) for piece in lists),
    )
