"""The tree's normal form and its plain text."""

import dataclasses

import pytest
from hypothesis import given

from pbranch.errors import FormatError
from pbranch.format.tagged_text import parse, render
from pbranch.format.tree import (
    SEPARATOR,
    Fork,
    Segment,
    Trace,
    make_trace,
    plain_text,
    with_default_separators,
)
from tests.support.strategies import texts, traces


def test_normal_form_is_checked_on_construction():
    with pytest.raises(FormatError, match="empty"):
        Segment("")
    with pytest.raises(FormatError, match="two segments"):
        Trace((Segment("a"), Segment("b")))
    with pytest.raises(FormatError, match="no topics"):
        Fork((), ())
    with pytest.raises(FormatError, match="2 topics and 1 branches"):
        Fork(("a", "b"), (make_trace("a"),))
    with pytest.raises(FormatError, match="branch 2 starts with 'a', expected topic 'b'"):
        Fork(("a", "b"), (make_trace("a"), make_trace("a")))
    with pytest.raises(FormatError, match="expected topic 'ab'"):  # a topic may not span a fork
        inner = Fork(("",), (make_trace(),))
        Fork(("ab",), (make_trace("a", inner, "b"),))


def test_make_trace_joins_neighbours_and_drops_empty_text():
    fork = Fork(("t",), (make_trace("t"),))
    trace = make_trace("", "a", Segment("b"), "", fork, "", fork, "c")
    assert trace.parts == (Segment("ab"), fork, fork, Segment("c"))
    assert make_trace().parts == make_trace("").parts == ()


def test_values_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Segment("a").text = "b"  # type: ignore[misc]
    assert not hasattr(make_trace("a"), "__dict__")


def test_lead_depth_and_forks():
    inner = Fork(("x",), (make_trace("x"),))
    outer = Fork(("a", "b"), (make_trace("a", inner, "z"), make_trace("b")))
    last = Fork(("",), (make_trace(),))
    trace = make_trace("lead", outer, "tail", last)
    assert (trace.lead, make_trace(outer).lead, make_trace().lead) == ("lead", "", "")
    assert (trace.depth, make_trace("a").depth, make_trace(last).depth) == (2, 0, 1)
    assert list(trace.forks()) == [outer, last]
    assert list(trace.all_forks()) == [outer, inner, last]


def test_plain_text_by_hand():
    inner = Fork(("i", "j"), (make_trace("i1"), make_trace("j2")), "; ")
    outer = Fork(("a", "b"), (make_trace("a: ", inner, "."), make_trace("b")), "\n\n")
    trace = make_trace("Do: ", outer, " Done")
    assert plain_text(trace) == "Do: a: i1; j2.\n\nb Done"
    assert plain_text(make_trace(Fork(("",), (make_trace(),)))) == ""


@given(traces())
def test_plain_text_holds_all_segments_in_order_and_nothing_else(trace):
    def walk(t):
        for part in t.parts:
            if isinstance(part, Segment):
                yield part.text
            else:
                for i, branch in enumerate(part.branches):
                    yield from ((part.separator,) if i else ())
                    yield from walk(branch)

    assert plain_text(trace) == "".join(walk(trace))


@given(texts())
def test_a_linear_trace_is_its_own_plain_text(text):
    assert plain_text(make_trace(text)) == text


@given(traces())
def test_default_separators_leave_the_plain_text(trace):
    """What tagged text alone says, wherever separators end with the default one."""
    found = with_default_separators(trace)
    assert plain_text(found) == plain_text(trace)
    if all(fork.separator.endswith(SEPARATOR) for fork in trace.all_forks()):
        assert parse(render(found)) == found
    if all(fork.separator == SEPARATOR for fork in trace.all_forks()):
        assert found == trace
