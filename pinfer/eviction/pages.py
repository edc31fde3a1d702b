"""The closed pages that one reader keeps, layer by layer: plain tensors, one row a layer.

A page is a run of tokens that are evicted together. Every layer keeps pages of its own; those of a
layer stand in order, oldest first. Knows no policy, and not what is stored on the pages.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


class Pages:
    """Tables (layers, pages): column j of row l tells of the j-th page that layer l keeps. A layer
    that keeps fewer than others has pages of 0 tokens behind its own.

    tokens: of the page; segment: that holds them; offset: of its first one there, in this layer;
    index: the same if nothing had ever been evicted; bounds (layers, pages, Hk, 2D): of its keys,
    see `key_bounds`; norm: of its largest value; both where a policy reads them. All others are
    marks of the policy.
    """

    def __init__(self, layers: int, device: torch.device) -> None:
        self.layers, self.device = layers, device
        whole = torch.zeros(layers, 0, dtype=torch.long, device=device)
        self.table = dict.fromkeys(("tokens", "segment", "offset", "index"), whole)

    def __getitem__(self, name: str) -> Tensor:
        return self.table[name]

    def __setitem__(self, name: str, values: Tensor) -> None:
        assert values.shape[:2] == self["tokens"].shape, f"{name} of other pages"
        self.table[name] = values

    def __len__(self) -> int:
        """Pages of the layer that keeps most."""
        return self["tokens"].shape[1]

    @property
    def held(self) -> Tensor:
        """Bool (layers, pages): the layer has this page."""
        return self["tokens"] > 0

    @property
    def total(self) -> Tensor:
        """(layers,): tokens that each layer keeps."""
        return self["tokens"].sum(1)

    def copy(self) -> "Pages":
        """What a fork inherits: nothing that is done to it changes this one."""
        other = Pages(self.layers, self.device)
        other.table = {name: values.clone() for name, values in self.table.items()}
        return other

    def add(self, columns: Mapping[str, Tensor | float]) -> None:
        """One more page in every layer: (layers, …) values by name, or one value for all."""
        added = {}
        for name, value in columns.items():
            if not isinstance(value, Tensor):
                kind = torch.long if isinstance(value, int) else torch.float32
                value = torch.full((self.layers,), value, dtype=kind, device=self.device)
            added[name] = value[:, None]
        self._append(added)

    def extend(self, other: "Pages") -> None:
        """The pages of another reader behind one's own."""
        self._append(other.table)

    def _append(self, columns: Mapping[str, Tensor]) -> None:
        if not len(self):  # the first page says which marks and bounds there are
            self.table = {name: values.clone() for name, values in columns.items()}
        elif next(iter(columns.values())).shape[1]:
            self.table = {
                name: torch.cat((values, columns[name]), 1) for name, values in self.table.items()
            }
        self.keep(self.held)

    def keep(self, chosen: Tensor) -> None:
        """Forget all pages but the chosen ones (layers, pages); those move together."""
        width = int(chosen.sum(1).max()) if len(self) else 0
        if width == len(self) and bool(chosen.all()):
            return
        order = torch.sort((~chosen).int(), dim=1, stable=True).indices[:, :width]
        layer = torch.arange(self.layers, device=self.device)[:, None]
        left = chosen[layer, order]
        self.table = {name: values[layer, order] for name, values in self.table.items()}
        self.table["tokens"] = self["tokens"].where(left, 0)


def choose_victims(pages: Pages, rank: Tensor, excess: Tensor) -> Tensor:
    """Bool (layers, pages): what must go so that each layer loses at least `excess` (layers,)
    tokens, or has nothing left that may; the lowest rank first, of equals the oldest page."""
    victims = torch.zeros_like(pages.held)
    layer = torch.arange(pages.layers, device=pages.device)
    rank = rank.masked_fill(~pages.held, torch.inf)
    while len(pages):
        column = rank.argmin(1)
        gone = (excess > 0) & (rank[layer, column] < torch.inf)
        if not bool(gone.any()):
            break
        victims[layer[gone], column[gone]] = True
        rank[layer[gone], column[gone]] = torch.inf
        excess = excess - pages["tokens"][layer, column].where(gone, 0)
    return victims
