"""What stands at the edge of a list: its conclusion, closing lines, items that look otherwise."""

import pytest

from tests.support.forks import trunk_forks

LONG = "which is told at length in the old book about this valley and its people"
ZH = "这在一本讲述山谷与居民的旧书里有很长的记载，村里的老人也常常说起它"
PROMPT = "Tell me about it."


def sections(labels: list[str], body: str = LONG) -> list[str]:
    things = ("The mill stands", "A cave lies", "One bridge leads", "Some barns burn")
    return [
        f"{label}\n\n{x} there, {body}."
        for label, x in zip(labels, things[: len(labels)], strict=True)
    ]


@pytest.mark.parametrize(
    ("labels", "closing"),
    [
        (["I. Mills", "II. Caves", "III. Bridges"], "IV. Conclusion"),
        (["I. Mills", "II. Caves"], "III. Conclusion and Outlook"),
        (["A. Mills", "B. Caves", "C. Bridges"], "D. Concluding remarks"),
        (["1. Mills", "2. Caves", "3. Bridges"], "4. Summary"),
        (["**1. Mills**", "**2. Caves**"], "**3. Conclusion**"),
        (["Part 1: Mills", "Part 2: Caves"], "Part 3: Conclusion"),
        (["一、磨坊", "二、山洞", "三、小桥"], "四、结语"),
        (["一、磨坊", "二、山洞"], "三、总结与展望"),
        (["（一）磨坊", "（二）山洞"], "（三）结论"),
        (["## 一、磨坊", "## 二、山洞"], "## 三、总结"),
        (["第一部分：磨坊", "第二部分：山洞"], "第三部分：全文总结"),
        (["第一模块：磨坊", "第二模块：山洞"], "第三模块：将所有内容整合在一起"),
        (["Module 1: Mills", "Module 2: Caves"], "Module 3: Putting It All Together"),
    ],
)
def test_a_conclusion_in_the_numbering_stands_behind_the_join(
    labels: list[str], closing: str
) -> None:
    steps = sections(labels)
    text = "\n\n".join([*steps, f"{closing}\n\nThe valley has it all, {LONG}."])
    assert trunk_forks(text, PROMPT) == [steps]


def test_the_conclusion_tells_where_the_last_section_ends() -> None:
    steps = sections(["I. Mills", "II. Caves", "III. Bridges"])
    steps[2] += "\n\nIts stones are old.\n\nIts planks are new."
    rest = f"IV. Conclusion\n\nThe valley has it all, {LONG}.\n\nV. References\n\nThe old book."
    assert trunk_forks("\n\n".join([*steps, rest]), PROMPT) == [steps]


def test_a_summary_among_other_sections_is_one_of_them() -> None:
    steps = sections(["1. Mills", "2. Caves", "3. Summary", "4. Barns"])
    assert trunk_forks("\n\n".join(steps), PROMPT) in ([], [steps])


@pytest.mark.parametrize(
    "tags", ["#valley #mill #cave", "#山谷游#磨坊#周末去哪儿", "#valley#mill #old_bridge"]
)
def test_tags_that_close_a_post_are_no_part_of_the_last_step(tags: str) -> None:
    steps = [f"{x}:\nIt is old, {LONG}.\nOpen: daily" for x in ("Stone Mill", "Deep Cave")]
    assert trunk_forks("\n\n".join(steps) + f"\n{tags}", PROMPT) == [steps]
    each = [f"{step}\n{tags}" for step in steps]
    assert trunk_forks("\n\n".join(each), PROMPT) == [each]


@pytest.mark.parametrize(
    ("titles", "second"),
    [
        (("Stone Mill", "Deep Cave:", "Long Bridge:"), "⭐Note"),
        (("Stone Mill", "Deep Cave:", "Long Bridge:"), "Known for"),
        (("石磨坊", "深山洞：", "长木桥："), "📍地点"),
    ],
)
def test_no_fork_where_a_section_before_lacks_its_colon(
    titles: tuple[str, ...], second: str
) -> None:
    text = "\n\n".join(f"{title}\n{second}: {n} x {LONG}." for n, title in enumerate(titles, 3))
    assert trunk_forks(text, PROMPT) == []


@pytest.mark.parametrize("odd", [r"$* \mathrm{Mill}$ is old", r"$*$ Mills are", r"$\bullet$ Mills"])
def test_no_fork_beside_an_item_whose_bullet_is_a_formula(odd: str) -> None:
    items = "\n".join(f"* {x}, {LONG}." for x in ("Caves are deep", "Bridges lead on"))
    text = f"* Huts are new, {LONG}.\n\n{odd}, {LONG}.\n\n{items}"
    assert trunk_forks(text, PROMPT) == []


@pytest.mark.parametrize(
    "turn",
    [
        "Let me go over each option again.",
        "I need to compare all the options once more.",
        "让我再看看每个选项的含义。",
    ],
)
def test_what_leads_to_all_options_stands_behind_the_join(turn: str) -> None:
    steps = [f"Option {x}: The {y} is old, {LONG}." for x, y in (("A", "mill"), ("B", "cave"))]
    assert trunk_forks("\n\n".join(steps) + f" {turn}", PROMPT) == [steps]


@pytest.mark.parametrize("numbers", [("1.", "2.", "3."), ("1)", "2)", "3)"), ("1、", "2、", "3、")])
def test_a_list_in_the_last_section_is_whole(numbers: tuple[str, ...]) -> None:
    lists = [
        "\n\n".join(f"{n}{x}{y}，{ZH}。" for n, y in zip(numbers[:k], "新旧老", strict=False))
        for x, k in (("磨坊很", 2), ("山洞很", 2), ("小桥很", 3))
    ]
    titles = ("一、磨坊：", "二、山洞：", "三、小桥：")
    steps = [f"{t}\n\n{x}" for t, x in zip(titles, lists, strict=True)]
    assert trunk_forks("\n\n".join(steps) + "\n\n山谷里还有许多地方。", PROMPT)[0] == [*steps]


@pytest.mark.parametrize("first", ["1.2019年", "1.1998年", "1)2024年"])
def test_a_number_may_touch_a_year(first: str) -> None:
    steps = [
        f"{first}的大火怎样，{ZH}？",
        f"2{first[1]}山洞怎样，{ZH}？",
        f"3{first[1]}小桥怎样，{ZH}？",
    ]
    assert trunk_forks("\n".join(steps), PROMPT) == [steps]


@pytest.mark.parametrize("noun", ["模块", "单元", "讲"])
def test_more_that_is_counted(noun: str) -> None:
    steps = [f"第{n}{noun}：{x}\n{x}很老，{ZH}。" for n, x in (("一", "磨坊"), ("二", "山洞"))]
    assert trunk_forks("\n\n".join(steps), PROMPT) == [steps]


@pytest.mark.parametrize(
    "lasts", [("", "Seen: 1998"), ("Seen: 1990", "Seen: 1998"), ("Seen: 1990", "")]
)
def test_an_item_may_go_on_further_out(lasts: tuple[str, str]) -> None:
    ends = ["\nSeen: 1980", *(x and f"\n{x}" for x in lasts)]
    things = ("The mill", "A cave", "One bridge")
    steps = [f"{n}. {x}, {LONG}.{e}" for n, x, e in zip((1, 2, 3), things, ends, strict=True)]
    text = "There are:\n\n   " + "\n\n   ".join(steps) + "\n\nI hope this helps."
    assert trunk_forks(text, PROMPT) == [steps]


@pytest.mark.parametrize(
    "closing", ["From the two cases, it is old.", "In both cases it is old.", "综上，它很老。"]
)
def test_a_longer_last_case_ends_before_what_follows_from_all(closing: str) -> None:
    steps = [
        f"Case 1. before.\n\nThe mill is $2 > 1$, {LONG}.",
        f"Case 2. between.\n\nThe cave is $4 > 3$, {LONG}.",
        f"Case 3. after.\n\nA barn is $6 > 5$, {LONG}.\n\nClearly, $7 > 5$.\n\nNote $9 > 5$.",
        f"Case 4. beyond.\n\nA bridge is $8 > 7$, {LONG}.\n\nClearly, $8 > 6$.",
    ]
    assert trunk_forks("\n\n".join([*steps, closing]), PROMPT) == [steps]


@pytest.mark.parametrize("noun", ["Option", "Choice", "Statement"])
def test_the_first_option_may_begin_inside_a_line(noun: str) -> None:
    things = (("A", "a mill"), ("B", "a cave"), ("C", "one bridge"))
    steps = [f"{noun} {x} is {y} there, {LONG}." for x, y in things]
    text = "I look at each of them. " + "\n\n".join(steps) + "\n\nSo it is settled."
    assert trunk_forks(text, PROMPT) == [steps]
    assert trunk_forks(text.replace(f"{noun} B", "B"), PROMPT) == []
