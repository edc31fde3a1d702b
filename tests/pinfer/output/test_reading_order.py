"""Events become text in reading order, at a cost that grows as the text does."""

import sys

import pytest

from pinfer.output.events import BranchEnded, BranchStarted, Joined, TokenEvent
from pinfer.output.reading_order import InOrder


def long_answer(n):
    """Events of n tokens of text before a block, n in each of eight branches side by side, nested
    ones in the first, and n behind it; and their text."""
    lanes = [((0, i),) for i in range(8)]
    inner = [(*lanes[0], (0, i)) for i in range(2)]
    events = [TokenEvent((), "a ") for _ in range(n)]
    events += [BranchStarted(lane, "", "; ") for lane in lanes]
    events += [BranchStarted(lane, "") for lane in inner]
    events += [TokenEvent(lane, f"{lane[-1][1]} ") for _ in range(n) for lane in lanes[1:] + inner]
    events += [BranchEnded(lane) for lane in reversed(inner)] + [Joined(lanes[0])]
    events += [BranchEnded(lane) for lane in reversed(lanes)] + [Joined(())]
    events += [TokenEvent((), "z ") for _ in range(n)]
    first = "\n".join(f"{i} " * n for i in range(2))
    rest = [f"{i} " * n for i in range(1, 8)]
    return events, "a " * n + "; ".join([first, *rest]) + "z " * n


def count_lines(events):
    """(text, lines of Python that were run to make it of events)."""
    order, pieces, lines = InOrder(), [], 0

    def trace(frame, event, _):
        nonlocal lines
        lines += event == "line" and "reading_order" in frame.f_code.co_filename
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        for event in events:
            pieces.append(order.feed(event))
    finally:
        sys.settrace(previous)
    return "".join(pieces), lines


@pytest.mark.parametrize("n", [50, 500])
def test_every_event_is_looked_at_a_few_times(n):
    """Of ten times as many events, each costs the same."""
    events, wanted = long_answer(n)
    text, lines = count_lines(events)
    assert text == wanted
    assert lines < 25 * len(events)
