"""A trace as the rows that a judge reads: its plain text, then its branches without their siblings.

A branch is repeated at the position where its block starts, so that it follows on what precedes
the block as if no sibling had been written. Knows no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pbranch.format.layout import Layout, TextEncoder
from pbranch.format.tree import Fork, Segment, Trace


@dataclass(frozen=True, slots=True)
class Span:
    """Rows of a branch; `body` is the first one after its topic."""

    start: int
    body: int
    stop: int

    def predictors(self, shift: int = 0) -> slice:
        """Rows that predict the tokens after the topic."""
        return slice(self.body - 1 + shift, self.stop - 1 + shift)


@dataclass(frozen=True, slots=True)
class ScoringRows:
    """A layout with every branch twice. pairs: by fork (in the order of `Trace.all_forks`) and
    branch, the rows that predict its tokens after the topic, with its siblings in sight and
    without."""

    layout: Layout
    pairs: list[list[tuple[slice, slice]]]


def make_scoring_rows(prompt: Sequence[int], trace: Trace, encoder: TextEncoder) -> ScoringRows:
    """The rows of a trace that has forks, up to the end of its last block."""
    writer = _PlainText(encoder, prompt)
    writer.trace(trace)
    return repeat_without_siblings(writer.ids, writer.blocks)


def repeat_without_siblings(plain: Sequence[int], blocks: Sequence[Sequence[Span]]) -> ScoringRows:
    """The rows of a plain text, and again those of branches with earlier siblings.

    They move up to where the block starts: left at their place, the gap alone cost the shipped base
    up to 1 nat a token in independent blocks, as much as a missing step does in dependent ones.
    Blocks that start last are repeated first. So every row is hidden from one run of rows at most:
    from the branches of the blocks that start at it or before it, which are consecutive.
    """
    covered = max(block[-1].stop for block in blocks)
    ids, positions, hidden = list(plain[:covered]), list(range(covered)), [0] * covered
    pairs: list[list[tuple[slice, slice]]] = [[] for _ in blocks]
    for i in sorted(range(len(blocks)), key=lambda i: blocks[i][0].start, reverse=True):
        first, *others = blocks[i]
        hidden[first.start : covered] = [len(ids)] * (covered - first.start)
        covered = first.start
        pairs[i].append((first.predictors(), first.predictors()))
        for span in others:
            pairs[i].append((span.predictors(), span.predictors(len(ids) - span.start)))
            size = span.stop - span.start
            ids += plain[span.start : span.stop]
            positions += range(first.start, first.start + size)
            hidden += [len(ids)] * size
    level = [(start, len(ids)) if start else (0, 0) for start in hidden]
    return ScoringRows(Layout(ids, positions, doc=[0] * len(ids), hidden=[level]), pairs)


class _PlainText:
    """Appends the rows of a plain text; notes where the branches of each fork lie."""

    def __init__(self, encoder: TextEncoder, prompt: Sequence[int]) -> None:
        self.encoder = encoder
        self.ids = list(prompt)
        self.blocks: list[list[Span]] = []

    def text(self, text: str) -> None:
        self.ids += self.encoder.encode(text)

    def trace(self, trace: Trace, skip: str = "") -> None:
        for i, part in enumerate(trace.parts):
            if isinstance(part, Segment):
                self.text(part.text[len(skip) :] if i == 0 else part.text)
            else:
                self.fork(part)

    def fork(self, fork: Fork) -> None:
        block: list[Span] = []
        self.blocks.append(block)
        for topic, branch in zip(fork.topics, fork.branches, strict=True):
            if block:
                self.text(fork.separator)
            start = len(self.ids)
            self.text(topic)
            body = max(len(self.ids), start + 1)  # without a topic the first token is one
            self.trace(branch, skip=topic)
            block.append(Span(start, body, len(self.ids)))
