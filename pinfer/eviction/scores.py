"""How much a query may attend to a page, from two vectors a page: no attention matrix.

The bound of Quest (arXiv 2406.10774): with each channel's least and greatest key of a page, no key
of the page can have a larger product with the query.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad


def stack_heads(layers: Sequence[Tensor]) -> Tensor:
    """Queries or keys (…, heads, channels) of layers as one (layers, …, heads, channels). Where
    they differ, products stay as they are: zeros fill up channels, and heads of keys that more
    queries share are repeated."""
    heads, channels = (max(x.shape[i] for x in layers) for i in (-2, -1))
    return torch.stack([
        pad(x.repeat_interleave(heads // x.shape[-2], -2), (0, channels - x.shape[-1]))
        for x in layers
    ])  # fmt: skip


def key_bounds(keys: Tensor) -> Tensor:
    """Of pages' keys (…, n, Hk, D): the greatest and the least of each channel, (…, Hk, 2D)."""
    return torch.cat((keys.amax(-3), keys.amin(-3)), -1)


def value_norm(values: Tensor) -> Tensor:
    """Of a page's values (n, Hk, D): the largest Euclidean norm of a head's."""
    return values.float().norm(dim=-1).amax()


def page_scores(query: Tensor, bounds: Tensor) -> Tensor:
    """Upper bounds of products: query (L, R, H, D) and bounds (L, P, Hk, 2D) to (L, R, H, P)."""
    layers, rows, heads, dim = query.shape
    pages, kv_heads = bounds.shape[1:3]
    signed = torch.cat((query.clamp(min=0), query.clamp(max=0)), -1)
    signed = signed.view(layers, rows, kv_heads, -1, 2 * dim).transpose(1, 2)  # L, Hk, R, G, 2D
    signed = signed.reshape(layers, kv_heads, -1, 2 * dim)
    scores = signed @ bounds.permute(0, 2, 3, 1).to(signed.dtype)  # L, Hk, R * G, P
    scores = scores.view(layers, kv_heads, rows, -1, pages).transpose(1, 2)
    return scores.reshape(layers, rows, heads, pages)


def page_weights(query: Tensor, bounds: Tensor, held: Tensor) -> Tensor:
    """What share of attention each page may draw: a softmax over the pages that a layer holds
    (L, P), the mean over heads; (L, R, P) float32, 0 for others. The query is scaled."""
    scores = page_scores(query, bounds)
    scores = scores.masked_fill(~held[:, None, None], -torch.inf)
    return scores.softmax(-1).nan_to_num(0.0).mean(2).float()
