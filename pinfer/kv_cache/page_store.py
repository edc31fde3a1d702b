"""The pages of readers in an arena: how they close, and how those that go give back their slots."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from pinfer.eviction.options import KVOptions
from pinfer.eviction.pages import Pages, choose_victims
from pinfer.eviction.policies import get_policy
from pinfer.eviction.scores import key_bounds, stack_heads, value_norm
from pinfer.eviction.trace import KVTrace, PageLife
from pinfer.kv_cache.arena import Arena
from pinfer.kv_cache.reader import Reader
from pinfer.request.state import Path


class PageStore:
    """What a policy decides, done in an arena. Knows readers, and nothing of lanes."""

    def __init__(self, arena: Arena, options: KVOptions) -> None:
        self.arena, self.size = arena, options.page
        self.policy = get_policy(options)

    def no_pages(self) -> Pages:
        """Of a reader that has none yet."""
        return Pages(self.arena.layers, self.arena.device)

    def look(self, reader: Reader) -> None:
        """What the reader's newest tokens looked at goes into the marks, in their order."""
        for position, weights in reader.pending:
            self.policy.look(reader.pages, weights, position)
        reader.pending.clear()

    def pool_times(self, reader: Reader, others: Iterable[Reader]) -> None:
        """Pages that another of the request's readers sees, too, were used when either did."""
        pages = reader.pages
        for other in others:
            self.look(other)
            theirs, same = other.pages, pages.held[:, :, None] & other.pages.held[:, None]
            for name in ("segment", "index"):
                same &= pages[name][:, :, None] == theirs[name][:, None]
            if same.any():
                used = theirs["used"][:, None].where(same, -torch.inf).amax(2)
                pages["used"] = torch.maximum(pages["used"], used)

    def close(self, reader: Reader, path: Path, trace: KVTrace) -> None:
        """The oldest tokens of the open page become a page."""
        self.add_open(reader.pages, reader, path, trace, self.size)
        reader.close(min(self.size, len(reader.open)))

    def add_open(
        self, pages: Pages, reader: Reader, path: Path, trace: KVTrace, most: int | None = None
    ) -> None:
        """The oldest tokens of a reader's open page, `most` of them or all, become pages."""
        begin, index = reader.length - len(reader.open), reader.fed - len(reader.open)
        self._add(pages, reader.segment, begin, index, reader.open[:most], path, trace)

    def own_pages(self, reader: Reader, path: Path, trace: KVTrace) -> Pages:
        """All that a reader has in its own segment as closed pages, what was pinned included."""
        assert reader.first is not None
        pages, front = self.no_pages(), torch.zeros_like(reader.length)
        pinned = range(reader.first, reader.first + reader.fixed)
        self._add(pages, reader.segment, front, 0, pinned, path, trace)
        closed = reader.pages.copy()
        closed.keep(reader.own)
        pages.extend(closed)
        self.add_open(pages, reader, path, trace)
        return pages

    def evict(self, reader: Reader, trace: KVTrace) -> None:
        """Pages go until the reader is within its budget, or has none left that may."""
        pages = reader.pages
        kept = reader.pinned + pages.total
        excess = kept - trace.budget
        if len(pages) and bool((excess > 0).any()):
            victims = choose_victims(pages, self.policy.rank(pages, reader.last), excess)
            self._note(reader, victims, trace)
            pages.keep(pages.held & ~victims)
            reader.hidden.clear()
            self.compact(reader)
            kept = reader.pinned + pages.total
        trace.most = max(trace.most, int(kept.max()))

    def compact(self, reader: Reader) -> None:
        """The reader's own tokens move up to where others have left."""
        pages, own, more = reader.pages, reader.own, len(reader.open)
        tokens = pages["tokens"] * own
        offset = reader.fixed + tokens.cumsum(1) - tokens
        length = reader.fixed + tokens.sum(1).cpu()
        start, device = self.arena.segments[reader.segment].start, self.arena.device
        line = torch.arange(more, device=device)
        for layer in range(self.arena.layers):
            moved = own[layer] & (offset[layer] != pages["offset"][layer])
            runs = tokens[layer][moved]
            source = _spread(pages["offset"][layer][moved], runs)
            target = _spread(offset[layer][moved], runs)
            if more:
                source = torch.cat((source, int(reader.length[layer]) - more + line))
                target = torch.cat((target, int(length[layer]) + line))
            if len(source):
                self.arena.move(layer, start + source, start + target)
        pages["offset"] = torch.where(own, offset, pages["offset"])
        reader.length = length + more
        self.shorten(reader)

    def shorten(self, reader: Reader) -> None:
        """The reader's segment is as long as the layer that keeps most."""
        self.arena.truncate(reader.segment, int(reader.length.max()))

    def _note(self, reader: Reader, victims: Tensor, trace: KVTrace) -> None:
        pages, own = reader.pages["page"], reader.own
        layers, columns = (x.tolist() for x in victims.nonzero(as_tuple=True))
        for layer, column in zip(layers, columns, strict=True):
            trace.evictions[layer] += 1
            if own[layer, column]:
                trace.pages[int(pages[layer, column])].gone[layer] = reader.last

    def _add(
        self,
        pages: Pages,
        segment: int,
        offset: Tensor,
        index: int,
        positions: Sequence[int],
        path: Path,
        trace: KVTrace,
    ) -> None:
        """Tokens of the lane at `path` that lie side by side, at `offset` (layers,) of a segment,
        as closed pages."""
        arena, policy = self.arena, self.policy
        for at in range(0, len(positions), self.size):
            some = positions[at : at + self.size]
            begin, tokens, now = offset + at, len(some), some[-1]
            columns: dict[str, Tensor | float] = {
                "tokens": tokens,
                "segment": segment,
                "offset": begin.to(arena.device),
                "index": index + at,
                "page": trace.add(PageLife(path, some[0], tokens, now)),
            }
            if policy.looks:
                keys = self._of_each(arena.keys, segment, begin, tokens)
                columns["bounds"] = key_bounds(stack_heads(keys))
            if policy.norms:
                values = self._of_each(arena.values, segment, begin, tokens)
                columns["norm"] = torch.stack([value_norm(x) for x in values])
            pages.add({**columns, **policy.new_page(now)})

    def _of_each(
        self, pools: Sequence[Tensor | None], segment: int, offset: Tensor, tokens: int
    ) -> list[Tensor]:
        """What lies in each layer at its offset of a segment: (tokens, Hk, D)."""
        begins = (self.arena.segments[segment].start + offset).tolist()
        return [x[b : b + tokens] for x, b in zip(pools, begins, strict=True) if x is not None]


def _spread(starts: Tensor, lengths: Tensor) -> Tensor:
    """The numbers of runs, one after another."""
    ends = lengths.cumsum(0)
    shift = torch.repeat_interleave(starts - (ends - lengths), lengths)
    return shift + torch.arange(len(shift), device=starts.device)
