"""What a stream looks like on a terminal: a line a branch, never wider than the screen."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from pinfer.commands.live_view import BranchView
from pinfer.output.events import BranchEnded, BranchStarted, Joined, TokenEvent

A, B, DEEP = ((0, 0),), ((0, 1),), ((0, 0), (0, 0))


def shown(view, width=40, height=20):
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(view, end="")
    return console.file.getvalue().splitlines()


def fed(*events):
    view = BranchView()
    for event in events:
        view.feed(event)
    return view


def branch(lane, topic, text, ended=False):
    events = [BranchStarted(lane, topic), TokenEvent(lane, topic), TokenEvent(lane, text)]
    return [*events, BranchEnded(lane)] if ended else events


def test_a_line_a_branch_between_the_texts_of_the_trunk():
    view = fed(
        TokenEvent((), "Let me check each."),
        *branch(A, "Ann", ": 4.1, too high.", ended=True),
        *branch(B, "Bob", ": 3"),
        TokenEvent(B, ".3"),
    )
    assert shown(view) == ["Let me check each.", "✓ Ann: 4.1, too high.", "│ Bob: 3.3"]
    for event in (BranchEnded(B), Joined(()), TokenEvent((), "Only Bob.")):
        view.feed(event)
    assert shown(view)[2:] == ["✓ Bob: 3.3", "Only Bob."]


def test_a_nested_branch_is_indented_below_its_parent():
    view = fed(
        *branch(A, "Ann", ": two parts."), *branch(B, "Bob", ":"), *branch(DEEP, "x", " = 1")
    )
    assert shown(view) == ["│ Ann: two parts.", "  │ x = 1", "│ Bob:"]


def test_a_long_branch_shows_its_newest_end():
    (line,) = shown(fed(*branch(A, "Ann", ": " + "word " * 30 + "last")), width=30)
    assert line.startswith("│ Ann … ") and line.endswith("word last") and len(line) == 30


def test_what_does_not_fit_scrolls_away_at_the_top():
    events = [e for i in range(30) for e in branch(((0, i),), f"t{i}", ": x")]
    lines = shown(fed(*events), height=10)
    assert len(lines) == 9 and lines[-1] == "│ t29: x"


@settings(max_examples=80)
@given(
    texts=st.lists(st.text(max_size=60), min_size=1, max_size=4),
    width=st.integers(4, 50),
    ended=st.booleans(),
)
def test_no_line_is_wider_than_the_screen(texts, width, ended):
    events = [TokenEvent((), texts[0])]
    for i, text in enumerate(texts):
        events += branch(((0, i),), text[:7], text, ended)
    lines = shown(fed(*events), width=width)
    assert all(cell_len(line) <= width for line in lines)


@pytest.mark.parametrize("text", ["\x1b[2J", "\x07", "\r", "\x9b31m", "a\x00b"])
def test_what_a_model_writes_does_not_steer_the_terminal(text):
    (line,) = shown(fed(TokenEvent((), text + ".")))
    assert all(c.isprintable() for c in line)
