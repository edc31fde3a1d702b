"""What eviction did in one request, in plain numbers: for its statistics, and for a picture."""

from dataclasses import dataclass, field
from typing import Any

from pinfer.eviction.options import KVOptions

Path = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class PageLife:
    """A page of the lane at `path`: positions [start, start + tokens), closed at position `closed`;
    `gone`: by layer, the position at which the lane dropped it."""

    path: Path
    start: int
    tokens: int
    closed: int
    gone: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class KVTrace:
    """kept: after each page, the lane's path, its position, and the tokens that it keeps in the
    layer that keeps least and in the one that keeps most; slots: that the request's own tokens had
    in the cache at its end; most: at any time in one lane. A page that a branch drops and its
    parent keeps is counted among the evictions; in `pages` it lives on."""

    options: KVOptions
    budget: int
    layers: int
    pages: list[PageLife] = field(default_factory=list)
    kept: list[tuple[Path, int, int, int]] = field(default_factory=list)
    evictions: list[int] = field(default_factory=list)  # by layer
    slots: int = 0
    most: int = 0
    _numbers: dict[tuple[Path, int, int], int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.evictions = [0] * self.layers

    def add(self, page: PageLife) -> int:
        """The number of a page; what a lane and its branches close each for itself is one page."""
        number = self._numbers.setdefault((page.path, page.start, page.tokens), len(self.pages))
        if number == len(self.pages):
            self.pages.append(page)
        return number

    def discard(self, path: Path, now: int) -> None:
        """All that the lane at `path` still keeps of its own leaves."""
        for page in self.pages:
            if page.path == path:
                for layer in range(self.layers):
                    page.gone.setdefault(layer, now)

    def as_dict(self) -> dict[str, Any]:
        """What the statistics of an answer say."""
        return {
            "policy": self.options.policy,
            "budget": self.budget,
            "page": self.options.page,
            "slots": self.slots,
            "most_kept": self.most,
            "evictions": self.evictions,
            "kept": [[position, most] for path, position, _, most in self.kept if not path],
        }
