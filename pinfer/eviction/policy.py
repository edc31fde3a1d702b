"""The contract of a policy: which page of a layer goes first. One file each in `policies/`."""

from abc import ABC, abstractmethod

from torch import Tensor

from pinfer.eviction.options import KVOptions
from pinfer.eviction.pages import Pages


class Policy(ABC):
    """Ranks the closed pages of a reader. It has no state of its own: what it must remember of a
    page it writes into the page's marks, which a fork copies. Time is the position of a token.

    looks: whether it is told what weight queries give to pages; norms: whether it reads the pages'
    largest values; marks: the names of its own.
    """

    looks = False
    norms = False
    marks: tuple[str, ...] = ()

    def __init__(self, options: KVOptions) -> None:
        self.options = options

    def new_page(self, now: int) -> dict[str, float]:
        """The marks of a page that closes now."""
        return dict.fromkeys(self.marks, 0.0)

    def look(self, pages: Pages, weights: Tensor, now: int) -> None:
        """A token was committed that gives the pages these weights (layers, pages): an estimate of
        attention, summing to 1 in each layer."""
        return None

    @abstractmethod
    def rank(self, pages: Pages, now: int) -> Tensor:
        """(layers, pages): the lowest goes first, of equals the oldest; infinity never goes."""
