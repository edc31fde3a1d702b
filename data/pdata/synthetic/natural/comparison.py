"""Why one number is above another, told digit by digit: the reason first, the verdict last.

Digits stand one by one, as small models read them: no two of their tokens need to be one number.
"""

from dataclasses import dataclass
from itertools import takewhile

from pdata.synthetic.natural.phrasing import decimal


@dataclass(frozen=True, slots=True)
class Reason:
    """Wordings of a reason. {x}, {y}: the digits that decide; {r}: less or more; {s}: the digits
    before them, which are equal; {n}, {m}: how many digits the two have before the point, {d};
    {f}: fewer or more."""

    first: str
    later: str
    length: str


REASONS = (
    Reason(
        "{x} is {r} than {y}",
        "both start with {s}, then {x} is {r} than {y}",
        "it has {f} {d}, {n} against {m}",
    ),
    Reason(
        "first digit {x} is {r} than {y}",
        "after the same {s}, {x} is {r} than {y}",
        "with {n} to {m} it has {f} {d}",
    ),
    Reason(
        "at the front {x} is {r} than {y}",
        "both have {s}, and after that {x} is {r} than {y}",
        "there are {f} {d}, {n} against {m}",
    ),
    Reason(
        "from the start {x} is {r} than {y}",
        "they share {s}, next {x} is {r} than {y}",
        "the first one has {f} {d}, {n} to {m}",
    ),
    Reason(
        "already {x} is {r} than {y}",
        "in front both have {s}, but then {x} is {r} than {y}",
        "we have {f} {d}, {n} and not {m}",
    ),
)


def explain(reason: Reason, a: int, b: int, places: int) -> str:
    """Why `a` is below, above or equal to `b`; both are in units of the last place."""
    left, right = (decimal(n, places).replace(".", "") for n in (a, b))
    if a == b:
        return "every digit is the same"
    if len(left) != len(right):
        n, m = len(left) - places, len(right) - places
        digits = "whole digits" if places else "digits"
        return reason.length.format(n=n, m=m, d=digits, f="fewer" if n < m else "more")
    same = [x for x, _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=True))]
    x, y = left[len(same)], right[len(same)]
    blanks = {"x": x, "y": y, "r": "less" if x < y else "more"}
    if not same:
        return reason.first.format(**blanks)
    return reason.later.format(**blanks, s=" and ".join(same))


def side(a: int, b: int) -> str:
    """Where `a` lies, seen from `b`."""
    return "equal" if a == b else "above" if a > b else "below"


PLACES = (("thousand", "thousands"), ("hundred", "hundreds"), ("ten", "tens"), ("one", "ones"),
          ("tenth", "tenths"), ("hundredth", "hundredths"))  # fmt: skip


def spell(value: int, places: int) -> str:
    """The digits of a number with the names of their places: 3 ones, 6 tenths and 8 hundredths."""
    digits = decimal(value, places).replace(".", "")
    start = 4 - (len(digits) - places)
    named = [f"{digit} {PLACES[start + i][digit != '1']}" for i, digit in enumerate(digits)]
    return f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]
