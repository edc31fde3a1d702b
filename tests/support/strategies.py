"""Hypothesis strategies: ordinary text with traps in it, and random traces of any nesting."""

from hypothesis import strategies as st

from pbranch.format.markers import MARKERS
from pbranch.format.tree import Fork, Trace, make_trace

_SPELLED = list(MARKERS.values())
_PREFIX, _SUFFIX = _SPELLED[0][:2], _SPELLED[0][-2:]

# pieces of which marker spellings, escaped ones and near misses are made
MARKER_PIECES = [_PREFIX, _SUFFIX, "\\", "pb_", *(m[5:-2] for m in MARKERS.values())]
TRAPS = [
    *_SPELLED,
    *(m.replace("pb_", "\\pb_") for m in _SPELLED[:3]),
    *(m.replace("pb_", "\\\\\\pb_") for m in _SPELLED[3:]),
    "<|pb",
    "|>",
    "\\",
]
WORDS = ["a", "in range", " so", "4.09", "\n", "\n\n", "  ", "é", "你好", "。", "🙂", "▁", "\t"]
WORDS += ["👩‍👩‍👧"]  # one sign of five characters


def marker_soup() -> st.SearchStrategy[str]:
    """Text made of the pieces of markers: whole ones, escaped ones, torn ones."""
    return st.lists(st.sampled_from(MARKER_PIECES), max_size=14).map("".join)


def texts(traps: bool = True, min_size: int = 0) -> st.SearchStrategy[str]:
    """Ordinary text; with `traps` it may spell markers."""
    pieces = st.sampled_from([*WORDS, *TRAPS] if traps else WORDS)
    text = st.lists(pieces, min_size=min_size, max_size=5).map("".join)
    return st.one_of(text, marker_soup()) if traps and not min_size else text


@st.composite
def traces(
    draw: st.DrawFn,
    depth: int = 3,
    traps: bool = True,
    empty: bool = True,
    separators: bool = True,
    max_blocks: int = 2,
    max_branches: int = 3,
    topic: str = "",
) -> Trace:
    """A trace that starts with `topic`: nested to `depth`, blocks repeated on each level.

    traps: texts may spell markers; empty: topics, bodies and trunks may be empty.
    """
    words = texts(traps, 0 if empty else 1)
    parts: list[str | Fork] = [topic + draw(words)]
    for _ in range(draw(st.integers(0, max_blocks)) if depth else 0):
        topics = draw(st.lists(words, min_size=1, max_size=max_branches))
        if draw(st.booleans()):
            topics[-1] = topics[0]  # equal topics are legal
        branches = tuple(
            draw(traces(depth - 1, traps, empty, separators, 1, max_branches, t)) for t in topics
        )
        separator = draw(st.sampled_from(["\n", "", "; ", "\n\n"])) if separators else "\n"
        parts += [Fork(tuple(topics), branches, separator), draw(words)]
    return make_trace(*parts)
