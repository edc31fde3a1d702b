"""Attention metadata of a pass: which KV slots each token sees, and which tokens of the same pass.

Backends compute a view; a view knows no lanes and no policy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from torch import Tensor

from pinfer.kv_cache.arena import Arena

Derived = TypeVar("Derived")


@dataclass(frozen=True, slots=True)
class Part:
    """Tokens `rows` (R,) of the pass see slots [start, start + length). mask (R, length) where a
    sliding window or a policy hides some of them, else None."""

    rows: Tensor
    start: int
    length: int
    mask: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Tokens [start, start + length) of the pass see each other as `mask` (length, length) says."""

    start: int
    length: int
    mask: Tensor


class Backend(Protocol):
    """Computes what a view says.

    It reads `view.arena.keys[layer]` and `values[layer]` (slots, Hk, D), in which the pass's own
    tokens are stored already, and writes nothing. Every token sees at least one slot. What it
    derives from the view alone it keeps by `view.derived`: the same view comes once a layer. It
    never falls back to another backend.
    """

    def __call__(
        self, query: Tensor, view: "View", layer: int, *, scale: float, softcap: float | None
    ) -> Tensor:
        """Tokens (R, H, D) of a pass; returns (R, H, D). softcap: scores are
        softcap * tanh(scores / softcap)."""


class KVPolicy(Protocol):
    """Sees every layer's queries and keys, and may hide slots from what follows."""

    def look(self, layer: int, query: Tensor, view: "View") -> "View":
        """Before attention: query (R, H, D), keys and values stored. The view to attend to."""


@dataclass(frozen=True, slots=True)
class View:
    """Everything a pass's attention needs. `slots` (R,): where its tokens are stored; `positions`
    (R,) on the host; `layers`: views of the layers that see other slots than the rest."""

    arena: Arena
    slots: Tensor
    positions: Tensor
    parts: list[Part]
    groups: list[Group]
    backend: Backend
    policy: KVPolicy | None = None
    layers: Mapping[int, "View"] = field(default_factory=dict)
    _windows: dict[tuple[int, int], "View"] = field(default_factory=dict)
    _derived: dict[Callable, Any] = field(default_factory=dict)

    def derived(self, make: Callable[["View"], Derived]) -> Derived:
        """What a backend makes of the view, once for all layers that share it."""
        if make not in self._derived:
            self._derived[make] = make(self)
        return self._derived[make]

    def for_layer(self, layer: int) -> "View":
        """The view of a layer: this one, unless the layer has its own."""
        return self.layers.get(layer, self) if self.layers else self

    def within(self, window: int | None, layer: int = 0) -> "View":
        """The same view for a layer whose tokens see only positions above their own - window."""
        if window is None:
            return self
        key = window, layer if self.arena.layered else 0
        if key not in self._windows:
            self._windows[key] = self._slide(window, self.arena.key_positions(layer))
        return self._windows[key]

    def hiding(self, hidden: Tensor) -> "View":
        """The same view without the slots where `hidden` (slots,) is True, which are on the host.
        Tokens of the pass see each other as before."""
        parts = []
        for part in self.parts:
            kept = ~hidden[part.start : part.start + part.length]
            near = kept[None].expand(len(part.rows), -1)
            if (shrunk := shrink(part, near)) is not None:
                parts.append(shrunk)
        return replace(self, parts=parts, layers={}, _windows={}, _derived={})

    def _slide(self, window: int, positions: Tensor) -> "View":
        parts = []
        for part in self.parts:
            q = self.positions[part.rows.cpu()]
            k = positions[part.start : part.start + part.length]
            if (shrunk := shrink(part, q[:, None] - k[None] < window)) is not None:
                parts.append(shrunk)
        groups = []
        for group in self.groups:
            pos = self.positions[group.start : group.start + group.length]
            near = (pos[:, None] - pos[None] < window).to(group.mask.device)
            groups.append(Group(group.start, group.length, group.mask & near))
        return replace(self, parts=parts, groups=groups, layers={}, _windows={}, _derived={})


def shrink(part: Part, near: Tensor) -> Part | None:
    """A part of which tokens see only the slots where `near` (R, length) is True, on the host: the
    shortest run of slots, masked where it is not the same for all. None where nothing is left."""
    if part.mask is not None:
        near = near & part.mask.cpu()
    columns = near.any(0).nonzero().flatten()
    if not len(columns):
        return None
    first, last = int(columns[0]), int(columns[-1]) + 1
    near = near[:, first:last]
    mask = None if bool(near.all()) else near.to(part.rows.device)
    return Part(part.rows, part.start + first, last - first, mask)
