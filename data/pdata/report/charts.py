"""Counted numbers as a histogram, a trace's mask as runs of cells: geometry, ready to be drawn.

Knows no HTML. Lengths are in pixels of the drawing.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, groupby
from typing import Any

from pbranch.format.layout import build_layout
from pbranch.format.tree import Fork, Segment, Trace, make_trace
from pbranch.format.words import split_words
from pdata.report.statistics import find_median, value_at

WIDTH, HEIGHT = 480, 170
LEFT, RIGHT, TOP, BOTTOM = 46, 470, 10, 148  # of the area with bars
FEWEST, MOST = 8, 24  # bars
TICKS = 9  # along the axis of values
TONES = 6  # colours of branches; a seventh takes the first again

CELL = 11  # of the mask, wide and high
ROWS = 72
LABEL = 18  # characters of a row's word
# what a mask shows of a trace: branches of a block, words of a text; the first that fits is taken
CUTS = ((10**9, 10**9), (6, 12), (4, 8), (3, 5), (2, 3))


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin. name: its values, "12 to 14"."""

    x: float
    y: float
    width: float
    height: float
    name: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis, and what stands there."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bars, axes and the median of what was counted."""

    bars: list[Bar]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    median: Tick
    total: int


def draw_histogram(counts: Counter[int], scale: int = 1) -> Histogram | None:
    """Bars of numbers that were counted as value times `scale`; None where there are none."""
    median = find_median(counts)
    if median is None:
        return None
    first, step, n = _choose_bins(counts)
    bins = Counter[int]()
    for value, number in counts.items():
        bins[min((value - first) // step, n - 1)] += number
    top, y_ticks = _count_ticks(max(bins.values()))
    slot, total = (RIGHT - LEFT) / n, counts.total()
    centre = 0.5 if step == scale == 1 else 0.0  # each bar is one number, named below its middle
    bars = []
    for i in sorted(bins):
        start, height = first + i * step, (BOTTOM - TOP) * bins[i] / top
        more = i == n - 1 and max(counts) >= start + step
        name = f"{_number(start, scale)} and more" if more else _name_bin(start, step, scale)
        left = LEFT + i * slot + 1
        bars.append(Bar(left, BOTTOM - height, slot - 2, height, name, bins[i], bins[i] / total))
    every = next(s for s in _nice_steps() if (n - 1) // s < TICKS)
    x_ticks = [
        Tick(LEFT + (i + centre) * slot, _number(first + i * step, scale))
        for i in range(n)
        if (first // step + i) % every == 0
    ]
    place = min(LEFT + ((median - first) / step + centre) * slot, RIGHT)
    return Histogram(bars, x_ticks, y_ticks, Tick(place, _number(median, scale)), total)


def _choose_bins(counts: Counter[int]) -> tuple[int, int, int]:
    """(start of the first bin, width of a bin, how many).

    The highest hundredth shares the last bin where it would take more room than all the rest.
    """
    low, high = min(counts), max(counts)
    usual = value_at(counts, -(-counts.total() * 99 // 100))
    last = usual if high - low > 2 * (usual - low) and high - usual > FEWEST else high
    step = next(s for s in _nice_steps() if last // s - low // s < MOST)
    first, n = low // step * step, last // step - low // step + 1
    if n < FEWEST:  # one lone bar would fill the width
        room = (FEWEST - n) // 2 * step
        first, n = first - (min(room, first) if first >= 0 else room), FEWEST
    return first, step, n


def _nice_steps() -> Iterator[int]:
    return (digit * 10**power for power in count() for digit in (1, 2, 5))


def _name_bin(start: int, step: int, scale: int) -> str:
    if scale != 1:
        return f"{_number(start, scale)} to under {_number(start + step, scale)}"
    return _number(start) if step == 1 else f"{_number(start)} to {_number(start + step - 1)}"


def _number(value: float, scale: int = 1) -> str:
    return f"{value / scale:,.10g}"


def _count_ticks(most: int) -> tuple[int, list[Tick]]:
    """The top of an axis of counts, and its ticks."""
    step = next(s for s in _nice_steps() if -(-most // s) <= 4)
    top = -(-most // step) * step
    heights = ((v, BOTTOM - (BOTTOM - TOP) * v / top) for v in range(0, top + 1, step))
    return top, [Tick(y, _number(v)) for v, y in heights]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a mask. tone: 0 for the trunk, then the colour of its branch; role: of a marker."""

    position: int
    word: str
    label: str
    role: str
    tone: int


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring cells of one row that look alike: the columns [start, stop)."""

    row: int
    start: int
    stop: int
    seen: bool
    tone: int


@dataclass(frozen=True, slots=True)
class Mask:
    """Who sees whom. branches: (tone, topic) of each branch; cut: words were left out."""

    rows: list[Row]
    runs: list[Run]
    branches: list[tuple[int, str]]
    cut: bool

    @property
    def gutter(self) -> int:
        """Room for positions and words, left of the cells."""
        return 44 + 7 * max(len(row.label) for row in self.rows)


def draw_mask(trace: Trace) -> Mask:
    """The mask of a trace with words as tokens, shortened until it has at most `ROWS` rows."""
    from pbranch.format.show import WORD_MARKERS, WordCodec
    from pbranch.format.visibility import sees

    for branches, words in CUTS:
        codec, shown = WordCodec(), _shorten(trace, branches, words)
        layout = build_layout(codec.encode("(prompt)"), shown, codec, WORD_MARKERS)
        if len(layout) <= ROWS:
            break
    n = min(len(layout), ROWS)
    names = {i: role for role, i in WORD_MARKERS.as_dict().items()}
    lanes: dict[Any, int] = {}
    rows = []
    for k in range(n):
        lane = [level[k] for level in layout.hidden if level[k][1]]
        number = lanes.setdefault(tuple(lane), len(lanes))  # the prompt makes the trunk 0
        token = layout.token_ids[k]
        word = names.get(token) or codec.decode([token]).strip() or "␣"
        label = word if len(word) <= LABEL else word[: LABEL - 1] + "…"
        tone = _tone(number)
        rows.append(Row(layout.position_ids[k], word, label, names.get(token, ""), tone))
    runs = []
    for q in range(n):
        looks = [(sees(layout, q, k), rows[k].tone) for k in range(q + 1)]
        start = 0
        for (seen, tone), cells in groupby(looks):
            stop = start + len(list(cells))
            runs.append(Run(q, start, stop, seen, tone))
            start = stop
    topics = [(_tone(i), topic) for i, topic in enumerate(_topics(shown), 1)]
    return Mask(rows, runs, topics[: len(lanes) - 1], shown != trace or n < len(layout))


def _tone(lane: int) -> int:
    return (lane - 1) % TONES + 1 if lane else 0


def _topics(trace: Trace) -> Iterator[str]:
    """Topics in the order in which their branches begin."""
    for fork in trace.forks():
        for topic, branch in zip(fork.topics, fork.branches, strict=True):
            yield topic
            yield from _topics(branch)


def _shorten(trace: Trace, branches: int, words: int, topic: str = "") -> Trace:
    """At most so many branches of a block and words of a text; a branch keeps its topic."""
    parts: list[Segment | Fork | str] = []
    for i, part in enumerate(trace.parts):
        if isinstance(part, Segment):
            head = topic if i == 0 else ""
            parts.append(head + _cut_text(part.text[len(head) :], words))
            continue
        pairs = list(zip(part.topics, part.branches, strict=True))[:branches]
        inner = tuple(_shorten(b, branches, words, t) for t, b in pairs)
        parts.append(Fork(tuple(t for t, _ in pairs), inner, part.separator))
    return make_trace(*parts)


def _cut_text(text: str, words: int) -> str:
    pieces = split_words(text)
    return text if len(pieces) <= words else "".join(pieces[:words]) + " …"
