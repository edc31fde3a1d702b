"""The tree of a trace: text segments and forks, nested to any depth. Knows no spelling, no tokens.

Normal form, checked on construction: no empty and no adjacent segments, as many branches as
topics, and branch i starts with topic i.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pbranch.errors import FormatError

SEPARATOR = "\n"  # joins branches in plain text, where nothing else is stored


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of ordinary text."""

    text: str

    def __post_init__(self) -> None:
        if not self.text:
            raise FormatError("a segment is empty; leave it out")


@dataclass(frozen=True, slots=True)
class Fork:
    """A block of branches that do not see each other.

    topics: what the outline announces; branches: one trace each, starting with its topic;
    separator: what joins the branches in plain text.
    """

    topics: tuple[str, ...]
    branches: tuple["Trace", ...]
    separator: str = SEPARATOR

    def __post_init__(self) -> None:
        if not self.topics:
            raise FormatError("a fork has no topics; expected at least one")
        if len(self.topics) != len(self.branches):
            raise FormatError(
                f"a fork has {len(self.topics)} topics and {len(self.branches)} branches"
            )
        for i, (topic, branch) in enumerate(zip(self.topics, self.branches, strict=True)):
            if not branch.lead.startswith(topic):
                raise FormatError(
                    f"branch {i + 1} starts with {branch.lead[:40]!r}, expected topic {topic!r}"
                )


@dataclass(frozen=True, slots=True)
class Trace:
    """What a model writes, the trunk or one branch: segments and forks in order."""

    parts: tuple[Segment | Fork, ...]

    def __post_init__(self) -> None:
        for a, b in zip(self.parts, self.parts[1:], strict=False):
            if isinstance(a, Segment) and isinstance(b, Segment):
                raise FormatError("two segments follow one another; join them")

    @property
    def lead(self) -> str:
        """Text before the first fork."""
        first = self.parts[0] if self.parts else None
        return first.text if isinstance(first, Segment) else ""

    @property
    def depth(self) -> int:
        """Levels of nesting: 0 without a fork."""
        return max((1 + max(b.depth for b in f.branches) for f in self.forks()), default=0)

    def forks(self) -> Iterator[Fork]:
        """Forks of this level, in order."""
        return (p for p in self.parts if isinstance(p, Fork))

    def all_forks(self) -> Iterator[Fork]:
        """Forks of all levels, a fork before those inside its branches."""
        for fork in self.forks():
            yield fork
            for branch in fork.branches:
                yield from branch.all_forks()


def make_trace(*parts: str | Segment | Fork) -> Trace:
    """A trace in normal form: strings become segments, neighbours join, empty ones go."""
    merged: list[Segment | Fork] = []
    for part in parts:
        if part == "":
            continue
        added = Segment(part) if isinstance(part, str) else part
        last = merged[-1] if merged else None
        if isinstance(added, Segment) and isinstance(last, Segment):
            merged[-1] = Segment(last.text + added.text)
        else:
            merged.append(added)
    return Trace(tuple(merged))


def with_default_separators(trace: Trace) -> Trace:
    """A trace of the same plain text whose branches the default separator joins, as far as theirs
    end with it: what stands before that ends each branch but the last."""
    parts: list[Segment | Fork] = []
    for part in trace.parts:
        if isinstance(part, Fork):
            gap, inner = part.separator, [with_default_separators(b) for b in part.branches]
            if gap.endswith(SEPARATOR):
                rest = gap.removesuffix(SEPARATOR)
                inner[:-1] = [make_trace(*b.parts, rest) for b in inner[:-1]]
                gap = SEPARATOR
            part = Fork(part.topics, tuple(inner), gap)
        parts.append(part)
    return Trace(tuple(parts))


def plain_text(trace: Trace) -> str:
    """What a reader wants: outlines and markers dropped, branches joined by their separator."""
    return "".join(
        p.text if isinstance(p, Segment) else p.separator.join(map(plain_text, p.branches))
        for p in trace.parts
    )
