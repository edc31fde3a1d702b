"""What the rows of a pass attend to: parts of the arena, and one another. Knows no lanes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

from pinfer.kv_cache.arena import Arena

Derived = TypeVar("Derived")


@dataclass(frozen=True, slots=True)
class Part:
    """Rows `rows` (R,) of the pass see slots [start, start + length). mask (R, length) where a
    sliding window cuts some of it, else None."""

    rows: Tensor
    start: int
    length: int
    mask: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Rows [start, start + length) of the pass see one another as `mask` (length, length) says."""

    start: int
    length: int
    mask: Tensor


@dataclass(frozen=True, slots=True)
class View:
    """Everything a pass's attention needs. `slots` (R,): where its rows are stored."""

    arena: Arena
    slots: Tensor
    positions: Tensor  # (R,) on the host
    parts: list[Part]
    groups: list[Group]
    _windows: dict[int, "View"] = field(default_factory=dict)
    _derived: dict[Callable, Any] = field(default_factory=dict)

    def derived(self, make: Callable[["View"], Derived]) -> Derived:
        """What a backend makes of the view, once for all layers."""
        if make not in self._derived:
            self._derived[make] = make(self)
        return self._derived[make]

    def within(self, window: int | None) -> "View":
        """The same view for a layer whose rows see only positions above their own - window."""
        if window is None:
            return self
        if window not in self._windows:
            self._windows[window] = self._slide(window)
        return self._windows[window]

    def _slide(self, window: int) -> "View":
        parts = [p for part in self.parts if (p := self._cut(part, window)) is not None]
        groups = []
        for group in self.groups:
            pos = self.positions[group.start : group.start + group.length]
            near = (pos[:, None] - pos[None] < window).to(group.mask.device)
            groups.append(Group(group.start, group.length, group.mask & near))
        return View(self.arena, self.slots, self.positions, parts, groups)

    def _cut(self, part: Part, window: int) -> Part | None:
        """A slice of the part, masked where joined branches overlap in position."""
        q = self.positions[part.rows.cpu()]
        k = self.arena.positions[part.start : part.start + part.length]
        near = q[:, None] - k[None] < window
        columns = near.any(0).nonzero().flatten()
        if not len(columns):
            return None
        first, last = int(columns[0]), int(columns[-1]) + 1
        near = near[:, first:last]
        mask = None if bool(near.all()) else near.to(part.rows.device)
        return Part(part.rows, part.start + first, last - first, mask)
