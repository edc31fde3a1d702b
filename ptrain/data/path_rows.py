"""What one sequence for a whole tree saves: the same trace as one sequence per branch, and the
tokens of both.

A path is everything that the last token of a branch (or of the trunk) sees, as a sequence of its
own. Knows layouts, no tensors and no model.
"""

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from pbranch.format.layout import NO_TARGET, Layout
from ptrain.config import TrainOptions
from ptrain.data.batching import make_sequences
from ptrain.data.dataset import Example

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring tokens that are hidden alike; a token is named by its place in the layout."""

    tokens: range
    hidden: tuple[Interval, ...]  # a level
    lane: int  # last token of the innermost branch around them, or of the trunk


def split_paths(layout: Layout) -> list[Layout]:
    """One sequence per branch of a single trace, in the order in which the branches end; the trunk
    last.

    A branch's path is a plain causal sequence: what stands before its block, the outline where it
    sees it, and its own tokens. Where text follows a join the path holds all of the block's
    branches, still hidden from each other: that text was predicted from branches that had not
    read each other. Each token's target stays in the path of its own lane, so the losses of all
    paths together are those of the tree.
    """
    runs = _find_runs(layout)
    paths = []
    for last in sorted({run.lane for run in runs}):
        kept = [run for run in runs if _sees(last, run)]
        places = [i for run in kept for i in run.tokens]
        own = {i for run in kept if run.lane == last for i in run.tokens}
        paths.append(_select(layout, places, own))
    return paths


def count_path_tokens(layout: Layout) -> int:
    """Tokens of all of `split_paths`, without building them."""
    runs = _find_runs(layout)
    lanes = {run.lane for run in runs}
    return sum(len(run.tokens) for last in lanes for run in runs if _sees(last, run))


@dataclass(frozen=True, slots=True)
class PackingStats:
    """How full the sequences of an epoch are, and what sharing prefixes saves."""

    sequences: int
    tokens: int
    path_tokens: int  # the same traces with one sequence per branch
    max_length: int

    @property
    def fill(self) -> float:
        """Share of the sequences' tokens that are not empty, were all of `max_length`."""
        return self.tokens / (self.sequences * self.max_length)

    def __str__(self) -> str:
        saved = 1 - self.tokens / self.path_tokens
        return (
            f"{self.sequences} rows, {self.fill:.1%} of {self.max_length} tokens full; "
            f"{self.tokens} tokens, {saved:.1%} less than the {self.path_tokens} of one row per "
            "branch"
        )


def measure_packing(traces: Sequence[Example], train: TrainOptions, seed: int) -> PackingStats:
    """Of what a run trains on in one epoch, all in parallel form where it trains that."""
    sequences = len(make_sequences([len(x) for x in traces], train, seed))
    layouts = [x.layout() for x in traces]
    tokens, path_tokens = sum(map(len, layouts)), sum(map(count_path_tokens, layouts))
    return PackingStats(sequences, tokens, path_tokens, train.max_length)


def _find_runs(layout: Layout) -> list[_Run]:
    levels = layout.hidden or [[(0, 0)] * len(layout)]
    runs, start = [], 0
    for hidden, alike in groupby(zip(*levels, strict=True)):
        stop = start + sum(1 for _ in alike)
        lane = next(_branch_ends(layout, hidden), len(layout) - 1)
        runs.append(_Run(range(start, stop), hidden, lane))
        start = stop
    return runs


def _branch_ends(layout: Layout, hidden: Sequence[Interval]) -> Iterator[int]:
    """Last tokens of the branches that tokens with these intervals stand in, innermost first.

    A hidden outline (`outline: own`) is no branch. The branch after it starts at the next
    position; after a branch, the next one starts at an earlier position, or the block is over.
    """
    for start, until in reversed(hidden):
        if not until:
            continue
        before, after = layout.position_ids[start - 1], layout.position_ids[start]
        if start == until or after <= before:
            yield start - 1


def _sees(token: int, run: _Run) -> bool:
    return run.tokens.start <= token and not any(a <= token < b for a, b in run.hidden)


def _select(layout: Layout, places: list[int], own: set[int]) -> Layout:
    """The tokens at `places` of a layout, with the targets of `own` alone."""

    def move(place: int) -> int:
        return bisect.bisect_left(places, place)

    hidden = []
    for level in layout.hidden:
        moved = [(move(a), move(b)) if b else (0, 0) for a, b in (level[i] for i in places)]
        moved = [(a, b) if a < b else (0, 0) for a, b in moved]
        if any(b for _, b in moved):
            hidden.append(moved)
    return Layout(
        token_ids=[layout.token_ids[i] for i in places],
        position_ids=[layout.position_ids[i] for i in places],
        targets=[layout.targets[i] if i in own else NO_TARGET for i in places],
        kinds=[layout.kinds[i] for i in places],
        doc=[layout.doc[i] for i in places],
        hidden=hidden,
    )
