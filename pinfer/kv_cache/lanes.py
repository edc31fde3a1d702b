"""Where the tokens of lanes lie in the arena: one segment a lane, and the segments that it sees.

A lane sees what its parent sees, the parent's own segment, and its own. It holds what it sees, so
nothing that is visible is ever given back. Knows no policy and no model.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from pinfer.kv_cache.arena import Arena
from pinfer.request.state import Lane, QueuedToken, Request

Span = tuple[int, int | None]  # a segment, and how many of its first tokens; None: all that it has


@dataclass(slots=True)
class _Home:
    """A lane's place: what it sees before its own segment, and that (None: nothing stored yet)."""

    context: list[Span]
    segment: int | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the tokens of a pass are stored: a slot each; `before`: how many tokens each of their
    segments held before the pass. `hidden`: for a lane and a segment, bool (tokens,) of those that
    the lane sees, where it is not all. `layers`: one for each layer, where they differ."""

    slots: list[int]
    before: dict[int, int]
    hidden: Mapping[tuple[Lane, int], Tensor] = field(default_factory=dict)
    layers: Sequence["Placement"] = ()


class LaneCache:
    """The cached tokens of an arena by lane. Tokens are counted in the lane's own segment."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self._homes: dict[Lane, _Home] = {}

    def append(self, tokens: Sequence[QueuedToken]) -> Placement:
        """Reserve a slot for each token of a pass, after those that its home holds."""
        arena = self.arena
        placed: dict[int, list[int]] = {}  # segment -> tokens of this pass
        for i, token in enumerate(tokens):
            placed.setdefault(self.fork(token.home), []).append(i)
        before = {number: arena.segments[number].length for number in placed}
        for number, members in placed.items():
            arena.append(number, [tokens[i].position for i in members])
        slots = [0] * len(tokens)
        for number, members in placed.items():  # only now: an append may move other segments
            for i, slot in zip(
                members, arena.segments[number].slots[before[number] :], strict=True
            ):
                slots[i] = slot
        return Placement(slots, before)

    def fork(self, lane: Lane) -> int:
        """The lane's own segment, opened where it has none: it then sees all that its parent does,
        and the parent's tokens."""
        home = self._homes.get(lane)
        if home is None:
            context: list[Span] = []
            if lane.parent is not None:
                parent = self._homes[lane.parent]
                assert parent.segment is not None, "a branch follows tokens of its parent"
                context = [*parent.context, (parent.segment, None)]
            home = self._homes[lane] = _Home(context)
            for number, _ in context:
                self.arena.hold(number)
        if home.segment is None:
            prompt = 0 if lane.in_branch else len(lane.request.prompt)
            shared = sum(length or 0 for _, length in home.context)
            home.segment = self.arena.open(max(0, prompt - shared))
        return home.segment

    def segment(self, lane: Lane) -> int | None:
        """The lane's own segment, None where nothing of it is stored."""
        home = self._homes.get(lane)
        return None if home is None else home.segment

    def context(self, lane: Lane) -> list[Span]:
        """What the lane sees before its own segment, in order."""
        return self._homes[lane].context

    def length(self, lane: Lane) -> int:
        """Tokens of the lane's own segment."""
        number = self.segment(lane)
        return 0 if number is None else self.arena.segments[number].length

    def truncate(self, lane: Lane, drop: int) -> int:
        """As `TokenCache`."""
        home = self._homes.get(lane)
        if not drop or home is None or home.segment is None:
            return 0
        kept = self.arena.segments[home.segment].length - drop
        if kept:
            self.arena.truncate(home.segment, kept)
        else:
            self.arena.release(home.segment)
            home.segment = None
        return drop

    def join(self, lane: Lane, branches: Sequence[Lane]) -> None:
        """The branches' tokens become the lane's own, after those that it has: copied once."""
        numbers = [self._homes[branch].segment for branch in branches]
        for branch in branches:
            for number, _ in self._homes.pop(branch).context:
                self.arena.release(number)
        self.arena.absorb(self.fork(lane), [n for n in numbers if n is not None])

    def finish_pass(self, tokens: Sequence[QueuedToken]) -> None:
        """After the forward: forks are joined where their join token was fed, and scratch tokens
        dropped."""
        for token in tokens:
            if token.joins is not None:
                self.join(token.home, token.joins.hidden)
        for lane, count in count_scratch(tokens).items():
            self.truncate(lane, count)

    def share(self, lane: Lane, source: Lane, tokens: int) -> None:
        """As `TokenCache`."""
        assert lane not in self._homes, "a lane that has tokens cannot begin with others"
        home = self._homes[source]
        context: list[Span] = []
        own: list[Span] = [] if home.segment is None else [(home.segment, None)]
        for number, length in [*home.context, *own]:
            held = self.arena.segments[number].length if length is None else length
            if taken := min(held, tokens):
                context.append((number, taken))
                self.arena.hold(number)
            tokens -= taken
        self._homes[lane] = _Home(context)

    def discard(self, lane: Lane) -> int:
        """As `TokenCache`."""
        home = self._homes.pop(lane, None)
        if home is None:
            return 0
        count = 0
        if home.segment is not None:
            count = self.arena.segments[home.segment].length
            self.arena.release(home.segment)
        for number, _ in home.context:
            self.arena.release(number)
        return count

    def clear(self) -> None:
        """As `TokenCache`."""
        self._homes = {}
        self.arena.clear()

    def check(self) -> None:
        """As `TokenCache`."""
        self.arena.check()
        seen = Counter(number for home in self._homes.values() for number, _ in home.context)
        seen.update(home.segment for home in self._homes.values() if home.segment is not None)
        held = {number: segment.holders for number, segment in self.arena.segments.items()}
        assert seen == held, "segments are held by other lanes than see them"

    def release(self, request: Request, keep_prompt: int | None = None) -> None:
        """As `TokenCache`."""
        trunk, *others = request.lanes
        for lane in [*others, *request.outlines]:
            self.discard(lane)
        if keep_prompt is None:
            self.discard(trunk)
        elif (number := self.segment(trunk)) is not None:
            self.arena.compact(number, keep_prompt - request.prefix.shared)


def count_scratch(tokens: Sequence[QueuedToken]) -> Counter[Lane]:
    """Scratch tokens of a pass by lane."""
    return Counter(token.home for token in tokens if token.scratch)
