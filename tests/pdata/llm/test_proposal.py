"""Proposals as trees: every character stays, edits change no number, topics tell nothing."""

import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdata.llm.proposal import Branch, Edit, Fault, build_trace, split_sentences
from pdata.rules.dependence.independence import find_dependence
from pdata.rules.prompt import Prompt
from rapidfuzz.distance import Levenshtein

from pbranch.format.tree import Fork, plain_text
from tests.pdata.build.test_pipeline import distance

TEXT = "First some words.\n\nCase 1: x is 3, so 3 + 4 = 7.\n\nCase 2: as in Case 1, it is 9.\nDone."


def build(*branches: Branch, text: str = TEXT, prompt: str = "Is it 3 or 9?"):
    return build_trace(split_sentences(text), [branches], prompt)[0]


def test_branches_keep_every_character():
    tree = build(Branch("Case 1", 2, 2), Branch("Case 2", 3, 3))
    assert plain_text(tree) == TEXT
    fork = next(tree.forks())
    assert fork.topics == ("Case 1", "Case 2") and fork.separator == "\n\n"
    assert isinstance(tree.parts[1], Fork)


def test_a_topic_that_copies_its_branch_is_cut_before_the_first_number_or_stop():
    copied = "On highways they used 210 / 35 = 6 gallons of gas."
    text = f"Both pay.\n- {copied}\n- In towns, 4 of it.\nDone."
    tree = build(Branch(copied, 2, 2), Branch("In towns", 3, 3), text=text)
    assert next(tree.forks()).topics == ("- On highways they used", "- In towns")
    assert plain_text(tree) == text


def test_an_edit_may_take_a_sibling_out_and_nothing_else():
    edit = Edit("as in Case 1, it", "it")
    tree = build(Branch("Case 1", 2, 2), Branch("Case 2", 3, 3, (edit,)))
    assert plain_text(tree) == TEXT.replace("as in Case 1, it", "it")


@pytest.mark.parametrize(
    "edit, reason",
    [
        (Edit("it is 9", "it is 8"), "edit changes a number"),
        (Edit("it is 9", "it is"), "edit changes a number"),
        (Edit("it is 9", "it is 9, not 3"), None),  # the problem names 3
        (Edit("it is 9", "it is -9"), "edit changes a number"),
        (Edit("it is 9", "it = 9"), "edit changes a number"),
        (Edit("was 9", "is 9"), "edit does not fit"),
        (Edit("", "is 9"), "edit does not fit"),
        (Edit("i", "o"), "edit does not fit"),
    ],
)
def test_edits_change_no_number_and_no_sign(edit, reason):
    branches = Branch("Case 1", 2, 2), Branch("Case 2", 3, 3, (edit,))
    if reason is None:
        build(*branches)
        return
    with pytest.raises(Fault) as fault:
        build(*branches)
    assert fault.value.reason == reason


def test_numbers_keep_their_order():
    text = "Look.\nA: 3 is less than 5.\nB: it is so.\nDone."
    swap = (Edit("3 is less than 5", "5 is less than 3"),)
    with pytest.raises(Fault, match="changes a number"):
        build(Branch("A", 2, 2, swap), Branch("B", 3, 3), text=text, prompt="3 and 5")


@pytest.mark.parametrize(
    "topics, reason",
    [
        (("Case 1", "Case 1 "), "equal topics"),
        (("The case x is 3", "The case it is 7"), "unfit topic"),
        (("", "Case 2"), "unfit topic"),
        (("Case 1", "a topic that goes on for more than eight words"), "unfit topic"),
        (("Step 8", "Step 9"), None),
    ],
)
def test_topics_are_short_distinct_and_tell_nothing(topics, reason):
    branches = Branch(topics[0], 2, 2), Branch(topics[1].strip(), 3, 3)
    if reason is None:
        assert next(build(*branches).forks()).topics == topics
        return
    with pytest.raises(Fault) as fault:
        build(*branches)
    assert fault.value.reason == reason


def test_a_topic_names_its_own_branch():
    """As a small model does that counts from the introduction on."""
    text = "Two ways:\n1. **By bus**: it is warm.\n2. **By tram**: it is fast.\nDone."
    spans = [(2, 2), (3, 3)]
    with pytest.raises(Fault, match="'By bus' of branch 2 names branch 1"):
        build(
            *(Branch(t, *s) for t, s in zip(["Two ways", "By bus"], spans, strict=True)), text=text
        )
    topics = ["the bus", "the fast tram"]
    assert build(*(Branch(t, *s) for t, s in zip(topics, spans, strict=True)), text=text)


def test_what_stands_before_a_topic_in_its_line_is_part_of_it():
    text = "Two of them:\n1. **Red**: it is warm.\n2. **Blue**: it is cold.\nDone."
    tree = build(Branch("Red", 2, 2), Branch("Blue", 3, 3), text=text)
    assert next(tree.forks()).topics == ("1. **Red**", "2. **Blue**")
    assert plain_text(tree) == text


def test_a_title_in_bold_type_is_the_topic_whatever_the_model_says():
    text = "Two of them:\n1. **Red**: it is warm.\n2. **Blue**: it is cold.\nDone."
    tree = build(Branch("The warm one", 2, 2), Branch("The cold one", 3, 3), text=text)
    assert next(tree.forks()).topics == ("1. **Red**", "2. **Blue**")
    assert plain_text(tree) == text
    told = text.replace("Red", "7 of them")  # a number that the topics may not tell
    tree = build(Branch("The warm one", 2, 2), Branch("The cold one", 3, 3), text=told)
    assert next(tree.forks()).topics == ("1. The warm one", "2. **Blue**")


@pytest.mark.parametrize("letters", ["(a) (b)", "a) b)", "- (i) - (ii)"])
def test_a_topic_goes_behind_the_letter_of_its_item(letters):
    first, second = re.findall(r"(?:- )?\S+", letters)
    text = f"Both:\n{first} It is warm.\n{second} It is cold.\nDone."
    tree = build(Branch("Red", 2, 2), Branch("Blue", 3, 3), text=text)
    assert next(tree.forks()).topics == (f"{first} Red", f"{second} Blue")
    assert plain_text(tree) == text.replace("It", "Red: It", 1).replace(". It", ".", 1).replace(
        f"{second} It", f"{second} Blue: It"
    )


def test_a_title_that_holds_the_topic_is_the_topic():
    text = "Both:\nHeight of Ann: tall.\nHeight of Bert: they say that Ann: is small.\nDone."
    tree = build(Branch("Ann", 2, 2), Branch("Bert", 3, 3), text=text)
    assert next(tree.forks()).topics == ("Height of Ann", "Height of Bert")
    tree = build(Branch("tall", 2, 2), Branch("small", 3, 3), text=text)
    assert [b.lead[:13] for b in next(tree.forks()).branches] == ["tall: Height ", "small: Height"]


@pytest.mark.parametrize("end", ["</think>", "```"])
def test_a_branch_does_not_end_within_a_block_of_thinking_or_code(end):
    text = f"Two:\nA: one.\nB: two.\n{end}\nDone."
    with pytest.raises(Fault, match="wrong span"):
        build(Branch("A", 2, 2), Branch("B", 3, 4), text=text)
    assert build(Branch("A", 2, 2), Branch("B", 3, 3), text=text)


def test_a_block_stands_within_no_code():
    text = "Two:\n```\n# Read\na = 1\n# Write\nb = 2\n```\nDone."
    with pytest.raises(Fault, match="wrong span"):
        build(Branch("Read", 3, 4), Branch("Write", 5, 6), text=text)


@pytest.mark.parametrize(
    "spans, right",
    [
        ([(2, 2), (3, 3), (4, 5)], True),
        ([(2, 2), (3, 3)], False),
        ([(3, 3), (4, 5)], False),
        ([(1, 1), (2, 2)], False),
        ([(2, 2), (3, 3), (4, 4), (5, 5)], False),
    ],
)
def test_a_block_takes_all_items_of_a_list(spans, right):
    text = (
        "Three red:\n- A rose smells.\n- A tulip may not.\n- A lily may:\n  - The red lily.\nDone."
    )
    topics = ["Three red", "A rose", "A tulip", "A lily", "The red lily"]
    branches = [Branch(topics[first - 1], first, last) for first, last in spans]
    if right:
        assert plain_text(build(*branches, text=text)).count("-") == 4
        return
    with pytest.raises(Fault, match="part of a list"):
        build(*branches, text=text)


@pytest.mark.parametrize("signs", [("(a) ", "(b) ", "(c) "), ("一、", "二、", "三、")])
def test_lists_are_told_as_the_rules_tell_them(signs):
    items = ["A rose smells.", "A tulip may not.", "A lily does."]
    text = "Three:\n" + "\n".join(map("".join, zip(signs, items, strict=True)))
    branches = [Branch(" ".join(x.split()[:2]), n, n) for n, x in enumerate(items, 2)]
    assert len(next(build(*branches, text=text).forks()).branches) == 3
    with pytest.raises(Fault, match="part of a list"):
        build(*branches[:2], text=text)


def test_a_list_may_be_all_there_is():
    text = "1. A rose smells.\n\n2. A tulip may not."
    assert plain_text(build(Branch("A rose", 1, 1), Branch("A tulip", 2, 2), text=text)) == text


def test_a_title_alone_is_no_branch():
    text = "Two:\n**Red**\n**Blue**: it is cold.\nDone."
    with pytest.raises(Fault, match="empty body"):
        build(Branch("Red one", 2, 2), Branch("Blue", 3, 3), text=text)


def test_what_has_no_title_is_looked_at_from_its_first_word():
    text = "Two.\nIt is red and large.\nIn other words, it glows.\nDone."
    branches = [[Branch("The colour", 2, 2), Branch("What it means", 3, 3)]]
    _, (block,), (said,) = build_trace(split_sentences(text), branches, "")
    assert [step.text for step in said.steps] == text.split("\n")[1:3]
    assert find_dependence(said, Prompt("")) and not find_dependence(block, Prompt(""))
    titled = "Two.\nRed: it glows.\nBlue: then it is cold.\nDone."
    branches = [[Branch("Red", 2, 2), Branch("Blue", 3, 3)]]
    _, blocks, said_so = build_trace(split_sentences(titled), branches, "")
    assert blocks == said_so and find_dependence(blocks[0], Prompt("")) is None


def test_several_blocks():
    text = " Start.\nA: one.\nB: two.\n\nC: red.\nD: blue.\nE: end."
    blocks = [[Branch("A", 2, 2), Branch("B", 3, 3)], [Branch("C", 4, 4), Branch("D", 5, 5)]]
    tree, found, _ = build_trace(split_sentences(text), blocks, "")
    assert plain_text(tree) == text and len(list(tree.forks())) == 2
    assert [b.tail for b in found] == ["\n\nC: red.\nD: blue.\nE: end.", "\nE: end."]


@given(st.text("ab. \n!1A。$", max_size=60))
def test_sentences_are_the_text(text):
    sentences = split_sentences(text)
    assert "".join(sentences) == text
    assert all(s.strip() for s in sentences) or not text.strip()


@given(st.text("ab ", max_size=40), st.text("ab ", max_size=40))
def test_distance_is_the_textbook_one(a, b):
    assert Levenshtein.normalized_distance(a, b) == distance(a, b) / max(len(a), len(b), 1)


def test_distance_of_long_texts_is_quick():
    draw = random.Random(0)
    a = "".join(draw.choices("abcdefgh ", k=30_000))
    b = a[:1000] + "now" + a[1007:15_000] + a[15_200:-500] + "end" + a[-500:]
    began = time.monotonic()
    assert 200 / 30_000 < Levenshtein.normalized_distance(a, b) < 215 / 30_000
    assert time.monotonic() - began < 5
