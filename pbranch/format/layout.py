"""A trace as rows of tokens: ids, positions, targets and hidden intervals, for training and tests.

Rows stand in text order; a block that is re-encoded at its join stands there twice, the second
time as copy rows. A row's `hidden` interval [from, until) of level d names the later rows that do
not see it; level d is the d-th block around the row. Knows no tensors and no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from pbranch.errors import LayoutError
from pbranch.format.markers import MarkerIds
from pbranch.format.tree import Fork, Segment, Trace
from pbranch.hf.segment_codec import SegmentCodec

Positions = Literal["max", "flat"]
Outline = Literal["all", "own"]
Join = Literal["keep", "reencode"]
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
    """What a model is trained for; an adapter records it.

    join: `keep`, text behind a block sees the rows of its branches; `reencode`, it sees them fed
    again as plain text, at positions that follow one another whatever `positions` says.
    """

    positions: Positions = "max"
    outline: Outline = "all"
    join: Join = "keep"

    @property
    def in_order(self) -> bool:
        """Whether a join stands behind all branches laid out one after another."""
        return self.positions == "flat" or self.join == "reencode"

    def extent(self, extents: Sequence[int]) -> int:
        """What a block of branches of such extents takes on the position axis, between its spawn
        and its join."""
        return sum(extents) if self.in_order else max(extents)


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
    builder = Builder(codec, markers, options or LayoutOptions())
    builder.extend(prompt_ids, None)
    builder.trace(trace, 0)
    if end_id is not None:
        builder.aim(end_id, Kind.JOIN if any(trace.forks()) else Kind.TEXT)
    builder.hide_to_the_end()
    return builder.layout


class Builder:
    """Appends rows; `predictor` is the row whose target is the lane's next sampled token."""

    def __init__(self, codec: SegmentCodec, markers: MarkerIds | None, options: LayoutOptions):
        self.codec, self.markers, self.options = codec, markers, options
        self.layout = Layout()
        self.position = 0
        self.predictor: int | None = None
        self.left: list[tuple[range, int]] = []  # rows that were re-encoded, and their level

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

    def hide_to_the_end(self) -> None:
        """Rows that were re-encoded are hidden from all that stands behind their branch."""
        for rows, level in self.left:
            self.hide(rows, level, len(self.layout))

    def trace(self, trace: Trace, level: int, skip: str = "") -> list[int]:
        """Parts of a lane; `skip` is the topic in front of a branch, already laid out. Returns the
        lane's tokens, branches included, each once."""
        kind = Kind.BODY if level else Kind.TEXT
        tokens: list[int] = []
        for i, part in enumerate(trace.parts):
            if isinstance(part, Segment):
                words = self.codec.encode(part.text[len(skip) :] if i == 0 else part.text)
                self.extend(words, kind)
                tokens += words
            else:
                tokens += self.fork(part, level)
                kind = Kind.JOIN
        return tokens

    def fork(self, fork: Fork, level: int) -> list[int]:
        """A block and its join; returns its tokens, each once."""
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
        outline = self.layout.token_ids[first:]
        extents, blocks, tokens = [], [], []
        for topic, text, branch in zip(topics, fork.topics, fork.branches, strict=True):
            begin = len(self.layout)
            self.position = spawn + 1
            self.extend([m.branch, *topic], None)
            tokens += [m.branch, *topic, *self.trace(branch, level + 1, skip=text), m.end]
            self.add(m.end, Kind.BODY)
            extents.append(self.position - 1 - spawn)
            blocks.append(range(begin, len(self.layout)))
        after = len(self.layout)
        if self.options.outline == "own":
            self.hide(range(first, start), level, after, start)
        self.position = spawn + 1
        if self.options.join == "reencode":
            self.left += [(block, level) for block in blocks]
            self.extend(tokens, None)
        else:
            for block in blocks:
                self.hide(block, level, after)
            self.position += self.options.extent(extents)
        self.predictor = None
        self.add(m.join, None)
        return [*outline, *tokens, m.join]


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
