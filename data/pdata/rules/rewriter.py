"""The `rules` rewriter: a linear trace becomes a fork where form says that steps are independent.

The text stays as it is, marks of steps (####, %%%%) and all; only uneven blank lines may go.
Knows no files.
"""

import re
from dataclasses import dataclass, field

from pbranch.format.tree import Fork, Segment, Trace, make_trace
from pdata.rules.blocks.faults.find_fault import NO_END
from pdata.rules.blocks.labels import Kind
from pdata.rules.blocks.steps import Block, find_blocks, split_close
from pdata.rules.blocks.titles import is_phase
from pdata.rules.dependence.independence import find_dependence, lists_all
from pdata.rules.dependence.titles import split_title
from pdata.rules.prompt import Prompt
from pdata.rules.worked_arithmetic import find_levels, is_worked

MAX_DEPTH = 3
_LOOSE = (Kind.named, Kind.titled, Kind.bulleted)  # of equations, a line's form says too little
_WORKING = re.compile(r"[`=\\$\[→]")  # signs of code and formulas
_CASES = re.compile(r"\b(?:cases|possibilities|scenarios|situations)\b|情况|情形", re.IGNORECASE)
_IF = re.compile(r"\W*(?:if|when|case|suppose|assume)\b|\W*(?:如果|若|当|假设)", re.IGNORECASE)
_TOKEN = re.compile(r"[一-鿿]|\w+|(?:([^\w\s])\1*)")


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A trace, forked or as it was (`reason` says why). blocks: those that fork the trunk, or else
    the one that does not hold; None where only the trace tells. found_by: of each fork, in the
    order of `Trace.all_forks`, how its steps were recognised."""

    trace: Trace
    reason: str = ""
    detail: str = ""
    blocks: tuple[Block, ...] | None = None
    found_by: tuple[str, ...] = ()


def rewrite(text: str, prompt: str) -> Rewrite:
    """The trace of a linear text, forked wherever it has a block of independent steps."""
    finder = _BlockFinder(Prompt(prompt))
    trace = make_trace(*finder.find_parts(text, 0))
    found_by = tuple(finder.kinds[id(fork)].value for fork in trace.all_forks())
    if found_by:
        return Rewrite(trace, blocks=tuple(finder.blocks), found_by=found_by)
    reason, detail, block = finder.refusals[0] if finder.refusals else ("no steps", "", None)
    return Rewrite(make_trace(text), reason, detail, (block,) if block else ())


@dataclass(slots=True)
class _BlockFinder:
    """One trace's blocks, found from the outside in."""

    prompt: Prompt
    blocks: list[Block] = field(default_factory=list)  # of the trunk
    kinds: dict[int, Kind] = field(default_factory=dict)  # by identity of the fork
    refusals: list[tuple[str, str, Block | None]] = field(default_factory=list)
    faulty: set[tuple[Kind, str]] = field(default_factory=set)  # first lines of steps of no block

    def find_parts(self, text: str, depth: int, inner: bool = False) -> list[str | Fork]:
        """Text and forks in order. What does not hold as a block stays as it is, and each of its
        steps is looked at by itself; `inner`: whether `text` stands in a step that needs others."""
        candidates = [b for b in find_blocks(text, self.prompt) if not self.is_faulty(b)]
        block = next((b for b in candidates if b.flaw is None), None)
        if block:
            self.note_unended(candidates, block, text)
        told = block and (lists_all(block, self.prompt) or tells_cases(block))
        if block and block.kind in _LOOSE and is_worked(text) and not told:
            return self.find_level_parts(text, depth, inner)
        if block is None or any(b.kind is Kind.marked and b.flaw for b in candidates):
            # marks that do not hold are no ground for a second guess
            self.refusals += [(b.flaw, "", None) for b in candidates if b.flaw]
            return self.find_level_parts(text, depth, inner)
        dependence = find_dependence(block, self.prompt)
        within = inner or any(stands_in(block, b, text) for b in candidates if b.fault)
        if dependence is None and within and not is_survey(block):
            dependence = "it stands in a step that needs others"
        if dependence is not None or not saves_passes(block):
            reason = "no saving" if dependence is None else "dependent steps"
            self.refusals.append((reason, dependence or "", block))
            inner |= dependence is not None and not is_page(block)
            return self.find_inner_parts(text, block, depth, inner)
        fork = self.make_fork(block, depth)
        before, close, after = split_close(block.tail)
        around = (block.lead, before, after)
        lead, between, tail = (
            self.find_parts(t, depth, inner) if t.strip() else [t] for t in around
        )
        return [*lead, fork, *between, close, *tail]

    def is_faulty(self, block: Block) -> bool:
        """Whether a block is a part of one that does not hold; text around a fork does not tell."""
        if block.fault:
            self.faulty |= _first_lines(block)
            return False
        return bool(_first_lines(block) & self.faulty)

    def note_unended(self, candidates: list[Block], block: Block, text: str) -> None:
        """A block without a clear end, since `block` follows right after it, has none either where
        it is looked at without what follows."""
        for other in candidates:
            end, start = other.spans[-1][1], block.spans[0][0]
            if other.flaw == NO_END and end <= start and not text[end:start].strip():
                self.faulty |= _first_lines(other)

    def make_fork(self, block: Block, depth: int) -> Fork:
        """A block's fork; one of the trunk is noted."""
        if not depth:
            self.blocks.append(block)
        topics = tuple(step.label.topic for step in block.steps)
        branches = tuple(
            self.make_branch(step.label.topic, step.text, depth) for step in block.steps
        )
        fork = Fork(topics, branches, block.separator)
        self.kinds[id(fork)] = block.kind
        return fork

    def make_branch(self, topic: str, text: str, depth: int) -> Trace:
        """A step, whose body may hold blocks of its own."""
        body = text[len(topic) :]
        if depth + 1 >= MAX_DEPTH or body.count("\n") < 2:
            return Trace((Segment(text),))
        return make_trace(topic, *self.find_parts(body, depth + 1))

    def find_inner_parts(
        self, text: str, block: Block, depth: int, inner: bool
    ) -> list[str | Fork]:
        """`text` with blocks before, inside and after the steps of one that stays linear; `inner`:
        whether these need one another."""
        if depth + 1 >= MAX_DEPTH or is_worked(text):
            return self.find_level_parts(text, depth, inner and depth > 0)
        out: list[str | Fork] = []
        cursor = 0
        for start, end in block.spans:
            between = text[cursor:start]
            outside = cursor == 0 and between.strip()
            out += self.find_parts(between, depth) if outside else [between]
            out += self.find_parts(text[start:end], depth + 1, inner)
            cursor = end
        rest = text[cursor:]
        return [*out, *(self.find_parts(rest, depth) if rest.strip() else [rest])]

    def find_level_parts(self, text: str, depth: int, inner: bool = False) -> list[str | Fork]:
        """Worked arithmetic: forks of neighbouring steps that use none of each other's results."""
        if inner or not is_worked(text):
            return [text]
        out: list[str | Fork] = []
        cursor = 0
        for block in find_levels(text, self.prompt):
            if block.flaw or not saves_passes(block):
                self.refusals.append((block.flaw or "no saving", "", block))
                continue
            out += [text[cursor : block.spans[0][0]], self.make_fork(block, depth)]
            cursor = block.spans[-1][1]
        if not out and not self.refusals:
            self.refusals.append(("dependent steps", "no neighbours without one another", None))
        return [*out, text[cursor:]]


def _first_lines(block: Block) -> set[tuple[Kind, str]]:
    return {(block.kind, step.text.partition("\n")[0]) for step in block.steps}


def stands_in(block: Block, outer: Block, text: str) -> bool:
    """Whether a block stands in a step of another one, or in an item that this one leaves out."""
    first, last = block.spans[0][0], block.spans[-1][1]
    if any(a <= first and last <= b for a, b in outer.spans):
        return True
    further = _indent(text, first) > _indent(text, outer.spans[0][0])
    return further and outer.spans[0][0] < first


def _indent(text: str, at: int) -> int:
    line = text[at:].partition("\n")[0]
    return len(line) - len(line.lstrip())


def tells_cases(block: Block) -> bool:
    """Whether the text before the steps announces cases, and each step begins with its own."""
    announced = _CASES.search(block.lead.rstrip().rpartition("\n")[2])
    return bool(announced) and all(_IF.match(step.text) for step in block.steps)


def is_page(block: Block) -> bool:
    """Whether steps are the sections of a page, and not its phases: what is listed in one of them
    stands for itself, whether or not the sections need one another."""
    sections = block.kind in (Kind.heading, Kind.headed)
    return sections and not any(is_phase(step.label.text) for step in block.steps)


def is_survey(block: Block) -> bool:
    """Whether a block tells of things side by side, each under a title of its own, and works
    nothing out: in a step that needs others, plain sub-steps need one another as well."""
    return all(split_title(step)[0] and not _WORKING.search(step.text) for step in block.steps)


def saves_passes(block: Block) -> bool:
    """Whether the outline and the longest branch take fewer passes than all steps one after
    another, as far as words tell."""
    lengths = [_count_tokens(step.text) for step in block.steps]
    outline = sum(1 + _count_tokens(step.label.topic) for step in block.steps)
    # besides: fork and spawn, a branch's opening and end, and the join
    return 2 + outline + max(lengths) + 2 + 1 < sum(lengths)


def _count_tokens(text: str) -> int:
    """About how many tokens a text has: words, characters of Chinese, runs of a sign."""
    return sum(1 for _ in _TOKEN.finditer(text))
