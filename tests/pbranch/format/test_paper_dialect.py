"""The paper's dialect: written and read back, and laid out as in the paper's figure 1."""

import re

from hypothesis import given
from hypothesis import strategies as st
from pdata.sources.dialects import read_dialect

from pbranch.format.layout import LayoutOptions
from pbranch.format.paper_dialect import GAP, paper_layout, write_paper
from pbranch.format.show import SEEN, order_by_pass, show_trace
from pbranch.format.tree import Fork, make_trace
from pbranch.format.visibility import sees
from tests.support.layout_oracle import LetterCodec

CODEC = LetterCodec()
WORDS = st.text("abc ", min_size=1, max_size=6).map(str.strip).filter(bool)


def make_block(titles, bodies):
    branches = tuple(make_trace(f"{t}:{b}") for t, b in zip(titles, bodies, strict=True))
    return Fork(tuple(titles), branches, GAP)


@given(WORDS, st.lists(st.tuples(WORDS, WORDS), min_size=2, max_size=4), WORDS)
def test_what_is_written_is_read_back(lead, steps, tail):
    trace = make_trace(f"{lead}\n", make_block(*zip(*steps, strict=True)), f"{GAP}{tail}")
    written = write_paper(trace)
    assert read_dialect(written.replace(f"####%%%%{GAP}", "####%%%%"), "paper") == trace


def test_figure_1_of_the_paper():
    """Five rows, then four branches of three rows each, a row of each a pass: row r sees column c
    iff c < 5 or (c - 5) mod 4 == (r - 5) mod 4, and its position is 5 + (r - 5) div 4."""
    trace = make_trace(make_block("abcd", [""] * 4))  # mark, title, colon: here seven letters each
    layout = paper_layout([1, 2, 3, 4, 5], trace, CODEC)
    order, n, rows = order_by_pass(layout), 4, 6
    for r in range(5 + n * rows):
        q = order[r]
        assert layout.position_ids[q] == (r if r < 5 else 5 + (r - 5) // n)
        for c in range(r + 1):
            rule = c < 5 or (r >= 5 and (c - 5) % n == (r - 5) % n)
            assert sees(layout, q, order[c]) == rule
    # then the same text in one line, behind the first five rows alone
    copies = range(5 + n * rows, len(layout))
    assert order[copies.start :] == list(copies)
    assert [layout.position_ids[q] for q in copies] == list(range(5, 5 + len(copies)))
    for q in copies:
        seen = [k for k in range(q + 1) if sees(layout, q, k)]
        assert seen == [*range(5), *range(copies.start, q + 1)]


def test_figure_1_is_what_show_prints():
    trace = make_trace(make_block(["one", "two", "six", "ten"], [" a", " b", " c", " d"]))
    picture = show_trace("p q r s t", trace, LayoutOptions(), dialect="paper", by_pass=True)
    lines = [x for x in picture.splitlines() if re.match(r" +\d+ +\d+  ", x)]
    positions = [int(line.split()[1]) for line in lines]
    assert positions[: 5 + 4 * 3] == [0, 1, 2, 3, 4, *[5] * 4, *[6] * 4, *[7] * 4]
    for r, line in enumerate(lines[5 : 5 + 4 * 3]):
        cells = re.split(r"  +", line)[-1]
        expected = [SEEN if c < 5 or (c - 5) % 4 == r % 4 else "·" for c in range(r + 6)]
        assert cells == "".join(expected)
