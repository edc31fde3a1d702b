"""What policies have in common: the most used pages of each layer, and noise that depends on
nothing but the seed and the time."""

import torch
from torch import Tensor

from pinfer.eviction.options import KVOptions
from pinfer.eviction.pages import Pages


def top(pages: Pages, values: Tensor, share: float) -> Tensor:
    """Bool (layers, pages): the share of each layer's pages with the greatest values, rounded up;
    of equals the oldest."""
    count = torch.ceil(pages.held.sum(1, keepdim=True) * share)
    order = values.masked_fill(~pages.held, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return (order.argsort(dim=1) < count) & pages.held


def most_used(pages: Pages, weights: Tensor, options: KVOptions) -> Tensor:
    """Bool (layers, pages): what a token with these weights counts as used."""
    if options.alpha is not None:
        return weights > options.alpha
    return top(pages, weights, options.ratio)


def noise(pages: Pages, seed: int, now: int) -> Tensor:
    """(layers, pages) in [0, 1), the same for the same seed and time, on every device."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + now) % 2**63)
    return torch.rand(pages.held.shape, generator=generator).to(pages.device)
