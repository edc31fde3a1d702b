"""Tagged text and tree are exact inverses; malformed text raises FormatError with its offset."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pbranch.errors import BranchError, FormatError
from pbranch.format.markers import MARKER_PATTERN, MARKERS, escape, unescape
from pbranch.format.tagged_text import parse, render, separators_of
from pbranch.format.tree import Fork, make_trace, plain_text
from tests.support.strategies import marker_soup, texts, traces

F, T, S, B, E, J = MARKERS.values()
ABBREVIATED = dict(zip("FTSBEJ", MARKERS.values(), strict=True))


def tagged(pattern: str) -> str:
    """`F T{a} S …`: a capital letter is a marker, {…} is text, blanks between them are dropped."""
    pieces = re.finditer(r"\{(.*?)\}|([FTSBEJ])", pattern)
    return "".join(ABBREVIATED[p[2]] if p[2] else p[1] for p in pieces)


@given(traces())
def test_tree_to_text_and_back(trace):
    text = render(trace)
    assert parse(text, [f.separator for f in trace.all_forks()]) == trace
    assert render(parse(text)) == text
    if separators_of(trace) is None:
        assert parse(text) == trace


@given(traces())
def test_text_to_tree_and_back(trace):
    text = render(trace)
    assert render(parse(text, separators_of(trace))) == text


@given(st.one_of(marker_soup(), texts(), st.text()))
def test_any_text_without_active_markers_survives_a_round_trip(text):
    if MARKER_PATTERN.search(text) is None:
        assert render(parse(text)) == text
        assert escape(unescape(text)) == text
    assert unescape(escape(text)) == text
    assert MARKER_PATTERN.search(escape(text)) is None
    assert parse(escape(text)) == make_trace(text)


@given(marker_soup())
def test_parse_either_inverts_or_refuses(text):
    try:
        trace = parse(text)
    except FormatError as e:
        assert e.offset is not None and 0 <= e.offset <= len(text)
    else:
        assert render(trace) == text


@given(texts())
def test_escape_is_identity_without_marker_spellings(text):
    if "pb_" not in text:
        assert escape(text) == text


def test_escape_by_hand():
    assert escape(F) == F.replace("pb_", "\\pb_")
    assert escape(escape(F)) == F.replace("pb_", "\\\\pb_")
    assert unescape(F) == F  # an active marker has no backslash to lose
    assert escape("pb_fork |> <|pb_other|>") == "pb_fork |> <|pb_other|>"


def test_parse_by_hand():
    text = tagged("{Check:} F T{A} T{B} S B{A: 1} E B{B: 2} E J {Done}")
    assert text == f"Check:{F}{T}A{T}B{S}{B}A: 1{E}{B}B: 2{E}{J}Done"
    expected = make_trace(
        "Check:", Fork(("A", "B"), (make_trace("A: 1"), make_trace("B: 2"))), "Done"
    )
    assert parse(text) == expected
    assert plain_text(expected) == "Check:A: 1\nB: 2Done"


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "{plain}",
        "F T S B E J",  # empty topic, empty branch
        "F T{x} T{x} S B{x} E B{x} E J",  # equal topics
        "F T{x} S B{x} E J F T{y} S B{y} E J",  # blocks without text between them
        "F T{x} S B{x} F T{y} S B{y} E J E J",  # nested
        "F T{a} T S B{ab} F T S B E J F T S B E J E B{q} E J {end}",
    ],
)
def test_edge_cases_parse(pattern):
    text = tagged(pattern)
    assert render(parse(text)) == text


MALFORMED = [
    # the text up to | is sound, and the error stands there; a branch is judged as a whole
    ("unclosed fork, end of text", "{x}F|"),
    ("fork, then text", "{x}F{no}|T{a}S"),
    ("zero topics", "F|SBEJ"),
    ("fork in an outline", "FT{a}|FT{b}S"),
    ("outline never closed", "FT{a}T{b}|"),
    ("end in an outline", "FT{a}|E"),
    ("join in an outline", "FT{a}|J"),
    ("branch in an outline", "FT{a}|B"),
    ("no branch after spawn", "FT{a}S|"),
    ("text after spawn", "FT{a}S{ }|B{a}EJ"),
    ("end straight after spawn", "FT{a}S|E"),
    ("join straight after spawn", "FT{a}S|J"),
    ("branch never ended", "FT{a}SB{a: 1}|"),
    ("branch in a branch's text", "FT{a}SB{a}|B{a}EJ"),
    ("topic in a branch", "FT{a}SB{a}|T{b}EJ"),
    ("spawn in a branch", "FT{a}SB{a}|SEJ"),
    ("join instead of end", "FT{a}SB{a}|J"),
    ("missing join", "FT{a}SB{a}E|"),
    ("text between the last end and join", "FT{a}SB{a}E{no}|J"),
    ("text between branches", "FT{a}T{b}SB{a}E{no}|B{b}EJ"),
    ("a branch too few", "FT{a}T{b}SB{a}E|J"),
    ("a branch too many", "FT{a}SB{a}E|B{b}EJ"),
    ("branch does not start with its topic", "FT{a}S|B{b}EJ"),
    ("second branch does not start with its topic", "FT{a}T{b}SB{a}E|B{a}EJ"),
    ("empty branch of a topic", "FT{a}S|BEJ"),
    ("topic completed only after a nested fork", "FT{ab}S|B{a}FTSBEJ{b}EJ"),
    ("nested block never joined", "FT{a}SB{a}FT{b}SB{b}E|EJ"),
    ("end in the trunk", "{x}|E"),
    ("join in the trunk", "{x}|J"),
    ("topic in the trunk", "{x}|T{a}"),
    ("spawn in the trunk", "{x}|S"),
    ("branch in the trunk", "{x}|B{a}E"),
    ("second join", "FTSBEJ|J"),
    ("second block broken", "FTSBEJ{ok}F|J"),
]


@pytest.mark.parametrize("pattern", [p for _, p in MALFORMED], ids=[n for n, _ in MALFORMED])
def test_malformed_text_raises_with_its_offset(pattern):
    sound, rest = pattern.split("|")
    with pytest.raises(FormatError) as caught:
        parse(tagged(sound) + tagged(rest))
    found = caught.value
    assert found.offset == len(tagged(sound))
    assert f"(at character {found.offset})" in str(found)
    assert isinstance(found, BranchError)


@given(traces(depth=2), st.data())
def test_a_dropped_or_doubled_marker_never_parses_to_the_same_tree(trace, data):
    text = render(trace)
    marks = list(MARKER_PATTERN.finditer(text))
    if not marks:
        return
    mark = data.draw(st.sampled_from(marks))
    instead = data.draw(st.sampled_from(["", mark[0] * 2]))
    changed = text[: mark.start()] + instead + text[mark.end() :]
    with pytest.raises(FormatError) as caught:
        parse(changed)
    assert caught.value.offset is not None


def test_separators_travel_beside_the_text():
    inner = Fork(("",), (make_trace(),), "in")
    outer = Fork(("a", "b"), (make_trace("a", inner), make_trace("b")), "out")
    trace = make_trace(outer, Fork(("c",), (make_trace("c"),), "last"))
    assert separators_of(trace) == ["out", "in", "last"]  # a fork before those inside it
    assert parse(render(trace), ["out", "in", "last"]) == trace
    for wrong in ([], ["out"], ["out", "in"], ["out", "in", "last", "more"]):
        with pytest.raises(FormatError, match="separators"):
            parse(render(trace), wrong)


@example(text=F)
@given(texts())
def test_spelled_markers_in_text_are_inert(text):
    trace = make_trace("x" + text, Fork((text,), (make_trace(text + "!"),)), "y" + text)
    assert parse(render(trace)) == trace
    assert MARKER_PATTERN.findall(render(trace)) == [role.value for role in MARKERS]
