"""Lists of two levels are not taken for one, and a list is not forked without its last items."""

import pytest
from pdata.rules.rewriter import rewrite

from tests.support.forks import trunk_forks

LONG = "which is told at length in the old book about this valley and its people"
PROMPT = "Tell me about it."


def forks(text: str, prompt: str = PROMPT) -> list[list[str]]:
    return trunk_forks(text, prompt)


@pytest.mark.parametrize(
    ("marks", "section"),
    [
        (["  A.", "  B.", "  C.", "  D."], "V."),
        (["A.", "B.", "C.", "D."], "V."),
        (["A.", "B.", "C."], "IV."),
        (["    (a)", "    (b)"], "II."),
    ],
)
def test_the_next_section_is_no_item(marks: list[str], section: str) -> None:
    things = ["the mill", "some caves", "one tower", "old boats"]
    items = [f"{m} {t} stands there, {LONG}." for m, t in zip(marks, things, strict=False)]
    text = "Things to see\n" + "\n".join(items) + f"\n\n{section} Things to eat in this valley"
    (branches,) = forks(text)
    assert [b.strip() for b in branches] == [item.strip() for item in items]


@pytest.mark.parametrize(
    "marks",
    [
        ["I.", "II.", "III."],
        ["(i)", "(ii)", "(iii)"],
        ["(iii)", "(iv)", "(v)"],
        ["(a)", "(b)", "(c)"],
        ["G.", "H.", "I."],
        ["(g)", "(h)", "(i)"],
    ],
)
def test_numerals_and_letters_go_on(marks: list[str]) -> None:
    things = ["the mill", "some caves", "one tower"]
    steps = [f"{m} {t} stands there, {LONG}." for m, t in zip(marks, things, strict=True)]
    assert forks("\n".join(steps)) == [steps]


@pytest.mark.parametrize(
    "lines",
    [
        [f"- The mill: it is old, {LONG}. For example:", f"- A wheel, {LONG}.",
         f"- The cave: it is deep, {LONG}. For example:", f"- A lake, {LONG}."],
        [f"- The mill is old, {LONG}, e.g.,", f"- a wheel, {LONG}.",
         f"- The cave, {LONG}, e.g.,", f"- a lake, {LONG}."],
        [f"1. The mill is old, {LONG}, with:", f"2. One wheel, {LONG}.", f"3. Doors, {LONG}."],
        [f"- 磨坊很老，{LONG}。例如：", f"- 轮子，{LONG}。", f"- 山洞，{LONG}。例如：",
         f"- 湖，{LONG}。"],
        [f"**The mill** is old, {LONG}. See here:", f"**The wheel** turns, {LONG}.",
         f"**The cave** is deep, {LONG}."],
    ],
)  # fmt: skip
def test_what_is_announced_is_no_sibling(lines: list[str]) -> None:
    assert forks("There is this.\n\n" + "\n\n".join(lines)) == []


@pytest.mark.parametrize(
    "marks",
    [
        ["(1)", "(2)(i)", "(2)(ii)"],
        ["1. ", "2. (a)", "2. (b)"],
        ["（1）", "（2）①", "（2）②"],
        ["(1)(i)", "(1)(ii)", "(2)"],
    ],
)
def test_an_item_is_not_cut_in_two(marks: list[str]) -> None:
    things = ["The mill", "A cave", "One tower"]
    steps = [f"{m}{t} stands there, {LONG}." for m, t in zip(marks, things, strict=True)]
    assert forks("\n\n".join(steps)) == []


@pytest.mark.parametrize(
    ("last", "rest"),
    [
        (
            f"(2) The cave is deep, {LONG}. It is as follows:",
            "A door leads in.\n\nThen a hall comes.",
        ),
        ("（2）山洞很深，有很多人来看它。具体步骤如下：", "先进门，再下楼梯。\n\n然后到湖边。"),
        (f"(2) The cave is deep, {LONG}. Here is how:", "A door leads in, and then a hall comes."),
        (
            f"(2) The cave is deep, {LONG}. The steps are as follows.",
            "Go in, and then look around.",
        ),
        ("（2）山洞很深，有很多人来看它，做法如下。", "先进门，再下楼梯，然后到湖边。"),
        # a part of it
        (f"(2) (i) The cave is deep, {LONG}.", f"(ii) The lake is cold, {LONG}."),
        (f"(2) ① The cave is deep, {LONG}.", f"② The lake is cold, {LONG}."),
        (f"(2) The cave is deep, {LONG}.", f"2.1 The lake is cold, {LONG}."),
        # it breaks off
        (f"(2) The cave is deep, {LONG}.", "(3)"),
        (f"(2) The cave is deep, {LONG}.", "**3. The"),
        ("(2) The cave has these:", ""),
        ("(2) The", ""),
        ("(2) Let's look at", ""),
        # a case that goes on
        (f"(2) Else there is a cave, {LONG}.", "In the case where it is deep, bring a lamp."),
        (f"(2) Else there is a cave, {LONG}.", "In the latter case, there may be a lake."),
    ],
)
def test_the_last_step_goes_on_or_breaks_off(last: str, rest: str) -> None:
    first = f"(1) There may be a mill, {LONG}, and many more books, {LONG}."
    assert forks(f"{first}\n\n{last}\n\n{rest}".rstrip()) == []


@pytest.mark.parametrize(
    ("words", "further"),
    [
        (("首先，", "其次，"), "于工资方面，它也很低。"),
        (("首先，", "其次，"), "至于工资，它也很低。"),
        (("First, ", "Second, "), "As for the wages, they are low as well."),
        (("First, ", "Second, "), "Another reason is the wages, which are low as well."),
        (("Firstly, ", "Secondly, "), "When it comes to wages, they are low as well."),
    ],
)
def test_a_further_point_without_its_number(words: tuple[str, str], further: str) -> None:
    steps = [f"{w}the {t} is old, {LONG}." for w, t in zip(words, ("mill", "cave"), strict=True)]
    assert forks("\n\n".join([*steps, further])) == []
    assert forks("\n\n".join([*steps, "总的来说，都很老。"])) == [steps]


@pytest.mark.parametrize(
    "starts",
    [
        ("Ada Lind and Tom Berg", "Lind and Berg"),
        ("Ada Lind was old and", "Lind was"),
        ("Ada Lind and Tom Berg", "Tom Berg and Ada Lind"),
    ],
)
def test_paragraphs_on_the_same_names_are_no_list(starts: tuple[str, str]) -> None:
    told = [f"{s} lived there, {LONG}." for s in starts]
    text = "\n\n".join([*told, f"The two of them went away, {LONG}."])
    assert forks(text, "Tell me about Ada Lind and Tom Berg.") == []


@pytest.mark.parametrize(
    "lines",
    [
        ["D1: 14.40 / 1.15 = 12.52", "D2: 17.28 / 1.32 = 13.09", "D3: 20.73 / 1.52 ≈ 13.63"],
        ["Rent: 14 * 12 = 168", "Food: 30 * 11 = 330", "Fuel: 31 / 7 ≈ 4.43"],
        ["Fuel: 31 / 7 ≈ 4.43", "Rent: 14 * 12 = 168", "Food: 30 * 11 = 330"],
    ],
)
def test_a_rounded_line_is_left_out(lines: list[str]) -> None:
    assert forks("Now:\n\n" + "\n\n".join(lines), "How much is it?") == []


def test_an_afterthought_on_the_last_option() -> None:
    options = [
        f"{x}. The {t}. It is there, {LONG}." for x, t in zip("AB", ("mill", "cave"), strict=True)
    ]
    prompt = "Which? A. The mill B. The cave"
    text = "\n\n".join(options) + " Wait, it is new. So B may be wrong.\n\nI am not sure."
    ((_, last),) = forks(text, prompt)
    assert last.endswith("So B may be wrong.")
    text = text.replace("So B may", "So A or B may")
    ((_, last),) = forks(text, prompt)
    assert last == options[1]


@pytest.mark.parametrize("word", ["If", "When", "Suppose"])
def test_cases_among_equations(word: str) -> None:
    steps = [f"- {word} it is {t} that is given, then $a = s + {n}$, so $s = {n + 3}$ is it."
             for t, n in (("an edge", 11), ("a face", 24), ("a side", 37))]  # fmt: skip
    lead = "We have $a = 1 + 2 = 3$.\n\nConsider three cases.\n\n"
    (branches,) = forks(lead + "\n".join(steps), "Find all $s$.")
    assert branches == steps


def test_a_heading_at_the_end_of_a_step_heads_the_next_section() -> None:
    sides = [f"Pros:\n- It is dry, {LONG}.\n- It is warm, {LONG}.",
             f"Cons:\n- It is old, {LONG}.\n- It is dark, {LONG}."]  # fmt: skip
    text = "\n\n".join(
        f"{n}. The {t}:\n" + "\n\n".join(sides) for n, t in ((1, "mill"), (2, "cave"))
    )
    first, _ = (branch for fork in rewrite(text, PROMPT).trace.forks() for branch in fork.branches)
    assert [len(fork.branches) for fork in first.forks()] == [2]
