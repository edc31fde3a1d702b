"""Draws a trace as characters: its tree, and its rows with positions and mask.

Documentation, debugger and README figure in one. Runs without a model: with no tokenizer, words
stand for tokens.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from pbranch.format.layout import Layout, LayoutOptions, build_layout
from pbranch.format.markers import MARKERS, MarkerIds, Role
from pbranch.format.paper_dialect import paper_layout
from pbranch.format.tree import Segment, Trace
from pbranch.format.visibility import sees
from pbranch.format.words import split_words

SEEN, HIDDEN, FUTURE = "█", "·", " "


def draw_tree(trace: Trace, indent: str = "") -> str:
    """One line a part, branches indented below their fork."""
    return "\n".join(_tree_lines(trace, indent))


def _tree_lines(trace: Trace, indent: str) -> Iterator[str]:
    for part in trace.parts:
        if isinstance(part, Segment):
            yield f"{indent}{part.text!r}"
            continue
        yield f"{indent}fork: {' | '.join(part.topics)}"
        for i, branch in enumerate(part.branches):
            last = i + 1 == len(part.branches)
            head, *tail = list(_tree_lines(branch, "")) or ["(empty)"]
            yield f"{indent}{'└' if last else '├'}─ {head}"
            yield from (f"{indent}{' ' if last else '│'}  {line}" for line in tail)
        yield f"{indent}join"


def draw_mask(
    layout: Layout, labels: list[str], limit: int = 120, order: Sequence[int] | None = None
) -> str:
    """One line a row: number, position, token, then a cell for each row that it could see.
    order: of the rows, where it is not that of the text."""
    order = range(len(layout)) if order is None else order
    n = min(len(layout), limit)
    width = max(len(label) for label in labels[:n])
    lines = [f"{'row':>4} {'pos':>4}  {'token':<{width}}  sees ({SEEN} yes, {HIDDEN} no)"]
    for i, q in enumerate(order[:n]):
        cells = "".join(SEEN if sees(layout, q, k) else HIDDEN for k in order[: i + 1])
        lines.append(f"{q:>4} {layout.position_ids[q]:>4}  {labels[q]:<{width}}  {cells}")
    if n < len(layout):
        lines.append(f"… {len(layout) - n} more rows")
    return "\n".join(lines)


def order_by_pass(layout: Layout) -> list[int]:
    """Rows in the order in which they are decoded: the branches of a block a token each, and so on.
    Blocks inside branches are not told apart."""
    order: list[int] = []
    inside = layout.hidden[0] if layout.hidden else [(0, 0)] * len(layout)
    for branches, rows in groupby(range(len(layout)), lambda row: bool(inside[row][1])):
        key = layout.position_ids.__getitem__ if branches else None
        order += sorted(rows, key=key)
    return order


def show_trace(
    prompt: str,
    trace: Trace,
    options: LayoutOptions,
    tokenizer: object = None,
    dialect: str = "native",
    by_pass: bool = False,
) -> str:
    """Tree, then rows with positions and mask. dialect: native, or `paper`, whose layout has no
    options; by_pass: rows in the order of decoding."""
    from pbranch.format.markers import find_markers
    from pbranch.hf.segment_codec import SegmentCodec

    codec = SegmentCodec(tokenizer) if tokenizer is not None else WordCodec()
    ids = find_markers(tokenizer) if tokenizer is not None else WORD_MARKERS
    prompt_ids = codec.encode(prompt or "(prompt)")
    if dialect == "paper":
        layout = paper_layout(prompt_ids, trace, codec)  # type: ignore[arg-type]
    else:
        layout = build_layout(prompt_ids, trace, codec, ids, options=options)  # type: ignore[arg-type]
    names = {i: MARKERS[Role(role)] for role, i in ids.as_dict().items()}
    labels = [names.get(t) or repr(codec.decode([t]))[1:-1] for t in layout.token_ids]
    order = order_by_pass(layout) if by_pass else None
    return f"{draw_tree(trace)}\n\n{draw_mask(layout, labels, order=order)}"


WORD_MARKERS = MarkerIds(fork=0, topic=1, spawn=2, branch=3, end=4, join=5)


class WordCodec:
    """Words as tokens: enough to draw a trace without a tokenizer."""

    def __init__(self) -> None:
        self.words: list[str] = list(MARKERS.values())

    def encode(self, text: str) -> list[int]:
        """Ids of the words of `text`, each with the space before it."""
        found = split_words(text)
        self.words += [w for w in dict.fromkeys(found) if w not in self.words]
        return [self.words.index(w) for w in found]

    def decode(self, ids: list[int]) -> str:
        """The words of `ids`."""
        return "".join(self.words[i] for i in ids)
