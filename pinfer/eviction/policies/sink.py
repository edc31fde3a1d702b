"""The oldest page goes: the prompt and a window, as in StreamingLLM (arXiv 2309.17453)."""

import torch
from torch import Tensor

from pinfer.eviction import policy
from pinfer.eviction.pages import Pages


class Policy(policy.Policy):
    """First in, first out; the prompt, which never goes, is the sink."""

    def rank(self, pages: Pages, now: int) -> Tensor:
        """As `policy.Policy`: of equals the oldest goes."""
        return torch.zeros_like(pages.held, dtype=torch.float32)
