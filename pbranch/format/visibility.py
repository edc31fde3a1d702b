"""The visibility rule and its spellings: a predicate, a dense mask, a FlexAttention mask_mod, and
the 3-D integer tensor that carries a layout through `attention_mask`. The one file that knows it.

Shapes: B sequences, L tokens of the longest, D levels of nesting.
Channels of the tensor (B, 2 + 2 D, L): doc, position, then from and until of each level.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pbranch.format.layout import Layout

PADDING = -1  # doc of padding, which sees itself alone


def sees(layout: Layout, q: int, k: int) -> bool:
    """Whether token q attends to token k."""
    hidden = any(level[k][0] <= q < level[k][1] for level in layout.hidden)
    return layout.doc[q] == layout.doc[k] and k <= q and not hidden


def layout_tensor(layouts: Sequence[Layout], length: int | None = None, depth: int = 0) -> Tensor:
    """Integer tensor (B, 2 + 2 D, L) of a batch, padded on the right to `length`; D >= `depth`."""
    length = length or max(len(x) for x in layouts)
    depth = max([depth, *(len(x.hidden) for x in layouts)])
    out = torch.zeros(len(layouts), 2 + 2 * depth, length, dtype=torch.int32)
    out[:, 0] = PADDING
    for channels, layout in zip(out, layouts, strict=True):
        n = len(layout)
        channels[0, :n] = torch.tensor(layout.doc, dtype=torch.int32)
        channels[1, :n] = torch.tensor(layout.position_ids, dtype=torch.int32)
        for d, level in enumerate(layout.hidden):
            channels[2 + 2 * d : 4 + 2 * d, :n] = torch.tensor(level, dtype=torch.int32).T
    return out


def dense_mask(tensor: Tensor, window: int | None = None) -> Tensor:
    """Bool (B, 1, L, L), True where token q (dim 2) sees token k (dim 3).

    window: sliding window in positions, as branches share positions: pos[q] - pos[k] < window.
    """
    doc, pos, k = tensor[:, 0], tensor[:, 1], torch.arange(tensor.shape[2], device=tensor.device)
    q = k[:, None]
    mask = (doc[:, :, None] == doc[:, None, :]) & (q >= k)
    for d in range(2, tensor.shape[1], 2):
        mask &= ~((tensor[:, d, None] <= q) & (q < tensor[:, d + 1, None]))
    if window is not None:
        mask &= pos[:, :, None] - pos[:, None, :] < window
    padding = (doc == PADDING)[:, :, None]
    mask = torch.where(padding, torch.eye(len(k), dtype=torch.bool, device=doc.device), mask)
    return mask[:, None]


def mask_mod(tensor: Tensor, window: int | None = None) -> Callable[..., Tensor]:
    """The same rule as a FlexAttention `mask_mod(b, h, q, k)`."""

    def branch_visibility(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        mask = (tensor[b, 0, q] == tensor[b, 0, k]) & (k <= q)
        for d in range(2, tensor.shape[1], 2):
            mask = mask & ~((tensor[b, d, k] <= q) & (q < tensor[b, d + 1, k]))
        if window is not None:
            mask = mask & (tensor[b, 1, q] - tensor[b, 1, k] < window)
        return torch.where(tensor[b, 0, q] == PADDING, q == k, mask)

    return branch_visibility
