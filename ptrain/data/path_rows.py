"""What a tree row saves: the same trace as one row per branch, and the tokens of both.

A path is everything that the last row of a branch (or of the trunk) sees, as a row of its own.
Knows layouts, no tensors and no model.
"""

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from pbranch.format.layout import NO_TARGET, Layout
from ptrain.config import Recipe
from ptrain.data.batching import make_rows
from ptrain.data.dataset import Example

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring rows that are hidden alike."""

    rows: range
    hidden: tuple[Interval, ...]  # a level
    lane: int  # last row of the innermost branch around them, or of the trunk


def split_paths(layout: Layout) -> list[Layout]:
    """One row per branch of a single trace, in the order in which the branches end; the trunk last.

    A branch's path is a plain causal row: what stands before its block, the outline where it sees
    it, and its own rows. Where text follows a join the path holds all of the block's branches,
    still hidden from one another: that text was predicted from branches that had not read one
    another. Each row's target stays in the path of its own lane, so the losses of all paths
    together are those of the tree row.
    """
    runs = _runs(layout)
    paths = []
    for last in sorted({run.lane for run in runs}):
        kept = [run for run in runs if _sees(last, run)]
        rows = [r for run in kept for r in run.rows]
        own = {r for run in kept if run.lane == last for r in run.rows}
        paths.append(_select(layout, rows, own))
    return paths


def count_path_tokens(layout: Layout) -> int:
    """Rows of all of `split_paths`, without building them."""
    runs = _runs(layout)
    lanes = {run.lane for run in runs}
    return sum(len(run.rows) for last in lanes for run in runs if _sees(last, run))


@dataclass(frozen=True, slots=True)
class RowCount:
    """How full the rows of a run are, and what sharing prefixes saves."""

    rows: int
    tokens: int
    tokens_one_row_per_branch: int
    max_length: int

    @property
    def fill(self) -> float:
        """Share of the rows' tokens that are not empty, were all of `max_length`."""
        return self.tokens / (self.rows * self.max_length)

    def __str__(self) -> str:
        saved = 1 - self.tokens / self.tokens_one_row_per_branch
        return (
            f"{self.rows} rows, {self.fill:.1%} of {self.max_length} tokens full; {self.tokens} "
            f"tokens, {saved:.1%} less than the {self.tokens_one_row_per_branch} of one row per "
            "branch"
        )


def count_rows(traces: Sequence[Example], recipe: Recipe) -> RowCount:
    """Of the rows that a run trains on in one epoch, all in parallel form where it trains that."""
    rows, layouts = make_rows([len(x) for x in traces], recipe), [x.layout() for x in traces]
    paths = sum(map(count_path_tokens, layouts))
    return RowCount(len(rows), sum(map(len, layouts)), paths, recipe.train.max_length)


def _runs(layout: Layout) -> list[_Run]:
    levels = layout.hidden or [[(0, 0)] * len(layout)]
    runs, start = [], 0
    for hidden, rows in groupby(zip(*levels, strict=True)):
        stop = start + sum(1 for _ in rows)
        lane = next(_branch_ends(layout, hidden), len(layout) - 1)
        runs.append(_Run(range(start, stop), hidden, lane))
        start = stop
    return runs


def _branch_ends(layout: Layout, hidden: Sequence[Interval]) -> Iterator[int]:
    """Last rows of the branches that rows with these intervals stand in, innermost first.

    A hidden outline (`outline: own`) is no branch. The branch after it starts at the next
    position; after a branch, the next one starts at an earlier position, or the block is over.
    """
    for start, until in reversed(hidden):
        if not until:
            continue
        before, after = layout.position_ids[start - 1], layout.position_ids[start]
        if start == until or after <= before:
            yield start - 1


def _sees(row: int, run: _Run) -> bool:
    return run.rows.start <= row and not any(a <= row < b for a, b in run.hidden)


def _select(layout: Layout, rows: list[int], own: set[int]) -> Layout:
    """`rows` of a layout, with the targets of `own` alone."""

    def place(row: int) -> int:
        return bisect.bisect_left(rows, row)

    hidden = []
    for level in layout.hidden:
        moved = [(place(a), place(b)) if b else (0, 0) for a, b in (level[r] for r in rows)]
        moved = [(a, b) if a < b else (0, 0) for a, b in moved]
        if any(b for _, b in moved):
            hidden.append(moved)
    return Layout(
        token_ids=[layout.token_ids[r] for r in rows],
        position_ids=[layout.position_ids[r] for r in rows],
        targets=[layout.targets[r] if r in own else NO_TARGET for r in rows],
        kinds=[layout.kinds[r] for r in rows],
        doc=[layout.doc[r] for r in rows],
        hidden=hidden,
    )
