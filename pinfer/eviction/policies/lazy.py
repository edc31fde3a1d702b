"""The page that is most overdue goes, by the longest time after which it was ever used again: the
idea of LazyEviction (ACL 2026), not its exact formula."""

import torch
from torch import Tensor

from pinfer.eviction import policy
from pinfer.eviction.marks import most_used
from pinfer.eviction.pages import Pages


class Policy(policy.Policy):
    """A page that has once come back after long is waited for as long; a page at least."""

    looks = True
    marks = ("used", "gap")

    def new_page(self, now: int) -> dict[str, float]:
        """As `policy.Policy`."""
        return {"used": float(now), "gap": float(self.options.page)}

    def look(self, pages: Pages, weights: Tensor, now: int) -> None:
        """As `policy.Policy`."""
        used = most_used(pages, weights, self.options)
        gap = torch.maximum(pages["gap"], now - pages["used"])
        pages["gap"] = torch.where(used, gap, pages["gap"])
        pages["used"] = pages["used"].masked_fill(used, now)

    def rank(self, pages: Pages, now: int) -> Tensor:
        """As `policy.Policy`."""
        return (pages["used"] - now) / pages["gap"]
