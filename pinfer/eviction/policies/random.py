"""Any page goes, all alike: with the prompt kept, a baseline that is hard to beat (arXiv
2609.03430)."""

from torch import Tensor

from pinfer.eviction import policy
from pinfer.eviction.marks import noise
from pinfer.eviction.pages import Pages


class Policy(policy.Policy):
    """Drawn anew at each eviction, in each layer by itself."""

    def rank(self, pages: Pages, now: int) -> Tensor:
        """As `policy.Policy`."""
        return noise(pages, self.options.seed, now)
