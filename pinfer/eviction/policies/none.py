"""Nothing is evicted: full attention, kept in pages, so that it can be watched like the others."""

import torch
from torch import Tensor

from pinfer.eviction import policy
from pinfer.eviction.pages import Pages


class Policy(policy.Policy):
    """No page ever goes."""

    def rank(self, pages: Pages, now: int) -> Tensor:
        """As `policy.Policy`."""
        return torch.full_like(pages.held, torch.inf, dtype=torch.float32)
