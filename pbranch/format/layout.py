"""A trace as tokens: ids, positions, targets and hidden intervals, for training and tests.

Tokens stand in text order; a block that is re-encoded at its join stands there twice. A token's
`hidden` interval [from, until) of level d names the later tokens that do not see it; level d is the
d-th block around the token. Knows no tensors and no model.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, Protocol

from pbranch.errors import LayoutError
from pbranch.format.markers import MarkerIds
from pbranch.format.tree import Fork, Segment, Trace

Positions = Literal["max", "flat"]
Outline = Literal["all", "own"]
Join = Literal["keep", "reencode"]
NO_TARGET = -100


class TextEncoder(Protocol):
    """Turns the text of one segment into token ids, whatever stands around it."""

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` in the middle of a sequence."""
        ...


class Kind(IntEnum):
    """What a token predicts, for losses by kind; PROMPT where it predicts nothing."""

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

    join: `keep`, text after a block sees the tokens of its branches; `reencode`, it sees them fed
    again as plain text, at consecutive positions whatever `positions` says.
    """

    positions: Positions = "max"
    outline: Outline = "all"
    join: Join = "keep"

    @property
    def in_order(self) -> bool:
        """Whether a join stands after all branches laid out one after another."""
        return self.positions == "flat" or self.join == "reencode"

    def extent(self, extents: Sequence[int]) -> int:
        """What branches of such extents take on the position axis, from spawn to join."""
        return sum(extents) if self.in_order else max(extents)


@dataclass(slots=True)
class Layout:
    """Tokens of one or more documents. All lists have one entry a token, but `hidden`: a level."""

    token_ids: list[int] = field(default_factory=list)
    position_ids: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)  # the id that the token predicts, or NO_TARGET
    kinds: list[int] = field(default_factory=list)  # Kind of that prediction
    doc: list[int] = field(default_factory=list)
    hidden: list[list[tuple[int, int]]] = field(default_factory=list)  # [level][token]: from, until

    def __len__(self) -> int:
        return len(self.token_ids)


def build_layout(
    prompt_ids: Sequence[int],
    trace: Trace,
    encoder: TextEncoder,
    markers: MarkerIds | None,
    end_id: int | None = None,
    options: LayoutOptions | None = None,
) -> Layout:
    """Tokens of a prompt and its trace. `end_id`: the token that ends the turn; only a target.

    Raises LayoutError on an empty prompt or on a fork without markers.
    """
    if not prompt_ids:
        raise LayoutError("a layout needs at least one prompt token")
    builder = LayoutBuilder(encoder, markers, options or LayoutOptions())
    builder.add_injected(prompt_ids)
    builder.add_trace(trace, 0)
    if end_id is not None:
        builder.set_target(end_id, Kind.JOIN if any(trace.forks()) else Kind.TEXT)
    return builder.finish()


class LayoutBuilder:
    """Appends tokens to a layout from position to position.

    predictor: index of the token whose target is the lane's next sampled one; reencoded: spans of
    branches that were fed again as plain text, and their level."""

    def __init__(self, encoder: TextEncoder, markers: MarkerIds | None, options: LayoutOptions):
        self.encoder, self.markers, self.options = encoder, markers, options
        self.layout = Layout()
        self.position = 0
        self.predictor: int | None = None
        self.reencoded: list[tuple[range, int]] = []

    def finish(self) -> Layout:
        """The layout; re-encoded tokens are hidden from all that follow their branch."""
        for span, level in self.reencoded:
            self.hide(span, level, len(self.layout))
        return self.layout

    def add_sampled(self, token_ids: Sequence[int], kind: Kind) -> None:
        """Consecutive tokens that a model has to write: each is a target."""
        if token_ids:
            self.set_target(token_ids[0], kind)
            self._append(token_ids, [*token_ids[1:], NO_TARGET], kind)

    def add_injected(self, token_ids: Sequence[int]) -> None:
        """Consecutive tokens that are given: none is a target."""
        if token_ids:
            self._append(token_ids, [NO_TARGET] * len(token_ids), Kind.PROMPT)

    def set_target(self, token_id: int, kind: Kind) -> None:
        """Make the lane's last token predict `token_id`; after a block nothing does."""
        if self.predictor is not None:
            self.layout.targets[self.predictor] = token_id
            self.layout.kinds[self.predictor] = kind

    def _append(self, token_ids: Sequence[int], targets: Sequence[int], kind: Kind) -> None:
        layout, n = self.layout, len(token_ids)
        self.predictor = len(layout) + n - 1
        layout.token_ids.extend(token_ids)
        layout.position_ids.extend(range(self.position, self.position + n))
        layout.targets.extend(targets)
        layout.kinds.extend([kind] * (n - 1) + [Kind.PROMPT])
        layout.doc.extend([0] * n)
        for level in layout.hidden:
            level.extend([(0, 0)] * n)
        self.position += n

    def hide(self, span: range, level: int, until: int, start: int | None = None) -> None:
        """Hide the tokens of `span` from those of [start or the span's end, until)."""
        while len(self.layout.hidden) <= level:
            self.layout.hidden.append([(0, 0)] * len(self.layout))
        for i in span:
            self.layout.hidden[level][i] = (span.stop if start is None else start, until)

    @contextmanager
    def branch(self, start: int, spans: list[range]) -> Iterator[None]:
        """What is added inside is a branch from position `start`; `spans` gets its tokens."""
        self.position, first = start, len(self.layout)
        yield
        spans.append(range(first, len(self.layout)))

    def reencode(self, spans: Sequence[range], level: int, start: int, ids: Sequence[int]) -> None:
        """Feed branches again as plain text, `ids`, from position `start`."""
        self.reencoded += [(span, level) for span in spans]
        self.position = start
        self.add_injected(ids)

    def add_trace(self, trace: Trace, level: int, skip: str = "") -> list[int]:
        """Parts of a lane; `skip`: the topic before a branch's body, already laid out. Returns the
        lane's token ids, branches included, each once."""
        kind = Kind.BODY if level else Kind.TEXT
        token_ids: list[int] = []
        for i, part in enumerate(trace.parts):
            if isinstance(part, Segment):
                ids = self.encoder.encode(part.text[len(skip) :] if i == 0 else part.text)
                self.add_sampled(ids, kind)
                token_ids += ids
            else:
                token_ids += self.add_fork(part, level)
                kind = Kind.JOIN
        return token_ids

    def add_fork(self, fork: Fork, level: int) -> list[int]:
        """A block and its join; returns its token ids, each once."""
        if self.markers is None:
            raise LayoutError("a trace with a fork needs markers")
        m, first = self.markers, len(self.layout)
        topics = [self.encoder.encode(topic) for topic in fork.topics]
        self.add_sampled([m.fork], Kind.OUTLINE)
        for topic in topics:
            self.add_sampled([m.topic], Kind.OUTLINE)
            self.add_sampled(topic, Kind.TOPIC)
        self.add_sampled([m.spawn], Kind.OUTLINE)
        start, outline = self.position, range(first, len(self.layout))
        extents: list[int] = []
        spans: list[range] = []
        inner: list[int] = []
        for topic, text, branch in zip(topics, fork.topics, fork.branches, strict=True):
            with self.branch(start, spans):
                self.add_injected([m.branch, *topic])
                body = self.add_trace(branch, level + 1, skip=text)
                self.add_sampled([m.end], Kind.BODY)
            inner += [m.branch, *topic, *body, m.end]
            extents.append(self.position - start)
        after = len(self.layout)
        if self.options.outline == "own":
            self.hide(outline, level, after, outline.stop)
        if self.options.join == "reencode":
            self.reencode(spans, level, start, inner)
        else:
            for span in spans:
                self.hide(span, level, after)
            self.position = start + self.options.extent(extents)
        self.predictor = None
        self.add_injected([m.join])
        return [*(self.layout.token_ids[i] for i in outline), *inner, m.join]


def concatenate(layouts: Sequence[Layout]) -> Layout:
    """Several documents in one sequence; they do not see each other."""
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
            intervals = x.hidden[level] if level < len(x.hidden) else [(0, 0)] * len(x)
            hidden.extend((a + shift, b + shift) if b else (0, 0) for a, b in intervals)
    return out


def critical_path(trace: Trace, encoder: TextEncoder, skip: str = "") -> int:
    """Tokens of a trace that have to be sampled one after another: a fork's branches count as their
    longest. Decoding takes as many passes: the end of text is sampled too, the first token not."""
    sampled = 0
    for i, part in enumerate(trace.parts):
        if isinstance(part, Segment):
            sampled += len(encoder.encode(part.text[len(skip) :] if i == 0 else part.text))
            continue
        sampled += 2 + sum(1 + len(encoder.encode(topic)) for topic in part.topics)
        pairs = zip(part.topics, part.branches, strict=True)
        sampled += max(critical_path(b, encoder, skip=topic) + 1 for topic, b in pairs)
    return sampled
