"""Worked arithmetic: neighbours that fork, neighbours that must not, and a second opinion."""

import json
import os
import random
import re
from pathlib import Path

import pytest
from pdata.rules.rewriter import rewrite

from pbranch.format.tagged_text import parse, render, separators_of
from pbranch.format.tree import Trace, plain_text

GSM8K = os.environ.get("GSM8K_TRAIN", "")  # train.jsonl of openai/grade-school-math
SHOP = "Ada buys 3 lamps at 14 each and Ben buys 5 chairs at 22 each. How much is that in all?"


def forks(text: str, prompt: str = SHOP) -> list[tuple[str, ...]]:
    result = rewrite(text, prompt)
    assert plain_text(result.trace) == text
    assert parse(render(result.trace), separators_of(result.trace)) == result.trace
    return [fork.topics for fork in result.trace.all_forks()]


def violations(trace: Trace) -> list[tuple[str, float]]:
    """Branches with a number that equals what an earlier sibling works out. Shares no code with the
    rules: a result is what is written right behind any equals sign."""
    found = []
    for fork in trace.all_forks():
        results: set[float] = set()
        for branch in fork.branches:
            text = plain_text(branch)
            for digits in re.findall(r"\d[\d,]*(?:\.\d+)?|\.\d+", text):
                if float(digits.replace(",", "")) in results:
                    found.append((text, float(digits.replace(",", ""))))
            for digits in re.findall(r"=\s*[$€£]?\s*(\d[\d,]*(?:\.\d+)?|\.\d+)", text):
                results.add(float(digits.replace(",", "")))
    return found


def test_forks_neighbours_that_share_nothing() -> None:
    text = (
        "Ada pays 3 * 14 = $<<3*14=42>>42 for every lamp on the list of the day.\n"
        "Ben pays 5 * 22 = $<<5*22=110>>110 for every chair on the list of the day.\n"
        "So they pay 42 + 110 = $<<42+110=152>>152.\n#### 152"
    )
    assert forks(text) == [("Ada", "Ben")]
    plain = re.sub(r"<<.*?>>", "", text)
    assert forks(plain) == [("Ada", "Ben")]


def test_forks_later_levels_too() -> None:
    text = (
        "Ada pays 3 * 14 = 42 for every lamp on the list of the day today.\n"
        "Ben pays 5 * 22 = 110 for every chair on the list of the day today.\n"
        "Altogether they pay 42 + 110 = 152 at the till of the shop.\n"
        "Each month Ada gets back 152 / 2 = 76 of the money from the shop.\n"
        "Each year Ben gets back 152 / 4 = 38 of the money from the shop.\n"
        "answer: 114"
    )
    assert forks(text) == [("Ada", "Ben"), ("Each month", "Each year")]


@pytest.mark.parametrize(
    "second",
    [
        "Ben pays 42 * 2 = 84 for every chair on the list of the day in the shop.",  # its result
        "Ben pays 5 * 22 = 110, which is more than that of Ada in this shop.",  # points back
        "Ben pays that and 5 * 22 = 110 for every chair on the list of the day.",
        "So Ben pays 5 * 22 = 110 for every chair on the list of the day in the shop.",
        "Ben pays 7 * 22 = 154 where Ada has 7 of the bags here.",  # 7 came up there
    ],
)
def test_what_may_need_its_neighbour_stays(second: str) -> None:
    first = "Ada pays 3 * 14 = 42 for every lamp on the list, and has 7 bags."
    assert forks(f"{first}\n{second}\nanswer: 9") == []


def test_algebra_stays() -> None:
    text = "Let x = 12 be the age of Ada in years.\nBen: 3x + 4 = 40 is his age in years.\n#### 40"
    assert forks(text, "How old is Ben?") == []


def test_a_fork_that_saves_no_pass_is_left_out() -> None:
    text = "Ada 3*14=42\nBen 5*22=110\nboth 42+110=152\n#### 152"
    assert rewrite(text, "What is it?").reason == "no saving"


def worked(seed: int) -> tuple[str, str]:
    """A problem whose steps take given numbers or earlier results at random."""
    rng = random.Random(seed)
    given = [rng.randint(2, 60) for _ in range(6)]
    names = rng.sample(["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus"], 6)
    known, lines = list(given), []
    for name in names[: rng.randint(3, 6)]:
        a, b = rng.choice(known), rng.choice(given)
        mark = rng.choice(["+", "*"])
        value = a + b if mark == "+" else a * b
        note = f"<<{a}{mark}{b}={value}>>" if rng.random() < 0.5 else ""
        tail = rng.choice(
            ["stones in the garden", "coins in a jar on the shelf", "pages of a book"]
        )
        lines.append(f"{name} counts {a} {mark} {b} = {note}{value} {tail}.")
        known.append(value)
    return "Given: " + ", ".join(map(str, given)), "\n".join(lines) + f"\n#### {known[-1]}"


def test_second_opinion_on_drawn_problems() -> None:
    forked = 0
    for seed in range(600):
        prompt, text = worked(seed)
        trace = rewrite(text, prompt).trace
        assert plain_text(trace) == text
        assert violations(trace) == []
        forked += next(trace.forks(), None) is not None
    assert forked > 200


@pytest.mark.skipif(not GSM8K, reason="set GSM8K_TRAIN to the data set's train.jsonl")
def test_second_opinion_on_gsm8k() -> None:
    forked = 0
    for line in Path(GSM8K).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        trace = rewrite(row["answer"], row["question"]).trace
        assert violations(trace) == [], row
        forked += next(trace.forks(), None) is not None
    print(f"{forked} forked")
    assert forked > 1000


@pytest.mark.parametrize(
    ("lines", "forked"),
    [
        (
            ["Old books: 5 copies * 25 = 125", "New books: 3 * 37 = 111", "Red pens: 2 * 55 = 111"],
            0,
        ),
        (["Big cups: 4 * 30 = 120", "Tall jars: 6 * 9 = 54", "Wide pots: 3 * 18 = 54"], 0),
        (["Tin bells: 7 * 8 = 56", "Low chairs: 5 * 11 = 55", "Iron nails: 5 * 11 = 55"], 0),
        (
            [
                "Old books: 5 of the copies * 25 coins = 125 coins",
                "Red books: 3 of the copies * 37 coins = 111 coins",
                "Sum: 125 + 111 = 236",
            ],
            1,
        ),
    ],
)
def test_titled_lines_are_forked_together(lines: list[str], forked: int) -> None:
    text = "\n".join(lines) + "\nThat is what was asked for."
    assert len(list(rewrite(text, "How much is it?").trace.forks())) == forked


@pytest.mark.parametrize(
    ("lines", "forked"),
    [
        # prices are no formula
        (
            ["Ann pays $5 for each of 3 = $<<5*3=15>>15 cups", "Bert has $7 twice = $<<7*2=14>>14"],
            1,
        ),
        (["Ann pays $5 for each of the 3 cups = $15", "Bert pays $7 for the 2 pots = $14"], 1),
        (["Ann takes $4$ of the $6$ = $24$ cups", "Bert takes $7$ of the $9$ = $63$ pots"], 0),
        (["Ann has $2^{3} + 1 = 9$ of the cups", "Bert has $5^{2} + 7 = 32$ of the pots"], 0),
        (["AB + BC = 12 as one sees in the plan", "AB - CD = 2 as one sees in the plan"], 0),
        (["小安有 3 * 5 = 15 个很大的杯子", "由于 7 * 2 = 14 是很多的罐子"], 0),
    ],
)
def test_formulas_are_no_worked_lines(lines: list[str], forked: int) -> None:
    text = "\n".join(lines) + "\nThat is what was asked for."
    assert len(list(rewrite(text, "How much is it?").trace.forks())) == forked
