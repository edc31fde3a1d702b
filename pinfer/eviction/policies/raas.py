"""The page that was longest not used goes: RaaS (Hu et al., arXiv 2502.11147)."""

from torch import Tensor

from pinfer.eviction import policy
from pinfer.eviction.marks import most_used
from pinfer.eviction.pages import Pages


class Policy(policy.Policy):
    """Every page has the time at which a token last used it; a page that closes is used."""

    looks = True
    marks = ("used",)

    def new_page(self, now: int) -> dict[str, float]:
        """As `policy.Policy`."""
        return {"used": float(now)}

    def look(self, pages: Pages, weights: Tensor, now: int) -> None:
        """As `policy.Policy`."""
        used = most_used(pages, weights, self.options)
        pages["used"] = pages["used"].masked_fill(used, now)

    def rank(self, pages: Pages, now: int) -> Tensor:
        """As `policy.Policy`."""
        return pages["used"]
