"""Copied words find the sentences that they begin; what concludes is no part of a last branch."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdata.llm.outline import find_groups
from pdata.llm.proposal import Fault, split_sentences

LIST = "There are three.\n1. **Bus**: Ten minutes. Often.\n2. **Tram**: Eight.\n3. **Taxi**: Five."
STEPS = [("There are", 0), ("1. **Bus**", 1), ("2. **Tram**", 1), ("3. **Taxi**", 1)]


def find(steps: list[tuple[str, int]], text: str = LIST) -> list[list[tuple[int, int]]]:
    return find_groups(steps, split_sentences(text), "How do I get\nto the station?")


def test_a_step_ends_where_the_next_begins():
    assert find(STEPS) == [[(2, 3), (4, 4), (5, 5)]]


@pytest.mark.parametrize(
    "copy", ["**Tram**", "Tram**: Eight", "2. **Tram**: Eight. 3.", "2. **Tr…"]
)
def test_marks_may_be_left_out_and_a_copy_may_go_on(copy):
    assert find([*STEPS[:2], (copy, 1), STEPS[3]]) == [[(2, 3), (4, 4), (5, 5)]]


def test_quotation_marks_may_differ():
    text = 'Two:\n“Go”, he says.\n"Stop", she says.'
    assert find([("'Go', he", 1), ("“Stop”", 1)], text) == [[(2, 2), (3, 3)]]


LINES = "The cost of a big pack of ten pens is 5.\nThe cost of a big pack of two rolls is 4.\nSo 9."


def test_a_copy_that_goes_wrong_behind_its_first_letters_is_found():
    wrong = [
        ("the cost of a big pack of ten pens: $5", 1),
        ("The cost of a big pack of two rolls: 4", 1),
    ]
    assert find(wrong, LINES) == [[(1, 1), (2, 2)]]
    later = [
        ("The cost of a big pack of two rolls", 1),
        ("So", 1),
    ]  # a whole copy comes before a part
    assert find(later, LINES) == [[(2, 2), (3, 3)]]


def test_where_no_step_is_a_branch_nothing_is_looked_for():
    assert find([("Boat", 0), ("", 0)]) == []


def test_lost_words_matter_where_a_branch_begins_or_ends():
    assert find([("Boat", 0), *STEPS[1:]]) == find(STEPS)
    for place, group in ((1, 1), (2, 0)):
        with pytest.raises(Fault, match="not in the trace"):
            find([*STEPS[:place], ("Boat", group), *STEPS[place:]])


@pytest.mark.parametrize(
    "words", ["minutes. Often", "Minutes, often", "How do I get to the station?"]
)
def test_words_within_a_sentence_and_of_the_problem_begin_no_step(words):
    assert find([*STEPS[:2], (words, 0), *STEPS[2:]]) == [[(2, 3), (4, 4), (5, 5)]]


@pytest.mark.parametrize("steps", [[], STEPS[:1], STEPS[:2], [(words, 0) for words, _ in STEPS]])
def test_a_group_is_two_steps_at_least(steps):
    assert find(steps) == []


def test_numbers_tell_groups_apart():
    text = "Look.\nA: one.\nB: two.\nC: red.\nD: blue."
    steps = [("A", 1), ("B", 1), ("C", 2), ("D", 2)]
    assert find(steps, text) == [[(2, 2), (3, 3)], [(4, 4), (5, 5)]]


@pytest.mark.parametrize("copy", ["Boat", "There are three", "", "**"])
def test_words_that_do_not_follow_are_a_fault(copy):
    with pytest.raises(Fault):
        find([*STEPS[:3], (copy, 1)])


@pytest.mark.parametrize(
    "end, taken", [(" It is dear.", 6), ("\nSo take the bus.", 5), ("\n\nSo take the bus.", 5)]
)
def test_what_follows_a_larger_break_than_branches_have_concludes(end, taken):
    assert find(STEPS, LIST + end)[0][-1] == (5, taken)


def test_branches_of_several_lines_keep_theirs():
    text = "Two:\n\n# A\nOne.\nTwo.\n\n# B\nOne.\nTwo.\n\nThe end."
    assert find([("# A", 1), ("# B", 1)], text) == [[(2, 4), (5, 7)]]


@given(st.text("ab. \n1", max_size=40), st.lists(st.integers(0, 2), max_size=12))
def test_a_whole_outline_is_found_again(text, groups):
    sentences = split_sentences(text)
    steps = [(s, g) for s, g in zip(sentences, groups, strict=False) if s.strip(" \n.")]
    try:
        found = find_groups(steps, sentences, "")
    except Fault:
        return
    spans = [span for group in found for span in group]
    assert all(len(group) > 1 for group in found)
    assert all(1 <= first <= last <= len(sentences) for first, last in spans)
    assert all(a[1] < b[0] for a, b in pairwise(spans))
    for group in found:
        assert all(a[1] + 1 == b[0] for a, b in pairwise(group))
