"""Where the last step of a block ends, and lists that do not end where their form says."""

import pytest

from tests.support.forks import trunk_forks

LONG = "which is told at length in the old book about this valley and its people"
PROMPT = "Tell me about it."


def forks(text: str, prompt: str = PROMPT) -> list[list[str]]:
    return trunk_forks(text, prompt)


@pytest.mark.parametrize(
    "steps",
    [
        # its body begins as that of the other step does, though a conclusion may begin so, too
        [f"**Case {n}: {x}**\n\nAdding {x}s up, it is {LONG}." for n, x in ("1m", "2c")],
        [
            f"**Way {n}**\n\nThe {x} is there.\n\nSo the {x} is old, {LONG}."
            for n, x in ("Am", "Bc")
        ],
        [f"情况{n}：有{x}。\n\n因此{x}很老，{LONG}。" for n, x in ("一磨", "二洞")],
        # further lines that begin as the first one of those it leads to
        [
            f"a) The mill is old, {LONG}.",
            f"b) The cave is deep, {LONG}. There:\nIf it rains: stay in.\nIf it snows: go home.",
        ],
        [
            f"a) 磨坊很老，{LONG}。",
            f"b) 山洞很深，{LONG}，有：\n如果下雨：留下。\n如果下雪：回家。",
        ],
        [
            f"1. The mill is old, {LONG}.",
            f"2. The cave is deep, {LONG}:\nFor rain it has a roof.\nFor snow it has a door.",
        ],
        # a longer list in the last step
        *(
            [
                f"## Mills\n\n{a} Old, {LONG}.\n\n{b} Red, {LONG}.",
                f"## Caves\n\n{a} Deep, {LONG}.\n\n{b} Dark, {LONG}.\n\n{c} Cold, {LONG}.",
            ]
            for a, b, c in (("1.", "2.", "3."), ("-", "-", "-"), ("1)", "2)", "3)"))
        ),
        # deeper headings in the last step
        [
            f"# Page {n}\n\n## {x}\n\nThese are old, {LONG}."
            for n, x in (("A", "Mills"), ("B", "Caves"))
        ],
        [f"# 第{n}页\n\n## 标题：{x}\n\n{x}很老，{LONG}。" for n, x in ("一磨", "二洞")],
        [
            f"## Mills\n\n### Age\n\nOld, {LONG}.",
            f"## Caves\n\n### Depth\n\nDeep, {LONG}.\n\n### Light\n\nDark, {LONG}.",
        ],
    ],
)
@pytest.mark.parametrize("rest", ["", "\n\nIn summary, it is nice."])
def test_the_last_step_is_whole(steps: list[str], rest: str) -> None:
    separator = "\n\n" if "\n\n" in steps[0] else "\n"
    assert forks(separator.join(steps) + rest) == [steps]


def test_where_the_last_step_draws_a_conclusion_alone() -> None:
    steps = [f"**Case {n}**\n\nThe {x} is old, {LONG}." for n, x in ("Am", "Bc")]
    assert forks("\n\n".join([*steps, "Therefore, it is nice."])) == [steps]


@pytest.mark.parametrize(
    "text",
    [
        # derivations that go on after a formula
        f"Proof of Lemma 1. Let $a > 1$, {LONG}.\n\nProof of Lemma 2. Let $b > 2$, {LONG},\n\n"
        "$$\nb^2 > 4\n$$\n\nTherefore,\n\n$$\nb^2 > 3\n$$",
        f"(a) Let $a > 1$, {LONG}.\n\n(b) Let $b > 2$, {LONG}, so\n\n\\[b^2 > 4\\]\n\n"
        "Hence\n\n\\[b > 1\\]",
        f"（1）设$a > 1$，{LONG}。\n\n（2）设$b > 2$，{LONG}，即\n\n$$b^2 > 4$$\n\n"
        "因此\n\n$$b > 1$$",
        # taken back
        *(
            f"Part 1: the mill is old, {LONG}.\n\nPart 2: the cave is deep, {LONG}.{turn} there "
            "is a tower as well."
            for turn in (" Wait, no,", "\n\nNo, wait,", " Hold on, no:")
        ),
        f"第一点：磨坊很老，{LONG}。\n第二点：山洞很深，{LONG}。不对，还有一座塔。",
        # items that stand for others
        *(
            f"- The mill is old, {LONG}.\n- The cave is deep, {LONG}.\n- {rest}"
            for rest in (
                "... and so on for all the rest of the valley",
                "And so forth for the boats",
                "以此类推，直到最后一座塔",
            )
        ),
        # one list under several headings
        *(
            f"## Mills\n{a} Old: {LONG}.\n{b} Red: {LONG}.\n\n## Caves\n{c} Deep: {LONG}.\n"
            f"{d} Dark: {LONG}."
            for a, b, c, d in (
                ("1.", "2.", "3.", "4."),
                ("1)", "2)", "3)", "4)"),
                ("1、", "2、", "3、", "4、"),
            )
        ),
        # a further title that names a phase
        *(
            f"Old mills:\nThey are red, {LONG}.\n\nDeep caves:\nThey are dark, {LONG}.\n\n"
            f"{title}:\nThat is long, {LONG}."
            for title in ("Building plan", "First boats", "Calculated heights")
        ),
        # a title that asks, among others
        *(
            f"Old mills:\nThey are red, {LONG}.\n\n{title}\nIt is by water, {LONG}.\n\n"
            f"Deep caves:\nThey are dark, {LONG}."
            for title in (
                "How does a mill turn:",
                "What is it good for:",
                "Why do they stand there?",
            )
        ),
    ],
)
def test_lists_that_do_not_end_there(text: str) -> None:
    assert forks(text) == []


@pytest.mark.parametrize(
    "labels",
    [
        ["首先，", "其次，", "另外，", "最后，"],
        ["首先，", "其次，", "此外，"],
        ["首先，", "其次，", "再次，", "另外，", "此外，"],
        ["For (a),", "For (b),", "For (c),"],
        ["For part (i),", "For part (ii),"],
        ["对于（I），", "对于（II），", "对于（III），"],
        ["关于(1)，", "关于(2)，"],
    ],
)
def test_more_forms_of_lists(labels: list[str]) -> None:
    things = ["the mill", "some caves", "one tower", "old boats", "a bridge"]
    steps = [f"{n} {t} stands there, {LONG}." for n, t in zip(labels, things, strict=False)]
    assert forks("\n\n".join(steps) + "\n\nIn conclusion, it is nice.") == [steps]


def test_further_items_in_another_order_are_no_list() -> None:
    things = ("首先，磨坊", "其次，山洞", "此外，塔楼", "另外，船只", "最后，小桥")
    assert forks("\n\n".join(f"{x}很老，{LONG}。" for x in things)) == []


def test_questions_that_are_answered_at_once_are_steps() -> None:
    words = ("First, is the mill red", "Second, are caves deep", "Third, has a boat sunk")
    steps = [f"{x}, {LONG}? {y}." for x, y in zip(words, ("No", "Yes", "No"), strict=True)]
    assert forks("\n".join(steps) + "\n\nIn short, it is nice.") == [steps]
    open_ = [step.replace("? No", "? Perhaps").replace("? Yes", "? We look") for step in steps]
    assert forks("\n".join(open_)) == []


@pytest.mark.parametrize("quotes", ["“”", "「」"])
def test_a_quoted_sentence_is_no_name(quotes: str) -> None:
    a, b = quotes
    said = ("磨坊很老，是山谷里最老的。", "山洞很深，人们都怕它。", "塔楼很高，在河的对岸。")
    items = [f"{n}. {a}{x}{b}——{who}" for n, x, who in zip("123", said, "甲乙丙", strict=True)]
    assert forks("\n".join(items)) == [items]
