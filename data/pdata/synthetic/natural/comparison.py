"""Why one number is above another, told digit by digit: the reason first, the verdict last.

Digits stand one by one, as small models read them: no two of their tokens need to be one number.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

from pdata.synthetic.natural.phrasing import decimal


@dataclass(frozen=True, slots=True)
class Reason:
    """Wordings of a reason, which goes through both numbers until two digits differ. {x}, {y}: a
    digit of each; {r}: less or more; {n}, {m}: how many digits the two have before the point, {d}.
    Both digits stand there before it is said which one is more."""

    same: str
    glue: str
    last: str
    length: str


REASONS = (
    Reason("{x} against {y} is equal", ", then ", "{x} against {y} is {r}",
           "{n} {d} against {m} is {r}"),
    Reason("{x} beside {y} is equal", ", next ", "{x} beside {y} is {r}",
           "{n} {d} beside {m} is {r}"),
    Reason("{x} and {y} are equal", ", and ", "{x} next to {y} is {r}",
           "{n} {d} next to {m} is {r}"),
    Reason("{x} to {y} is equal", ", but ", "{x} to {y} is {r}", "{n} {d} to {m} is {r}"),
)  # fmt: skip


def explain(reason: Reason, a: int, b: int, places: int) -> str:
    """Why `a` is below, above or equal to `b`; both are in units of the last place."""
    left, right = (decimal(n, places).replace(".", "") for n in (a, b))
    if len(left) != len(right):
        n, m = len(left) - places, len(right) - places
        digits = f"{'whole ' if places else ''}digit{'s' if n > 1 else ''}"
        return reason.length.format(n=n, m=m, d=digits, r="less" if n < m else "more")
    pairs = list(zip(left, right, strict=True))
    told = [
        reason.same.format(x=x, y=y) for x, y in takewhile(lambda pair: pair[0] == pair[1], pairs)
    ]
    if a != b:
        x, y = pairs[len(told)]
        told.append(reason.last.format(x=x, y=y, r="less" if x < y else "more"))
    return reason.glue.join(told)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a number has to be, seen from a bound {b}; `word` is what its reason then ends with."""

    holds: Callable[[int, int], bool]
    text: str
    word: str

    def of(self, bound: int, places: int) -> str:
        """The condition with its bound, as a plan and each check have it: less than 38."""
        return self.text.format(b=decimal(bound, places))


WANTED = {
    "above": Wanted(operator.gt, "more than {b}", "more"),
    "below": Wanted(operator.lt, "less than {b}", "less"),
    "equal": Wanted(operator.eq, "equal to {b}", "equal"),
    "at least": Wanted(operator.ge, "{b} or more", "more"),
    "at most": Wanted(operator.le, "{b} or less", "less"),
}
# a check of a number {a} against a condition {c}. The reason {why} ends with less, more or equal;
# the word that is wanted, {w}, stands right behind it, so that {yn} follows from two neighbours
CHECKS = (
    "Whether {a} is {c}: {why}, asked is {w}, {yn}.",
    "The {a} has to be {c}: {why}, has to be {w}, so {yn}.",
    "Asked is {c}; for {a}, {why}, asked {w}: {yn}.",
    "Must be {c}. With {a}, {why}, must be {w}, hence {yn}.",
    "We want {a} {c}: {why}, we want {w}, thus {yn}.",
    "Test {a}, {c}: {why}, test for {w}; {yn}.",
    "To be {c}, take {a}: {why}, to be {w}, {yn}.",
    "Should be {c}, is {a}: {why}, should be {w}, which says {yn}.",
)


def tell_check(
    template: str, reason: Reason, value: int, bound: int, places: int, wanted: Wanted
) -> str:
    """Whether `value` is what is `wanted`; the reason comes before the answer."""
    return template.format(
        a=decimal(value, places), c=wanted.of(bound, places), w=wanted.word,
        why=explain(reason, value, bound, places),
        yn="yes" if wanted.holds(value, bound) else "no",
    )  # fmt: skip


PLACES = (("thousand", "thousands"), ("hundred", "hundreds"), ("ten", "tens"), ("one", "ones"),
          ("tenth", "tenths"), ("hundredth", "hundredths"))  # fmt: skip


def spell(value: int, places: int) -> str:
    """The digits of a number with the names of their places: 3 ones, 6 tenths and 8 hundredths."""
    digits = decimal(value, places).replace(".", "")
    start = 4 - (len(digits) - places)
    named = [f"{digit} {PLACES[start + i][digit != '1']}" for i, digit in enumerate(digits)]
    return f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]
