"""Histograms hold what was counted; a mask's runs say what the visibility rule says."""

from collections import Counter
from statistics import median

from hypothesis import given
from hypothesis import strategies as st
from pdata.report import charts
from pdata.report.charts import draw_histogram, draw_mask
from pdata.report.statistics import find_median, value_at

from pbranch.format.tree import Fork, make_trace
from tests.support.strategies import traces

NUMBERS = st.lists(st.integers(-300, 100_000) | st.integers(0, 12), min_size=1)
PAIR = Fork(("p", "q"), (make_trace("p is 1"), make_trace("q is 2")))
NESTED = make_trace("Go ", Fork(("A", "B"), (make_trace("A has ", PAIR, " so"), make_trace("B 4"))))


@given(NUMBERS)
def test_counted_numbers_have_their_median(numbers):
    counts = Counter(numbers)
    assert find_median(counts) == median(numbers)
    assert [value_at(counts, i) for i in range(1, len(numbers) + 1)] == sorted(numbers)


@given(NUMBERS, st.sampled_from([1, 100]))
def test_bars_hold_every_number(numbers, scale):
    chart = draw_histogram(Counter(numbers), scale)
    assert sum(bar.count for bar in chart.bars) == chart.total == len(numbers)
    assert abs(sum(bar.share for bar in chart.bars) - 1) < 1e-9
    edge = charts.LEFT
    for bar in chart.bars:
        assert edge < bar.x and bar.x + bar.width < charts.RIGHT
        assert charts.TOP <= bar.y < bar.y + bar.height <= charts.BOTTOM + 1e-9
        edge = bar.x + bar.width
    assert all(charts.LEFT <= t.at <= charts.RIGHT for t in (*chart.x_ticks, chart.median))
    assert 1 <= len(chart.x_ticks) <= charts.TICKS + 1 and len(chart.y_ticks) <= 6


def test_bars_by_hand():
    chart = draw_histogram(Counter({2: 5, 3: 1, 6: 2}))
    assert [(bar.name, bar.count) for bar in chart.bars] == [("2", 5), ("3", 1), ("6", 2)]
    assert chart.median.text == "2" and [t.text for t in chart.y_ticks] == ["0", "2", "4", "6"]
    wide = draw_histogram(Counter(dict.fromkeys(range(100), 1)))
    assert wide.bars[0].name == "0 to 4" and wide.bars[-1].name == "95 to 99"
    ratio = draw_histogram(Counter({100: 1, 250: 1}), 100)
    assert [bar.name for bar in ratio.bars] == ["1 to under 1.1", "2.5 to under 2.6"]
    tail = draw_histogram(Counter({**dict.fromkeys(range(10), 100), 5000: 1}))
    assert tail.bars[-1].name == "9 and more" and tail.bars[-1].count == 101
    assert draw_histogram(Counter()) is None


def test_mask_by_hand():
    mask = draw_mask(NESTED)
    assert mask.branches == [(1, "A"), (2, "p"), (3, "q"), (4, "B")] and not mask.cut
    assert [row.role for row in mask.rows if row.role].count("branch") == 4
    at = {(row.word, row.tone): i for i, row in enumerate(mask.rows)}
    seen = {(r.row, k): r.seen for r in mask.runs for k in range(r.start, r.stop)}
    assert not seen[at["2", 3], at["1", 2]] and not seen[at["4", 4], at["has", 1]]
    assert seen[at["so", 1], at["1", 2]] and seen[at["4", 4], at["Go", 0]]


@given(traces(depth=2))
def test_any_mask_can_be_drawn(trace):
    mask = draw_mask(trace)
    assert 0 < len(mask.rows) <= charts.ROWS
    for q in range(len(mask.rows)):
        runs = [run for run in mask.runs if run.row == q]
        assert [r.start for r in runs] == [0, *(r.stop for r in runs[:-1])]
        assert runs[-1].stop == q + 1 and runs[-1].seen


def test_long_traces_are_shortened():
    topics = tuple(f"item {i}" for i in range(30))
    long = Fork(topics, tuple(make_trace(f"{t} " + "word " * 50) for t in topics))
    mask = draw_mask(make_trace("Go " * 90, long))
    assert mask.cut and len(mask.branches) >= 3
    assert mask.rows[-1].role == "join"
