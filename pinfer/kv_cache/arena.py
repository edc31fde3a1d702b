"""The key/value cache: one pool of slots, cut into segments, one segment a lane.

A segment's rows lie side by side; where its room, twice its rows, is full, it moves. What is shared
is never copied: a segment lives as long as anyone holds it. The pool doubles up to its limit; from
there on all segments slide together. `layered`: a segment's rows may differ in each layer.
Shapes: `keys[layer]`, `values[layer]` are (slots, KV heads, head dim), allocated on first use.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

_SMALLEST = 16  # slots of a new segment


@dataclass(slots=True)
class Segment:
    """`length` rows from slot `start` on, with room for `capacity`, of so many `holders`."""

    start: int
    capacity: int
    length: int = 0
    holders: int = 1

    @property
    def slots(self) -> range:
        """Of its rows."""
        return range(self.start, self.start + self.length)


@dataclass(slots=True)
class Arena:
    """Slots of all lanes of an engine, never more than `limit`; tensors are made by the first write
    of each layer, in `dtype` or, if that is None, as they come."""

    layers: int
    device: torch.device
    slots: int = 1024
    limit: int | None = None
    layered: bool = False
    dtype: torch.dtype | None = None
    keys: list[Tensor | None] = field(init=False)
    values: list[Tensor | None] = field(init=False)
    # on the host, for sliding windows: (slots,), or if layered (layers, slots)
    positions: Tensor = field(init=False)
    segments: dict[int, Segment] = field(init=False, default_factory=dict)
    _free: list[tuple[int, int]] = field(init=False)  # (start, length), sorted, never adjacent
    _next: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.slots = min(self.slots, self.limit or self.slots)
        self.clear()

    def clear(self) -> None:
        """Forget all rows. Reads nothing that an exception may have left half-changed; the tensors
        are made anew by the next write."""
        self.keys, self.values = [None] * self.layers, [None] * self.layers
        planes = (self.layers,) if self.layered else ()
        self.positions = torch.zeros(*planes, self.slots, dtype=torch.long)
        self.segments, self._free = {}, [(0, self.slots)]

    def open(self, rows: int = 0) -> int:
        """A new segment for `rows` that are known, and as many more; returns its number."""
        start, capacity = self._take(max(_SMALLEST, 2 * rows), max(1, rows))
        self.segments[self._next] = Segment(start, capacity)
        self._next += 1
        return self._next - 1

    def append(self, number: int, positions: list[int]) -> range:
        """Reserve slots for rows at `positions`, behind those that the segment holds."""
        segment, n = self.segments[number], len(positions)
        if segment.length + n > segment.capacity and not self._grow(segment, n):
            self._slide([segment])
            self._extend(segment, n)
        begin = segment.start + segment.length
        segment.length += n
        self.positions[..., begin : begin + n] = torch.tensor(positions)
        return range(begin, begin + n)

    def absorb(self, number: int, others: list[int]) -> None:
        """Move the rows of `others` behind those of a segment: copied once, then released."""
        segment, sources = self.segments[number], [self.segments[o] for o in others]
        more = sum(s.length for s in sources)
        if segment.length + more > segment.capacity and not self._grow(segment, more):
            self._slide([segment, *sources])  # now they lie behind it as they are
            for other in others:
                del self.segments[other]
            segment.capacity = segment.length = segment.length + more
            return
        slots = [slot for source in sources for slot in source.slots]
        self._copy(slots, segment.start + segment.length)
        segment.length += more
        for other in others:
            self.release(other)

    def hold(self, number: int) -> None:
        """One more holder of a segment."""
        self.segments[number].holders += 1

    def release(self, number: int) -> None:
        """One holder less; the last one gives the segment's slots back."""
        segment = self.segments[number]
        segment.holders -= 1
        if not segment.holders:
            del self.segments[number]
            self._give(segment.start, segment.capacity)

    def truncate(self, number: int, length: int) -> None:
        """Keep the first `length` tokens of a segment, and the room that it has."""
        segment = self.segments[number]
        assert 0 <= length <= segment.length, "a segment is truncated to more than it has"
        segment.length = length

    def compact(self, number: int, length: int) -> None:
        """Keep the first `length` tokens of a segment and give back the rest of its slots."""
        segment = self.segments[number]
        self._give(segment.start + length, segment.capacity - length)
        segment.length, segment.capacity = length, length

    def write(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store rows (R, KV heads, head dim) of a layer at `slots` (R,)."""
        if self.dtype is not None:
            keys, values = keys.to(self.dtype), values.to(self.dtype)
        if self.keys[layer] is None:
            self.keys[layer] = keys.new_zeros(self.slots, *keys.shape[1:])
            self.values[layer] = values.new_zeros(self.slots, *values.shape[1:])
        self.keys[layer].index_copy_(0, slots, keys)  # type: ignore[union-attr]
        self.values[layer].index_copy_(0, slots, values)  # type: ignore[union-attr]

    def move(self, layer: int, source: Tensor, target: Tensor) -> None:
        """Copy rows of one layer from slots to slots (n,), which may be among each other."""
        for pool in (self.keys[layer], self.values[layer]):
            if pool is not None:
                pool[target] = pool[source]
        source, target = source.cpu(), target.cpu()
        self.positions[layer, target] = self.positions[layer, source]

    def key_positions(self, layer: int) -> Tensor:
        """(slots,) of the tokens that a layer holds, on the host."""
        return self.positions[layer] if self.layered else self.positions

    @property
    def rows(self) -> int:
        """Rows held."""
        return sum(s.length for s in self.segments.values())

    @property
    def reserved(self) -> int:
        """Slots that segments have, whether a row is in them or not: at most twice the rows, and
        some for those that are new, but for a prompt that is still being fed."""
        return sum(s.capacity for s in self.segments.values())

    def check(self) -> None:
        """Raise AssertionError unless segments and free slots tile the pool exactly once."""
        held = [(s.start, s.capacity) for s in self.segments.values() if s.capacity]
        spans = held + self._free
        end = 0
        for start, length in sorted(spans):
            assert start == end, f"slots {min(start, end)}..{max(start, end)} overlap or are lost"
            assert length > 0, f"an empty span at slot {start}"
            end = start + length
        assert end == self.slots, f"spans end at {end}, the pool at {self.slots}"
        assert all(0 <= s.length <= s.capacity for s in self.segments.values()), "segment overrun"

    def _grow(self, segment: Segment, more: int) -> bool:
        """Move a segment to where it has room for `more` rows; False where no span is so long."""
        needed = segment.length + more
        start, capacity = self._find(2 * needed, needed)
        if not capacity:
            return False
        old, spare = list(segment.slots), (segment.start, segment.capacity)
        self._copy(old, start)
        self._give(*spare)
        segment.start, segment.capacity = start, capacity
        return True

    def _extend(self, segment: Segment, more: int) -> None:
        """Room for `more` rows at the end of the slots in use."""
        start, length = self._free.pop() if self._free else (self.slots, 0)
        assert start == segment.start + segment.capacity and length >= more, "the pool is full"
        segment.capacity += more
        if length > more:
            self._free = [(start + more, length - more)]

    def _copy(self, slots: Sequence[int], begin: int) -> None:
        """Copy rows to the slots from `begin` on; the two may overlap."""
        source = torch.tensor(slots, dtype=torch.long)
        end, on_device = begin + len(slots), source.to(self.device)
        self.positions[..., begin:end] = self.positions[..., source]
        for pool in (*self.keys, *self.values):
            if pool is not None:
                pool[begin:end] = pool[on_device]

    def _slide(self, last: Sequence[Segment] = ()) -> None:
        """Move all segments together, without spare room, those of `last` to the end."""
        chosen = {id(s) for s in last}
        rest = [s for s in self.segments.values() if id(s) not in chosen]
        ordered = [*sorted(rest, key=lambda s: s.start), *last]
        self._copy([slot for segment in ordered for slot in segment.slots], 0)
        end = 0
        for segment in ordered:
            segment.start, segment.capacity = end, segment.length
            end += segment.length
        self._free = [(end, self.slots - end)] if end < self.slots else []

    def _take(self, n: int, least: int) -> tuple[int, int]:
        """(start, length) of a span of `n` slots, or where the pool is tight of `least`."""
        start, length = self._find(n, least)
        if not length:
            self._slide()
            start, length = self._find(least, least)
        assert length, "the pool is full: more was admitted than fits"
        return start, length

    def _find(self, n: int, least: int) -> tuple[int, int]:
        """As `_take`, but leaves the segments where they are; (0, 0) where no span is so long."""
        for wanted in (n, least):
            for i, (start, length) in enumerate(self._free):
                if length >= wanted:
                    rest = [(start + wanted, length - wanted)] if length > wanted else []
                    self._free[i : i + 1] = rest
                    return start, wanted
            if self.limit is None or self.slots < self.limit:
                self._enlarge(wanted)
                return self._find(wanted, least)
        return 0, 0

    def _enlarge(self, n: int) -> None:
        """Double the pool, or more where `n` slots need it, up to the limit."""
        grown = min(max(2 * self.slots, self.slots + n), self.limit or sys.maxsize)
        for pools in (self.keys, self.values):
            for layer, pool in enumerate(pools):
                if pool is not None:
                    pools[layer] = _enlarged(pool, grown)
        more = self.positions.new_zeros(*self.positions.shape[:-1], grown - self.slots)
        self.positions = torch.cat((self.positions, more), -1)
        begin, self.slots = self.slots, grown
        self._give(begin, grown - begin)

    def _give(self, start: int, length: int) -> None:
        merged: list[tuple[int, int]] = []
        for span in sorted([*self._free, (start, length)] if length else self._free):
            if merged and sum(merged[-1]) == span[0]:
                merged[-1] = (merged[-1][0], merged[-1][1] + span[1])
            else:
                merged.append(span)
        self._free = merged


def _enlarged(pool: Tensor, slots: int) -> Tensor:
    out = pool.new_zeros(slots, *pool.shape[1:])
    out[: len(pool)] = pool
    return out
