"""Draws a trace as characters: its tree, and its rows with positions and mask.

Documentation, debugger and README figure in one. Runs without a model: with no tokenizer, words
stand for tokens.
"""

from collections.abc import Iterator

from pbranch.layout import Layout, LayoutOptions, build_layout
from pbranch.markers import MARKERS, MarkerIds, Role
from pbranch.tree import Segment, Trace
from pbranch.visibility import sees
from pbranch.words import split_words

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


def draw_mask(layout: Layout, labels: list[str], limit: int = 120) -> str:
    """One line a row: number, position, token, then a cell for each row that it could see."""
    n = min(len(layout), limit)
    width = max(len(label) for label in labels[:n])
    lines = [f"{'row':>4} {'pos':>4}  {'token':<{width}}  sees ({SEEN} yes, {HIDDEN} no)"]
    for q in range(n):
        cells = "".join(SEEN if sees(layout, q, k) else HIDDEN for k in range(q + 1))
        lines.append(f"{q:>4} {layout.position_ids[q]:>4}  {labels[q]:<{width}}  {cells}")
    if n < len(layout):
        lines.append(f"… {len(layout) - n} more rows")
    return "\n".join(lines)


def show_trace(prompt: str, trace: Trace, options: LayoutOptions, tokenizer: object = None) -> str:
    """Tree, then rows with positions and mask."""
    from pbranch.codec import SegmentCodec
    from pbranch.markers import find_markers

    codec = SegmentCodec(tokenizer) if tokenizer is not None else WordCodec()
    ids = find_markers(tokenizer) if tokenizer is not None else WORD_MARKERS
    layout = build_layout(codec.encode(prompt or "(prompt)"), trace, codec, ids, options=options)  # type: ignore[arg-type]
    names = {i: MARKERS[Role(role)] for role, i in ids.as_dict().items()}
    labels = [names.get(t) or repr(codec.decode([t]))[1:-1] for t in layout.token_ids]
    return f"{draw_tree(trace)}\n\n{draw_mask(layout, labels)}"


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
