"""What a stream looks like on a terminal: a line a branch, never wider than the screen."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from pbranch.console import printable
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


def test_text_stays_as_it_is():
    """Joiners, marks of direction, spaces of any width, soft hyphens and tabs are text."""
    text = "10 € — 👩‍👩‍👧 می‌خواهم\u200f\u3000a\u00adb\u2028c\td\u2060\ue000"
    assert printable(text) == text
    assert printable("a\r\nb") == "a\nb"
    codes = [chr(i) for i in range(0x110000) if printable(chr(i)) != chr(i)]
    reversing = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
    steering = [*range(32), *range(127, 160), *reversing, *range(0xD800, 0xE000)]
    assert codes == [c for c in map(chr, steering) if c not in "\t\n"]


def test_of_a_long_text_the_newest_lines_are_cut(monkeypatch):
    """What a frame costs does not grow with the text."""
    from rich.text import Text

    cut, wrap = [], Text.wrap

    def counted(text, *args, **options):
        cut.append(len(text))
        return wrap(text, *args, **options)

    monkeypatch.setattr(Text, "wrap", counted)
    view = fed(*[TokenEvent((), f"{i} ") for i in range(20_000)])
    assert shown(view)[-1].endswith(" 19999 ") and max(cut) == 19 * 40
