"""Tagged text <-> tree: exact inverses. Malformed text raises FormatError with its offset.

The separators of a trace's forks are not in its tagged text; they travel next to it, one a fork
in the order of `Trace.all_forks`, and default to a newline.
"""

from collections.abc import Iterator, Sequence

from pbranch.errors import FormatError
from pbranch.format.markers import MARKER_PATTERN, MARKERS, Role, escape, unescape
from pbranch.format.tree import SEPARATOR, Fork, Segment, Trace


def render(trace: Trace) -> str:
    """The tagged text of a tree."""
    return "".join(_render(trace))


def _render(trace: Trace) -> Iterator[str]:
    for part in trace.parts:
        if isinstance(part, Segment):
            yield escape(part.text)
            continue
        yield MARKERS[Role.FORK]
        for topic in part.topics:
            yield MARKERS[Role.TOPIC] + escape(topic)
        yield MARKERS[Role.SPAWN]
        for branch in part.branches:
            yield MARKERS[Role.BRANCH]
            yield from _render(branch)
            yield MARKERS[Role.END]
        yield MARKERS[Role.JOIN]


def parse(text: str, separators: Sequence[str] | None = None) -> Trace:
    """The tree of a tagged text. `separators`: one a fork in `Trace.all_forks` order."""
    parser = _Parser(text, separators)
    trace, closing = parser.trace()
    if closing is not None:
        raise FormatError(f"found {MARKERS[closing]} outside a branch", parser.offset)
    if separators is not None and parser.forks != len(separators):
        raise FormatError(f"{len(separators)} separators for {parser.forks} forks")
    return trace


def separators_of(trace: Trace) -> list[str] | None:
    """What `parse` needs besides the tagged text; None where all are the default."""
    found = [fork.separator for fork in trace.all_forks()]
    return found if any(s != SEPARATOR for s in found) else None


DEEPEST = 100  # levels of blocks: what walks a tree calls itself for each


class _Parser:
    """Walks (text before a marker, marker) pairs; `offset` is where the last marker stands."""

    def __init__(self, text: str, separators: Sequence[str] | None) -> None:
        self.text = text
        self.marks = MARKER_PATTERN.finditer(text)
        self.separators = separators
        self.cursor = self.offset = self.forks = self.depth = 0

    def piece(self) -> tuple[str, Role | None]:
        """The next run of ordinary text and the marker that ends it (None at the text's end)."""
        mark = next(self.marks, None)
        start, self.offset = self.cursor, mark.start() if mark else len(self.text)
        self.cursor = mark.end() if mark else len(self.text)
        return unescape(self.text[start : self.offset]), Role(mark[1]) if mark else None

    def trace(self) -> tuple[Trace, Role | None]:
        """Parts up to a marker that does not belong here, and that marker."""
        parts: list[Segment | Fork] = []
        while True:
            text, role = self.piece()
            if text:
                parts.append(Segment(text))
            if role is not Role.FORK:
                return Trace(tuple(parts)), role
            parts.append(self.fork())

    def fork(self) -> Fork:
        opened, index = self.offset, self.forks
        self.forks += 1
        self.depth += 1
        if self.depth > DEEPEST:
            raise FormatError(f"found blocks nested {self.depth} deep, expected fewer", opened)
        self.expect(Role.TOPIC, opened)
        topics: list[str] = []
        role: Role | None = Role.TOPIC
        while role is Role.TOPIC:
            topic, role = self.piece()
            topics.append(topic)
        if role is not Role.SPAWN:
            raise self.misplaced(role, Role.SPAWN, opened)
        branches: list[Trace] = []
        for topic in topics:
            self.expect(Role.BRANCH, opened)
            start = self.offset
            branch, role = self.trace()
            if role is not Role.END:
                raise self.misplaced(role, Role.END, start)
            if not branch.lead.startswith(topic):
                raise FormatError(
                    f"branch {len(branches) + 1} starts with {branch.lead[:40]!r}, "
                    f"expected topic {topic!r}",
                    start,
                )
            branches.append(branch)
        self.expect(Role.JOIN, opened)
        self.depth -= 1
        if self.separators is not None and index >= len(self.separators):
            raise FormatError(f"{len(self.separators)} separators, and fork {index + 1} follows")
        separator = SEPARATOR if self.separators is None else self.separators[index]
        return Fork(tuple(topics), tuple(branches), separator)

    def expect(self, wanted: Role, opened: int) -> None:
        text, role = self.piece()
        if role is not wanted or text:
            raise self.misplaced(role, wanted, opened, text)

    def misplaced(
        self, found: Role | None, wanted: Role, opened: int, text: str = ""
    ) -> FormatError:
        seen = repr(text[:20]) if text else MARKERS[found] if found else "the end of the text"
        return FormatError(
            f"found {seen}, expected {MARKERS[wanted]} (block opened at {opened})", self.offset
        )
