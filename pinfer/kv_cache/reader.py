"""What one lane keeps of the tokens that it sees, while the cache is bounded.

In every layer its own segment holds, in this order: tokens that never go, the closed pages that the
layer keeps, and the open page, which the lane fills. The slots are the same in all layers; which
tokens lie there is not.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pinfer.eviction.pages import Pages


@dataclass(slots=True)
class Reader:
    """pages: of all that it sees, its ancestors' included, the closed ones. pinned: tokens of its
    whole path that never go, `own_pinned` of its own segment. fed: tokens of its own so far,
    evicted ones included. open: positions of the tokens on the open page; before: of the token in
    front of them. length (layers,), on the host: tokens in its segment. first: position of its own
    first token. pending: (position, weights of the pages) of tokens whose looks are not yet in the
    marks. hidden: see `find_hidden`.
    """

    segment: int
    pages: Pages
    pinned: int
    own_pinned: int
    length: Tensor
    before: int
    first: int | None = None
    fed: int = 0
    open: list[int] = field(default_factory=list)
    pending: list[tuple[int, Tensor]] = field(default_factory=list)
    hidden: dict[int, Tensor | None] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The position of its newest token."""
        return self.open[-1] if self.open else self.before

    @property
    def fixed(self) -> int:
        """Tokens in front of its own pages."""
        return min(self.own_pinned, self.fed)

    @property
    def own(self) -> Tensor:
        """Bool (layers, pages): the page lies in its own segment."""
        return self.pages.held & (self.pages["segment"] == self.segment)

    def room(self, page: int) -> int:
        """Tokens that it may be fed until a page is full: of a full one, until the next is."""
        return self.own_pinned - self.fixed + page - len(self.open) % page

    def take(self, positions: list[int]) -> int:
        """It is fed tokens at these positions; returns how many of them are pinned."""
        pinned = min(len(positions), self.own_pinned - self.fixed)
        self.first = positions[0] if self.first is None else self.first
        if pinned:
            self.before = positions[pinned - 1]
        self.fed += len(positions)
        self.open += positions[pinned:]
        self.length = self.length + len(positions)
        return pinned

    def close(self, count: int) -> None:
        """Its oldest tokens on the open page have become a closed one."""
        self.before = self.open[count - 1]
        del self.open[:count]

    def drop(self, count: int) -> None:
        """Its last tokens leave, from closed pages, too; those that are gone cannot come back."""
        self.fed -= count
        off_page = min(count, len(self.open))
        self.before -= count - off_page  # closed pages hold text, which stands side by side
        del self.open[len(self.open) - off_page :]
        if off_page == count:
            self.length = self.length - count
            return
        left = (self.fed - self.pages["index"]).clamp(min=0)
        shorter = torch.minimum(self.pages["tokens"], left)
        self.pages["tokens"] = torch.where(self.own, shorter, self.pages["tokens"])
        self.pages.keep(self.pages.held)
        self.length = self.fixed + (self.pages["tokens"] * self.own).sum(1).cpu()

    def find_hidden(self, owner: "Reader") -> Tensor | None:
        """Bool (layers, tokens): what it sees of an ancestor's segment, which does not change while
        it lives; None where that is everything."""
        if owner.segment not in self.hidden:
            self.hidden[owner.segment] = self._find_hidden(owner)
        return self.hidden[owner.segment]

    def _find_hidden(self, owner: "Reader") -> Tensor | None:
        pages = self.pages
        there = pages.held & (pages["segment"] == owner.segment)
        tokens = pages["tokens"] * there
        if torch.equal(owner.fixed + tokens.sum(1).cpu(), owner.length):
            return None
        edges = torch.zeros(pages.layers, int(owner.length.max()) + 1, device=pages.device)
        edges[:, 0] += 1
        edges[:, owner.fixed] -= 1
        edges.scatter_add_(1, pages["offset"] * there, there.to(edges.dtype))
        edges.scatter_add_(1, (pages["offset"] + pages["tokens"]) * there, -there.to(edges.dtype))
        return edges.cumsum(1)[:, :-1] > 0
