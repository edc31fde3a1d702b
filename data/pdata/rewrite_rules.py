"""The `rules` rewriter: a linear trace becomes a fork where form says that steps are independent.

The words stay as they are; only marks of a step (####, %%%%) and uneven blank lines may go.
Knows no files. One block a trace for now; nesting and more blocks come with the full builder.
"""

from dataclasses import dataclass

from pbranch.tree import Fork, Segment, Trace, make_trace
from pdata.independence import find_dependence
from pdata.labels import Kind, Prompt
from pdata.steps import Block, find_blocks


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A trace, forked or as it was (`reason` says why), and the block that was found."""

    trace: Trace
    reason: str = ""
    detail: str = ""
    block: Block | None = None


def rewrite(text: str, prompt: str) -> Rewrite:
    """The trace of a linear text, forked at its largest block of independent steps."""
    known = Prompt(prompt)
    linear = make_trace(text)
    candidates = find_blocks(text, known)
    if not candidates:
        return Rewrite(linear, "no steps")
    block = next((b for b in candidates if b.flaw is None), None)
    if block is None or any(b.kind is Kind.marked and b.flaw for b in candidates):
        # marks that do not hold are no ground for a second guess
        return Rewrite(linear, next(b.flaw for b in candidates if b.flaw))
    dependence = find_dependence(block, known)
    if dependence is not None:
        return Rewrite(linear, "dependent steps", dependence, block)
    return Rewrite(_fork(block), block=block)


def _fork(block: Block) -> Trace:
    topics = tuple(step.label.text for step in block.steps)
    branches = tuple(Trace((Segment(step.text),)) for step in block.steps)
    return make_trace(block.lead, Fork(topics, branches, block.separator), block.tail)
