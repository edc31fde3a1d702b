"""A trace as rows of tokens: ids, positions, targets and hidden intervals, for training and tests.

Rows stand in text order. A row's `hidden` interval [from, until) of level d names the later rows
that do not see it; level d is the d-th block around the row. Knows no tensors and no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from pbranch.codec import SegmentCodec
from pbranch.errors import LayoutError
from pbranch.markers import MarkerIds
from pbranch.tree import Fork, Segment, Trace

Positions = Literal["max", "flat"]
Outline = Literal["all", "own"]
NO_TARGET = -100


class Kind(IntEnum):
    """What a row predicts, for losses by kind; PROMPT and INJECTED rows are no targets' origin."""

    PROMPT = 0
    TEXT = 1  # trunk text before any fork
    OUTLINE = 2  # fork, topic and spawn markers
    TOPIC = 3  # words of a topic
    BODY = 4  # a branch's words and its end
    JOIN = 5  # text after a join
    LINEAR = 6  # text of a trace whose blocks were flattened


@dataclass(frozen=True, slots=True)
class LayoutOptions:
    """What a model is trained for; an adapter records it."""

    positions: Positions = "max"
    outline: Outline = "all"


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows of one or more documents. All sequences have one entry a row, but `hidden`: a level."""

    token_ids: list[int] = field(default_factory=list)
    position_ids: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)  # token that the row predicts, or NO_TARGET
    kinds: list[int] = field(default_factory=list)  # Kind of that prediction
    doc: list[int] = field(default_factory=list)
    hidden: list[list[tuple[int, int]]] = field(default_factory=list)  # [level][row] = from, until

    def __len__(self) -> int:
        return len(self.token_ids)


def build_layout(
    prompt_ids: Sequence[int],
    trace: Trace,
    codec: SegmentCodec,
    markers: MarkerIds | None,
    end_id: int | None = None,
    options: LayoutOptions | None = None,
) -> Layout:
    """Rows of a prompt and its trace. `end_id`: the token that ends the turn, a target, no row.

    Raises LayoutError on an empty prompt or on a fork without markers.
    """
    if not prompt_ids:
        raise LayoutError("a layout needs at least one prompt token")
    builder = _Builder(codec, markers, options or LayoutOptions())
    builder.extend(prompt_ids, None)
    builder.trace(trace, 0)
    if end_id is not None:
        builder.aim(end_id, Kind.JOIN if any(trace.forks()) else Kind.TEXT)
    return builder.layout


class _Builder:
    """Appends rows; `predictor` is the row whose target is the lane's next sampled token."""

    def __init__(self, codec: SegmentCodec, markers: MarkerIds | None, options: LayoutOptions):
        self.codec, self.markers, self.options = codec, markers, options
        self.layout = Layout()
        self.position = 0
        self.predictor: int | None = None

    def add(self, token: int, kind: Kind | None) -> None:
        """One row; `kind` None: injected, the target of no row."""
        self.extend([token], kind)

    def extend(self, tokens: Sequence[int], kind: Kind | None) -> None:
        """Rows that follow one another in a lane."""
        if not tokens:
            return
        row, n = self.layout, len(tokens)
        if kind is not None:
            self.aim(tokens[0], kind)
        self.predictor = len(row) + n - 1
        row.token_ids.extend(tokens)
        row.position_ids.extend(range(self.position, self.position + n))
        inner = [NO_TARGET] * (n - 1) if kind is None else tokens[1:]
        row.targets.extend([*inner, NO_TARGET])
        row.kinds.extend([Kind.PROMPT if kind is None else kind] * (n - 1) + [Kind.PROMPT])
        row.doc.extend([0] * n)
        for level in row.hidden:
            level.extend([(0, 0)] * n)
        self.position += n

    def aim(self, token: int, kind: Kind) -> None:
        if self.predictor is not None:
            self.layout.targets[self.predictor] = token
            self.layout.kinds[self.predictor] = kind

    def hide(self, rows: range, level: int, until: int, start: int | None = None) -> None:
        """Rows are hidden from the rows [start or the last of them + 1, until)."""
        while len(self.layout.hidden) <= level:
            self.layout.hidden.append([(0, 0)] * len(self.layout))
        for r in rows:
            self.layout.hidden[level][r] = (rows.stop if start is None else start, until)

    def text(self, text: str, kind: Kind) -> None:
        self.extend(self.codec.encode(text), kind)

    def trace(self, trace: Trace, level: int, skip: str = "") -> None:
        """Parts of a lane; `skip` is the topic in front of a branch, already laid out."""
        kind = Kind.BODY if level else Kind.TEXT
        for i, part in enumerate(trace.parts):
            if isinstance(part, Segment):
                self.text(part.text[len(skip) :] if i == 0 else part.text, kind)
            else:
                self.fork(part, level)
                kind = Kind.JOIN

    def fork(self, fork: Fork, level: int) -> None:
        if self.markers is None:
            raise LayoutError("a trace with a fork needs markers")
        m, first = self.markers, len(self.layout)
        self.add(m.fork, Kind.OUTLINE)
        topics = [self.codec.encode(t) for t in fork.topics]
        for topic in topics:
            self.add(m.topic, Kind.OUTLINE)
            self.extend(topic, Kind.TOPIC)
        self.add(m.spawn, Kind.OUTLINE)
        spawn, start = self.position - 1, len(self.layout)
        extents, blocks = [], []
        for topic, text, branch in zip(topics, fork.topics, fork.branches, strict=True):
            begin = len(self.layout)
            self.position = spawn + 1
            self.extend([m.branch, *topic], None)
            self.trace(branch, level + 1, skip=text)
            self.add(m.end, Kind.BODY)
            extents.append(self.position - 1 - spawn)
            blocks.append(range(begin, len(self.layout)))
        join = len(self.layout)
        for block in blocks:
            self.hide(block, level, join)
        if self.options.outline == "own":
            self.hide(range(first, start), level, join, start)
        self.position = spawn + 1 + join_extent(extents, self.options.positions)
        self.predictor = None
        self.add(m.join, None)


def join_extent(extents: Sequence[int], positions: Positions) -> int:
    """What a block takes on the position axis, between its spawn and its join."""
    return max(extents) if positions == "max" else sum(extents)


def concatenate(layouts: Sequence[Layout]) -> Layout:
    """Several documents in one row; they do not see one another."""
    depth = max((len(x.hidden) for x in layouts), default=0)
    out = Layout(hidden=[[] for _ in range(depth)])
    for number, x in enumerate(layouts):
        shift, base = len(out), (out.doc[-1] + 1 if out.doc else number)
        out.token_ids.extend(x.token_ids)
        out.position_ids.extend(x.position_ids)
        out.targets.extend(x.targets)
        out.kinds.extend(x.kinds)
        out.doc.extend(d + base for d in x.doc)
        for level, hidden in enumerate(out.hidden):
            own = x.hidden[level] if level < len(x.hidden) else [(0, 0)] * len(x)
            hidden.extend((a + shift, b + shift) if b else (0, 0) for a, b in own)
    return out


def critical_path(trace: Trace, codec: SegmentCodec, skip: str = "") -> int:
    """Tokens of a trace that have to be drawn one after another: a fork's branches count as their
    longest. Decoding takes as many passes: the end of text is drawn too, the first token is not."""
    drawn = 0
    for i, part in enumerate(trace.parts):
        if isinstance(part, Segment):
            drawn += len(codec.encode(part.text[len(skip) :] if i == 0 else part.text))
            continue
        drawn += 2 + sum(1 + len(codec.encode(topic)) for topic in part.topics)
        pairs = zip(part.topics, part.branches, strict=True)
        drawn += max(critical_path(b, codec, skip=topic) + 1 for topic, b in pairs)
    return drawn
