"""A scripted model and a simulated clock: schedules and searches without a model.

Branches are drafted for side by side, and one model verifies them, as in SeeD (arXiv 2406.18200):
a branch drafts, waits in the queue, is part of a pass, and drafts again. Time is counted, not
measured.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from pinfer.request.controller import Schedule
from pinfer.search.timeline import Span, Timeline
from pinfer.search.tree.branch import Branch
from pinfer.search.tree.tree_search import TreeSearch


@dataclass(frozen=True, slots=True)
class Line:
    """What a scripted model says in a branch, in so many tokens."""

    text: str
    tokens: int = 1
    ended: bool = False
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Costs:
    """draft: seconds that the guesses of a branch take, all of its block; verify: of a pass with so
    many rows; guesses: of a block; right: the probability of a guess, given those before it."""

    draft: float = 0.0
    verify: Callable[[int], float] = lambda rows: 1.0
    guesses: int = 0
    right: float = 0.0


@dataclass(slots=True, eq=False)
class _Live:
    """A branch being decoded; ready: when its next block is drafted."""

    branch: Branch
    line: Line
    ready: float
    order: int
    written: int = 0
    blocks: int = 0


class SimulatedBranches:
    """Decodes what `script` says of each branch, on a clock. seed: of which guesses are right; they
    depend on it, the branch and the block alone."""

    def __init__(
        self, script: Callable[[Branch], Line], costs: Costs, schedule: Schedule, seed: int = 0
    ) -> None:
        self.script, self.costs, self.schedule, self.seed = script, costs, schedule, seed
        self.now, self.passes, self.timeline = 0.0, 0, Timeline()
        self._live: list[_Live] = []
        self._all: list[_Live] = []  # that were opened and have not left

    def open(self, branch: Branch) -> None:
        """As `Branches`."""
        live = _Live(branch, self.script(branch), self.now, len(self._all))
        self._all.append(live)
        self._live.append(live)
        self._draft(live)

    def drop(self, branch: Branch) -> int:
        """As `Branches`."""
        gone = [x for x in self._all if _is_below(x.branch, branch)]
        self._all = [x for x in self._all if x not in gone]
        self._live = [x for x in self._live if x not in gone]
        return sum(x.written for x in gone)

    def run(self, search: TreeSearch) -> float:
        """A whole search; seconds."""
        search.start()
        while not search.done:
            for ended in self.step():
                if ended in self._all:  # not dropped by what another one of the pass has said
                    search.take(ended.branch)
        return self.now

    def step(self) -> list[_Live]:
        """Wait until the schedule serves somebody, and make a pass; what it brings to its end."""
        while True:
            waiting = sorted(
                (x for x in self._live if x.ready <= self.now), key=lambda x: (x.ready, x.order)
            )
            rows = [self._rows(x) for x in waiting]
            chosen = [waiting[i] for i in self.schedule.choose(rows, len(self._live))]
            if chosen:
                return self._verify(chosen)
            self.now = min(x.ready for x in self._live if x.ready > self.now)

    def _verify(self, chosen: list[_Live]) -> list[_Live]:
        """A pass over these; those that it leaves unfinished draft again."""
        begin, self.passes = self.now, self.passes + 1
        self.now += self.costs.verify(sum(map(self._rows, chosen)))
        ended = []
        for x in chosen:
            drafted = self._rows(x) - 1
            accepted = min(self._count_right(x, drafted), x.line.tokens - x.written - 1)
            span = Span(
                x.branch, "verify", begin, self.now, self.passes,
                begin - x.ready, drafted + 1, drafted, accepted,
            )  # fmt: skip
            self.timeline.add(span)
            x.written += accepted + 1
            x.blocks += 1
            if x.written >= x.line.tokens:
                self._live.remove(x)
                x.branch.text = x.line.text if x.branch.tokens else x.branch.text
                x.branch.ended, x.branch.logprob = x.line.ended, x.line.logprob
                ended.append(x)
            else:
                self._draft(x)
        return ended

    def _draft(self, x: _Live) -> None:
        x.ready = self.now
        if self.costs.guesses and self.costs.draft:
            x.ready += self.costs.draft
            self.timeline.add(Span(x.branch, "draft", self.now, x.ready))

    def _rows(self, x: _Live) -> int:
        return 1 + self.costs.guesses

    def _count_right(self, x: _Live, drafted: int) -> int:
        draws = random.Random(f"{self.seed}|{x.branch.path}|{x.blocks}")
        for right in range(drafted):
            if draws.random() >= self.costs.right:
                return right
        return drafted


def serial_seconds(branches: int, rounds: int, draft: float, verify: float) -> float:
    """What schedule `serial` takes for branches of so many rounds each, in closed form: drafting is
    hidden behind the passes of other branches where (branches - 1) · verify >= draft."""
    if (branches - 1) * verify >= draft:
        return draft + rounds * branches * verify
    return rounds * (draft + verify) + (branches - 1) * verify


def tokens_per_block(guesses: int, right: float) -> float:
    """Expected tokens that a block of guesses gives, the corrected or next one included (Leviathan
    et al., arXiv 2211.17192, equation 1)."""
    return sum(right**i for i in range(guesses + 1))


def _is_below(branch: Branch, other: Branch) -> bool:
    """Whether a branch is another one, or goes on where it has ended."""
    found: Branch | None = branch
    while found is not None and found is not other:
        found = found.parent
    return found is not None
