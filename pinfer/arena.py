"""The key/value cache: one pool of slots, cut into segments, one segment a lane.

A segment's rows lie side by side; it doubles by moving its own rows only. What lanes share is
never copied: they read one segment. Knows lanes' segments, not what a branch is.

Shapes: `keys[layer]`, `values[layer]` are (slots, KV heads, head dim), allocated on first use.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

_SMALLEST = 16  # slots of a new segment


@dataclass(slots=True)
class Segment:
    """`length` rows from slot `start` on, with room for `capacity`."""

    start: int
    capacity: int
    length: int = 0


@dataclass(slots=True)
class Arena:
    """Slots of all lanes of an engine; tensors are made by the first write of each layer."""

    layers: int
    device: torch.device
    slots: int = 1024
    keys: list[Tensor | None] = field(init=False)
    values: list[Tensor | None] = field(init=False)
    positions: Tensor = field(init=False)  # (slots,) on the host, for sliding windows
    segments: dict[int, Segment] = field(init=False, default_factory=dict)
    _free: list[tuple[int, int]] = field(init=False)  # (start, length), sorted, never adjacent
    _next: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.keys = [None] * self.layers
        self.values = [None] * self.layers
        self.positions = torch.zeros(self.slots, dtype=torch.long)
        self._free = [(0, self.slots)]

    def open(self, rows: int = 0) -> int:
        """A new segment with room for `rows`; returns its number."""
        capacity = max(_SMALLEST, rows)
        self.segments[self._next] = Segment(self._take(capacity), capacity)
        self._next += 1
        return self._next - 1

    def append(self, number: int, positions: list[int]) -> range:
        """Reserve slots for rows at `positions`, behind those that the segment holds."""
        segment, n = self.segments[number], len(positions)
        if segment.length + n > segment.capacity:
            self._grow(segment, segment.length + n)
        begin = segment.start + segment.length
        segment.length += n
        self.positions[begin : begin + n] = torch.tensor(positions)
        return range(begin, begin + n)

    def absorb(self, number: int, others: list[int]) -> None:
        """Move the rows of `others` behind those of a segment: copied once, then released."""
        sources = [self.segments[o] for o in others]
        slots = [s for x in sources for s in range(x.start, x.start + x.length)]
        source = torch.tensor(slots, dtype=torch.long)
        begin = self.append(number, self.positions[source].tolist()).start
        on_device = source.to(self.device)
        for pool in (*self.keys, *self.values):
            if pool is not None:
                pool[begin : begin + len(slots)] = pool[on_device]
        for other in others:
            self.release(other)

    def release(self, number: int) -> None:
        """Give a segment's slots back."""
        segment = self.segments.pop(number)
        self._give(segment.start, segment.capacity)

    def write(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store rows (R, KV heads, head dim) of a layer at `slots` (R,)."""
        if self.keys[layer] is None:
            self.keys[layer] = keys.new_zeros(self.slots, *keys.shape[1:])
            self.values[layer] = values.new_zeros(self.slots, *values.shape[1:])
        self.keys[layer][slots] = keys  # type: ignore[index]
        self.values[layer][slots] = values  # type: ignore[index]

    @property
    def rows(self) -> int:
        """Rows held."""
        return sum(s.length for s in self.segments.values())

    def check(self) -> None:
        """Raise AssertionError unless segments and free slots tile the pool exactly once."""
        spans = [(s.start, s.capacity) for s in self.segments.values()] + self._free
        end = 0
        for start, length in sorted(spans):
            assert start == end, f"slots {min(start, end)}..{max(start, end)} overlap or are lost"
            assert length > 0, f"an empty span at slot {start}"
            end = start + length
        assert end == self.slots, f"spans end at {end}, the pool at {self.slots}"
        assert all(0 <= s.length <= s.capacity for s in self.segments.values()), "segment overrun"

    def _grow(self, segment: Segment, needed: int) -> None:
        capacity = max(2 * segment.capacity, needed)
        start, old = self._take(capacity), segment.start
        new, before = slice(start, start + segment.length), slice(old, old + segment.length)
        for pool in (*self.keys, *self.values, self.positions):
            if pool is not None:
                pool[new] = pool[before]
        self._give(old, segment.capacity)
        segment.start, segment.capacity = start, capacity

    def _take(self, n: int) -> int:
        """First slot of the first free span of `n`; the pool doubles where there is none."""
        for i, (start, length) in enumerate(self._free):
            if length >= n:
                self._free[i : i + 1] = [(start + n, length - n)] if length > n else []
                return start
        grown = max(2 * self.slots, self.slots + n)
        for pools in (self.keys, self.values):
            for layer, pool in enumerate(pools):
                if pool is not None:
                    pools[layer] = _enlarged(pool, grown)
        self.positions = _enlarged(self.positions, grown)
        begin, self.slots = self.slots, grown
        self._give(begin, grown - begin)
        return self._take(n)

    def _give(self, start: int, length: int) -> None:
        merged: list[tuple[int, int]] = []
        for span in sorted([*self._free, (start, length)]):
            if merged and sum(merged[-1]) == span[0]:
                merged[-1] = (merged[-1][0], merged[-1][1] + span[1])
            else:
                merged.append(span)
        self._free = merged


def _enlarged(pool: Tensor, slots: int) -> Tensor:
    out = pool.new_zeros(slots, *pool.shape[1:])
    out[: len(pool)] = pool
    return out
