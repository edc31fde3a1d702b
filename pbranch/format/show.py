"""Draws a trace as characters: its tree, and its tokens with positions and mask, one a row.

Documentation, debugger and README figure in one. Runs without a model: with no tokenizer, words
stand for tokens.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Protocol

from pbranch.format.layout import NO_TARGET, Layout, LayoutOptions, TextEncoder, build_layout
from pbranch.format.markers import MARKERS, MarkerIds, Role
from pbranch.format.paper_dialect import paper_layout
from pbranch.format.tree import Segment, Trace
from pbranch.format.visibility import sees
from pbranch.format.words import split_words

ROWS = 120  # of a drawing, about
SEEN, HIDDEN, GAP = "█", "·", "┆"


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
    layout: Layout, labels: list[str], limit: int = ROWS, order: Sequence[int | str] | None = None
) -> str:
    """One row a token: number, position, text, then a cell for each token that it could see.
    order: of the tokens, where it is not that of the text; a text in it stands for tokens that are
    left out, rows and columns, and says so."""
    order = range(len(layout)) if order is None else order
    shown, n = order[:limit], len(order)
    width = max(len(labels[q]) for q in shown if isinstance(q, int))
    lines = [f"{'row':>4} {'pos':>4}  {'token':<{width}}  sees ({SEEN} yes, {HIDDEN} no)"]
    for i, q in enumerate(shown):
        if isinstance(q, str):
            lines.append(f"{'…':>4} {'…':>4}  {q}")
            continue
        cells = "".join(
            GAP if isinstance(k, str) else SEEN if sees(layout, q, k) else HIDDEN
            for k in shown[: i + 1]
        )
        lines.append(f"{q:>4} {layout.position_ids[q]:>4}  {labels[q]:<{width}}  {cells}")
    if limit < n:
        lines.append(f"… {n - limit} more rows")
    return "\n".join(lines)


def find_runs(layout: Layout, markers: MarkerIds) -> Iterator[tuple[range, str]]:
    """Tokens up to the next marker that opens something, and what they are. The last token of the
    prompt has the first target."""
    opens = {
        markers.fork: "outline",
        markers.topic: "topic",
        markers.spawn: "outline",
        markers.branch: "branch",
        markers.join: "text",
    }
    learned = (i for i, target in enumerate(layout.targets) if target != NO_TARGET)
    start, stop, name = 0, next(learned, len(layout) - 1) + 1, "prompt"
    for i in range(stop, len(layout)):
        opened = opens.get(layout.token_ids[i])
        if i == stop or opened:
            if start < i:
                yield range(start, i), name
            start, name = i, opened or "text"
    yield range(start, len(layout)), name


def fold_runs(runs: Sequence[tuple[range, str]], limit: int) -> list[int | str]:
    """An order for `draw_mask` of about `limit` rows: of each run of tokens the first and the last,
    as many of all runs and two at least, and for those between a text, `… 640 tokens of NAME`."""
    most = max(len(tokens) for tokens, _ in runs)
    ends = next(k for k in range(most, 0, -1) if k <= 2 or _count_rows(runs, k) <= limit)
    order: list[int | str] = []
    for tokens, name in runs:
        left_out = len(tokens) - 2 * ends
        if left_out <= 1:
            order += tokens
        else:
            order += [*tokens[:ends], f"… {left_out} tokens of {name}", *tokens[-ends:]]
    return order


def _count_rows(runs: Sequence[tuple[range, str]], ends: int) -> int:
    return sum(min(len(tokens), 2 * ends + 1) for tokens, _ in runs)


def order_by_pass(layout: Layout) -> list[int]:
    """Tokens in the order in which they are decoded: one of each branch of a block, and so on.
    Blocks inside branches are not told apart."""
    order: list[int] = []
    inside = layout.hidden[0] if layout.hidden else [(0, 0)] * len(layout)
    for branches, tokens in groupby(range(len(layout)), lambda i: bool(inside[i][1])):
        key = layout.position_ids.__getitem__ if branches else None
        order += sorted(tokens, key=key)
    return order


class TextCodec(TextEncoder, Protocol):
    """An encoder that can also decode."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids in the middle of a sequence."""
        ...


def show_trace(
    prompt: str,
    trace: Trace,
    options: LayoutOptions,
    codec: TextCodec | None = None,
    markers: MarkerIds | None = None,
    *,
    dialect: str = "native",
    by_pass: bool = False,
) -> str:
    """Tree, then tokens with positions and mask. codec and markers: a tokenizer's, else words are
    the tokens; dialect: native, or `paper`, whose layout has no options; by_pass: tokens in the
    order of decoding."""
    codec, markers = codec or WordCodec(), markers or WORD_MARKERS
    prompt_ids = codec.encode(prompt or "(prompt)")
    if dialect == "paper":
        layout = paper_layout(prompt_ids, trace, codec)
    else:
        layout = build_layout(prompt_ids, trace, codec, markers, options=options)
    names = {i: MARKERS[Role(role)] for role, i in markers.as_dict().items()}
    labels = [names.get(t) or repr(codec.decode([t]))[1:-1] for t in layout.token_ids]
    order = order_by_pass(layout) if by_pass else None
    return f"{draw_tree(trace)}\n\n{draw_mask(layout, labels, order=order)}"


WORD_MARKERS = MarkerIds(fork=0, topic=1, spawn=2, branch=3, end=4, join=5)


class WordCodec:
    """Words as tokens: enough to draw a trace without a tokenizer."""

    def __init__(self) -> None:
        self.vocabulary: list[str] = list(MARKERS.values())

    def encode(self, text: str) -> list[int]:
        """Ids of the words of `text`, each with the space before it."""
        words = split_words(text)
        self.vocabulary += [w for w in dict.fromkeys(words) if w not in self.vocabulary]
        return [self.vocabulary.index(w) for w in words]

    def decode(self, ids: Sequence[int]) -> str:
        """The words of `ids`."""
        return "".join(self.vocabulary[i] for i in ids)
