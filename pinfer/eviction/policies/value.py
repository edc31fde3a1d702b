"""Random, but pages with large values stay: VaSE's finding (arXiv 2606.03928), by pages."""

from torch import Tensor

from pinfer.eviction import policy
from pinfer.eviction.marks import noise, top
from pinfer.eviction.pages import Pages


class Policy(policy.Policy):
    """The share `ratio` of a layer's pages with the largest values goes last."""

    norms = True

    def rank(self, pages: Pages, now: int) -> Tensor:
        """As `policy.Policy`."""
        strong = top(pages, pages["norm"], self.options.ratio)
        return noise(pages, self.options.seed, now) + strong
