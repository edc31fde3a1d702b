"""A series is forked whole or not at all, and the fields of a record not at all."""

import pytest
from pdata.rules.prompt import Prompt

from tests.support.forks import trunk_forks

LONG = "which is told at length in the old book about this valley and its people"
CN = "这一点在那本讲述山谷和居民的旧书里有很长的说明，值得慢慢读"
OPTIONS = "Which one is oldest?\nA: Mill\nB: Tower\nC: Stone Bridge\nD: Cave"
IN_A_RECORD = "Which is oldest? {'A': 'Mill', 'B': 'Tower', 'C': 'Bridge', 'D': 'Cave'}"


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        # the beginning is outside
        ("", f"They are old.\nC. The tower stands, {LONG}.\nD. The cave is old, {LONG}."),
        ("", f"They are old.\n(b) The tower stands, {LONG}.\n(c) The cave is old, {LONG}."),
        ("", f"首先，磨坊很老。{CN}。\n第二，塔很高。{CN}。\n第三，洞很深。{CN}。"),
        # the end is outside
        ("", f"第一，磨坊很老。{CN}。\n第二，塔很高。{CN}。\n最后，洞很深。{CN}。"),
        ("", f"1. The mill is old, {LONG}.\n2. The tower is tall, {LONG}.\n(3) A cave, {LONG}."),
        ("", f"Case 1: The mill, {LONG}.\n\nCase 2: The tower, {LONG}.\n\n3) The cave, {LONG}."),
        # options in other words
        (OPTIONS, f"The Mill (A) is big, {LONG}.\n\nTower (B) is tall, {LONG}.\n\n"
         f"Cave (D) is deep, {LONG}.\n\nStarting on the Stone Bridge (C), I recall it, {LONG}."),
        (OPTIONS, f"Let's start with the mill. It is big, {LONG}.\n\nTower (B) is tall, {LONG}.\n\n"
         f"Cave (D) is deep, {LONG}."),
        (IN_A_RECORD, f"Starting with Mill. It is big, {LONG}.\n\nNext, Tower. It is tall, {LONG}."
         f"\n\nBridge is a wide one, {LONG}.\n\nCave is a deep one, {LONG}."),
        # without letters
        ("Compare Oslo, Rome and Bern.", f"Starting with Oslo. It is cold, {LONG}.\n\n"
         f"Rome is a warm place, {LONG}.\n\nBern is a small place, {LONG}."),
    ],
)  # fmt: skip
def test_no_part_of_a_series(prompt: str, text: str) -> None:
    assert trunk_forks(text, prompt or "Tell me about it.") == []


@pytest.mark.parametrize(
    ("prompt", "text", "branches"),
    [
        ("", f"1. The mill, {LONG}.\n2. The tower, {LONG}.\n\n此外，还有别的。", 2),
        ("", f"Case 1: See the mill, {LONG}.\nCase 2: See the tower, {LONG}.\n\n"
         "Multiply the days by 3: it is nine.", 2),
        (OPTIONS, "\n\n".join(f"{x} is old, {LONG}." for x in
         ("Mill (A)", "Tower (B)", "Stone Bridge (C)", "Cave (D)")), 4),
        # what was told before as a list of its own
        (OPTIONS, f"A: It is big, {LONG}.\nB: It is tall, {LONG}.\nC: It is wide, {LONG}.\n"
         f"D: It is deep, {LONG}.\n\nLet me see.\n\nI am not sure of it.\n\nAgain.\n\n"
         f"Tower was built early, {LONG}.\n\nCave was found early, {LONG}.", 4),
    ],
)  # fmt: skip
def test_a_whole_series(prompt: str, text: str, branches: int) -> None:
    assert branches in map(len, trunk_forks(text, prompt or "Tell me about it."))


def test_no_other_word_among_letters() -> None:
    text = f"A: It is big, {LONG}.\nB: It is tall, {LONG}.\nQ: It is asked, {LONG}."
    assert not any(
        "Q:" in step for fork in trunk_forks(text, f"Q: {OPTIONS}\nQ: And?") for step in fork
    )


def test_a_block_before_what_its_last_step_leads_to() -> None:
    text = (
        f"(1)【解析】\n求高。{CN}。\n\n【答案】三米。<e>\n\n(2)【解析】\n求宽。{CN}。\n\n【答案】\n分情况讨论：\n\n"
        f"情况1：磨坊很老，宽是四米。{CN}。\n\n情况2：磨坊不老，宽是五米。{CN}。\n\n综上，宽是四米或五米。"
    )
    assert all("(1)" not in fork[0] for fork in trunk_forks(text, "求高和宽。"))


@pytest.mark.parametrize(
    "text",
    [
        "- Title: The Old Mill by the River\n- Author: Reed, J. (2011). The Old Mill by the River\n"
        "- Year: 2011\n- Publisher: North Hill Press of the Valley\n- Pages: 120 to 134 of it",
        "Name: Ann Reed of the Green Valley\nAge: thirty years and two months\n"
        "Occupation: teacher of old languages\nCity: a small town by the old river",
        "姓名：李小红，山谷里的第一位教师\n性别：女，山谷里的人都认得她\n职业：在学校教古代语言的教师\n地址：河边老磨坊旁边的小白房子",
    ],
)
def test_fields_of_one_record(text: str) -> None:
    assert trunk_forks(text, "Make up a record.") == []


@pytest.mark.parametrize(
    "text",
    [
        "A: four\nB: five\nC: six",
        "A) four B) five C) six",
        "{'A': 'four', 'B': 'five', 'C': 'six'}",
    ],
)
def test_options_of_a_prompt(text: str) -> None:
    assert Prompt(text).options == {"A": "four", "B": "five", "C": "six"}
