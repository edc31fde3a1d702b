"""A cache of lanes that keeps no more than a budget of pages a lane, and evicts the others.

A lane evicts when a token is placed that finds its page full, never within a pass; a pass feeds it
no further than to the end of its page, and never together with an ancestor. So what a token sees
depends on its lane's text alone. What a lane evicts of an ancestor's is hidden from it; what it
evicts of its own gives its slots back.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pinfer.eviction.options import KVOptions
from pinfer.eviction.scores import page_weights
from pinfer.eviction.trace import KVTrace
from pinfer.kv_cache.arena import Arena
from pinfer.kv_cache.lanes import LaneCache, Placement, count_scratch
from pinfer.kv_cache.page_store import PageStore
from pinfer.kv_cache.query_watch import QueryWatch
from pinfer.kv_cache.reader import Reader
from pinfer.request.state import Lane, QueuedToken, Request


class PagedLaneCache(LaneCache):
    """As `LaneCache`; the arena must be layered. `watch` sees the passes' queries, None where the
    policy needs none."""

    def __init__(self, arena: Arena, options: KVOptions) -> None:
        assert arena.layered, "layers keep different tokens"
        super().__init__(arena)
        self.options, self.store = options, PageStore(arena, options)
        self.watch = QueryWatch() if self.store.policy.looks else None
        self._readers: dict[Lane, Reader] = {}
        self._watched: dict[Lane, list[int]] = {}  # of the pass: indices among the watched tokens

    def append(self, tokens: Sequence[QueuedToken]) -> Placement:
        """As `LaneCache`. Forks are joined first: their join token sees what is then kept."""
        for token in tokens:
            if token.joins is not None:
                self.join(token.home, token.joins.hidden)
        members: dict[Lane, list[int]] = {}
        for i, token in enumerate(tokens):
            members.setdefault(token.home, []).append(i)
        before = {lane: self._settle(lane).length for lane in members}
        placed = super().append(tokens)
        watched: list[int] = []
        self._watched = {}
        for lane, indices in members.items():
            pinned = self._readers[lane].take([tokens[i].position for i in indices])
            seen = [i for i in indices[pinned:] if not tokens[i].scratch]
            self._watched[lane] = list(range(len(watched), len(watched) + len(seen)))
            watched += seen
        if self.watch is not None:
            every = watched == list(range(len(tokens)))
            self.watch.rows = None if every else torch.tensor(watched, device=self.arena.device)
        return self._by_layer(tokens, members, before, placed)

    def _by_layer(
        self,
        tokens: Sequence[QueuedToken],
        members: dict[Lane, list[int]],
        before: dict[Lane, Tensor],
        placed: Placement,
    ) -> Placement:
        """The placement, with one for each layer where they are not all alike."""
        owners = {reader.segment: reader for reader in self._readers.values()}
        seen = {  # what each lane sees of its ancestors' segments
            (lane, number): self._readers[lane].find_hidden(owners[number])
            for lane in members
            for number, length in self.context(lane)
            if length is None
        }
        lengths = {number: owners[number].length for _, number in seen}
        lengths |= {self._readers[lane].segment: length for lane, length in before.items()}
        alike = all(int(n.min()) == int(n.max()) for n in lengths.values())
        if alike and all(mask is None for mask in seen.values()):
            return placed
        layers = []
        positions = torch.tensor([token.position for token in tokens])
        for layer in range(self.arena.layers):
            held = {number: int(length[layer]) for number, length in lengths.items()}
            slots = list(placed.slots)
            for lane, indices in members.items():
                number = self._readers[lane].segment
                start = self.arena.segments[number].start + held[number]
                for n, i in enumerate(indices):
                    slots[i] = start + n
            self.arena.positions[layer, torch.tensor(slots)] = positions
            masks = {
                key: mask[layer, : held[key[1]]] for key, mask in seen.items() if mask is not None
            }
            layers.append(Placement(slots, held, masks))
        return Placement(placed.slots, placed.before, layers=layers)

    def finish_pass(self, tokens: Sequence[QueuedToken]) -> None:
        """As `LaneCache`; and what the tokens looked at is noted."""
        for lane, count in count_scratch(tokens).items():
            self._drop(lane, count)
        queries = None if self.watch is None else self.watch.take()
        if queries is None:
            return
        for lane, rows in self._watched.items():
            pages = self._readers[lane].pages
            if rows and len(pages):
                first, after = rows[0], rows[-1] + 1
                weights = page_weights(queries[:, first:after], pages["bounds"], pages.held)
                last = self._readers[lane].open[-len(rows) :]
                self._readers[lane].pending += zip(last, weights.unbind(1), strict=True)

    def fitting(self, tokens: Sequence[QueuedToken]) -> int:
        """How many of the first tokens of a request may stand in one pass."""
        room: dict[Lane, int] = {}
        for count, token in enumerate(tokens):
            lane = token.home
            if token.joins is not None and lane in room:
                return count  # what it joins would come before what stands in this pass
            if lane not in room:
                if any(_related(lane, other) for other in room):
                    return count
                room[lane] = self.room(lane)
            if not room[lane]:
                return count
            room[lane] -= 1
        return len(tokens)

    def room(self, lane: Lane) -> int:
        """How many tokens of a lane may stand in one pass: until its page is full."""
        reader = self._readers.get(lane)
        if reader is None:
            return self._pinned(lane) + self.store.size
        return reader.room(self.store.size)

    def truncate(self, lane: Lane, drop: int) -> int:
        """As `TokenCache`."""
        reader = self._readers.get(lane)
        if not drop or reader is None:
            return 0
        del reader.pending[max(0, len(reader.pending) - drop) :]
        if drop > len(reader.open):
            self.store.look(reader)
        self._drop(lane, drop)
        return drop

    def join(self, lane: Lane, branches: Sequence[Lane]) -> None:
        """As `LaneCache`: the pages that branches keep of their own become the lane's; what was
        pinned in them no longer is."""
        reader, trace, store = self._settle(lane), _trace(lane), self.store
        while reader.open:
            store.close(reader, lane.path, trace)
        behind = self.arena.segments[reader.segment].length
        for branch in branches:
            child = self._readers.pop(branch)
            store.look(child)
            pages = store.own_pages(child, branch.path, trace)
            pages["segment"] = torch.full_like(pages["segment"], reader.segment)
            pages["offset"] = pages["offset"] + behind
            pages["index"] = pages["index"] + reader.fed
            reader.pages.extend(pages)
            reader.fed, reader.before = reader.fed + child.fed, max(reader.before, child.last)
            behind += self.arena.segments[child.segment].length
        super().join(lane, branches)
        store.compact(reader)
        store.evict(reader, trace)

    def discard(self, lane: Lane) -> int:
        """As `TokenCache`."""
        reader = self._readers.pop(lane, None)
        super().discard(lane)
        if reader is None:
            return 0
        if lane.request.finish_reason is None:
            _trace(lane).discard(lane.path, reader.last)
        return reader.fed

    def release(self, request: Request, keep_prompt: int | None = None) -> None:
        """As `TokenCache`."""
        trace = request.stats.kv
        lanes = [x for x in (*request.lanes, *request.outlines) if x in self._readers]
        if trace is not None and not trace.slots:
            trace.slots = request.prefix.shared + sum(map(self.length, lanes))
        super().release(request, keep_prompt)
        reader = self._readers.get(request.trunk)
        if reader is not None and keep_prompt is not None:
            kept = keep_prompt - request.prefix.shared
            reader.pages, reader.open = self.store.no_pages(), []
            reader.fed, reader.length = kept, torch.full_like(reader.length, kept)

    def clear(self) -> None:
        """As `TokenCache`."""
        super().clear()
        self._readers = {}

    def check(self) -> None:
        """As `TokenCache`."""
        super().check()
        segments = {lane: home.segment for lane, home in self._homes.items() if home.segment}
        for lane, reader in self._readers.items():
            number = reader.segment
            assert segments.get(lane, number) == number, "a lane has a segment and reads another"
            kept = reader.fixed + (reader.pages["tokens"] * reader.own).sum(1) + len(reader.open)
            assert torch.equal(kept.cpu(), reader.length), "pages and slots of a lane differ"
            assert int(reader.length.max()) == self.arena.segments[number].length, "slots are lost"

    def _settle(self, lane: Lane) -> Reader:
        """The lane's reader, opened where it has none, ready for a token more: looks are in the
        marks, full pages closed, and no more is kept than its budget."""
        reader = self._readers.get(lane)
        if reader is None:
            reader = self._readers[lane] = self._open(lane)
            self.store.evict(reader, _trace(lane))
        self.store.look(reader)
        while len(reader.open) >= self.store.size:
            if self.options.shared_ts:
                readers = self._readers.items()
                others = [r for x, r in readers if x.request is lane.request and x is not lane]
                self.store.pool_times(reader, others)
            trace = _trace(lane)
            self.store.close(reader, lane.path, trace)
            self.store.evict(reader, trace)
            kept = reader.pinned + reader.pages.total
            trace.kept.append((lane.path, reader.last, int(kept.min()), int(kept.max())))
        return reader

    def _open(self, lane: Lane) -> Reader:
        """A lane sees what its parent sees, keeps what it keeps, and goes on by itself."""
        number, own = self.fork(lane), self._pinned(lane)
        none = torch.zeros(self.arena.layers, dtype=torch.long)
        if lane.parent is None:
            request, pages = lane.request, self.store.no_pages()
            budget = self.options.tokens(len(request.prompt), request.params.max_new_tokens)
            request.stats.kv = KVTrace(self.options, budget, self.arena.layers)
            pinned = len(request.prompt)
            return Reader(number, pages, pinned, own, none, before=pinned - 1)
        parent = self._readers[lane.parent]
        self.store.look(parent)
        pages = parent.pages.copy()
        self.store.add_open(pages, parent, lane.parent.path, _trace(lane))
        return Reader(number, pages, parent.pinned + own, own, none, parent.last)

    def _pinned(self, lane: Lane) -> int:
        """Tokens at the beginning of a lane's own segment that never go: a prompt, but for what it
        shares; a branch's header, where that leaves room for two pages."""
        if lane.parent is None:
            return len(lane.request.prompt) - lane.request.prefix.shared
        left = _trace(lane).budget - self._readers[lane.parent].pinned - 2 * self.store.size
        return lane.header.length if lane.header.length <= left else 0

    def _drop(self, lane: Lane, count: int) -> None:
        reader = self._readers[lane]
        reader.drop(count)
        self.store.shorten(reader)


def _trace(lane: Lane) -> KVTrace:
    trace = lane.request.stats.kv
    assert trace is not None, "a lane that is read has a trace"
    return trace


def _related(lane: Lane, other: Lane) -> bool:
    """Whether one is an ancestor of the other."""
    return all(a == b for a, b in zip(lane.path, other.path, strict=False))
