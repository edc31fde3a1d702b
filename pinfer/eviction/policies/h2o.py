"""The page with the least attention so far goes, of all but the newest: H2O (arXiv 2306.14048)."""

import torch
from torch import Tensor

from pinfer.eviction import policy
from pinfer.eviction.marks import top
from pinfer.eviction.pages import Pages


class Policy(policy.Policy):
    """Weights are summed over all tokens; the newest pages, the share `ratio`, go last."""

    looks = True
    marks = ("total",)

    def look(self, pages: Pages, weights: Tensor, now: int) -> None:
        """As `policy.Policy`."""
        pages["total"] = pages["total"] + weights

    def rank(self, pages: Pages, now: int) -> Tensor:
        """As `policy.Policy`."""
        order = torch.arange(len(pages), device=pages.device).expand(pages.layers, -1)
        newest = top(pages, order.to(torch.float32), self.options.ratio)
        return pages["total"] + newest * (1 + pages["total"].amax(1, keepdim=True))
