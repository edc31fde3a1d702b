"""How natural traces compare numbers: the digits that decide, the word for it, yes or no."""

import random
import re

import pytest
from pdata.synthetic.natural.comparison import CHECKS, REASONS, WANTED, explain, spell, tell_check
from pdata.synthetic.natural.phrasing import decimal


def test_reasons_tell_the_digits_that_decide() -> None:
    rng = random.Random(1)
    for _ in range(3000):
        places = rng.randrange(3)
        a, b = rng.randint(10**places, 3000), rng.randint(10**places, 3000)
        left, right = decimal(a, places), decimal(b, places)
        why = explain(rng.choice(REASONS), a, b, places)
        if left.find(".") != right.find(".") or (not places and len(left) != len(right)):
            assert why.endswith("is less" if a < b else "is more")
        else:
            same = [x == y for x, y in zip(left, right, strict=True)]
            first = len(same) if a == b else same.index(False)
            pairs = zip(left[: first + 1], right[: first + 1], strict=True)
            assert re.findall(r"\d", why) == [x for pair in pairs for x in pair if x != "."]
            word = "equal" if a == b else "less" if a < b else "more"
            assert re.search(rf"\b{word}$", why)


@pytest.mark.parametrize("wanted", WANTED)
def test_a_check_says_whether_a_number_is_what_it_has_to_be(wanted: str) -> None:
    for check in CHECKS:
        for value in (36, 37, 38, 9, 370):
            said = tell_check(check, REASONS[0], value, 37, 0, WANTED[wanted])
            larger, smaller = value > 37, value < 37
            holds = {
                "above": larger, "below": smaller, "equal": value == 37,
                "at least": not smaller, "at most": not larger,
            }[wanted]  # fmt: skip
            assert re.search(rf"\b{'yes' if holds else 'no'}\.$", said), said
            assert WANTED[wanted].of(37, 0) in said and str(value) in said
            word = "equal" if value == 37 else "more" if larger else "less"
            assert re.search(rf"\b{word}, [\w ]*\b{WANTED[wanted].word}\W", said), said


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (368, 2, "3 ones, 6 tenths and 8 hundredths"),
        (1210, 0, "1 thousand, 2 hundreds, 1 ten and 0 ones"),
        (41, 1, "4 ones and 1 tenth"),
        (7, 0, "7 ones"),
    ],
)
def test_numbers_are_spelled_by_place(value: int, places: int, text: str) -> None:
    assert spell(value, places) == text
