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
    digit of each; {r}: less or more; {n}, {m}: how many digits the two have before the point, {d};
    {f}: fewer or more. Both digits stand there before it is said which one is more."""

    same: str
    glue: str
    last: str
    length: str


REASONS = (
    Reason("{x} against {y} is equal", ", then ", "{x} against {y} is {r}",
           "{n} {d} against {m} is {f}"),
    Reason("{x} beside {y} is the same", ", next ", "{x} beside {y} is {r}",
           "with {n} {d} beside {m} it has {f}"),
    Reason("{x} and {y} are equal", ", and ", "{x} next to {y} is {r}",
           "being {n} {d} next to {m}, {f}"),
    Reason("{x} to {y} is even", ", but ", "{x} to {y} is {r}", "{n} {d} to {m} is {f}"),
)  # fmt: skip


def explain(reason: Reason, a: int, b: int, places: int) -> str:
    """Why `a` is below, above or equal to `b`; both are in units of the last place."""
    left, right = (decimal(n, places).replace(".", "") for n in (a, b))
    if len(left) != len(right):
        n, m = len(left) - places, len(right) - places
        digits = f"{'whole ' if places else ''}digit{'s' if n > 1 else ''}"
        return reason.length.format(n=n, m=m, d=digits, f="fewer" if n < m else "more")
    pairs = list(zip(left, right, strict=True))
    told = [
        reason.same.format(x=x, y=y) for x, y in takewhile(lambda pair: pair[0] == pair[1], pairs)
    ]
    if a != b:
        x, y = pairs[len(told)]
        told.append(reason.last.format(x=x, y=y, r="less" if x < y else "more"))
    return reason.glue.join(told)


# what a number has to be, seen from a bound
WANTED: dict[str, Callable[[int, int], bool]] = {
    "above": operator.gt,
    "below": operator.lt,
    "equal to": operator.eq,
    "at least": operator.ge,
    "at most": operator.le,
}
# a check of a number {a} against a bound {b}; {w}: what it has to be; {yn}: whether it is, which
# follows from {w} and the last word of the reason
CHECKS = (
    "Whether {a} is {w} {b}: {why}, {yn}.", "The {a} has to be {w} {b}: {why}, so {yn}.",
    "Asked is {w} {b}; for {a}, {why}: {yn}.", "Must be {w} {b}. With {a}, {why}, hence {yn}.",
    "We want {a} {w} {b}: {why}, thus {yn}.", "Test {a}, {w} {b}: {why}; {yn}.",
    "To be {w} {b}, take {a}: {why}, {yn}.", "Should be {w} {b}, is {a}: {why}, which says {yn}.",
)  # fmt: skip


def tell_check(
    template: str, reason: Reason, value: int, bound: int, places: int, wanted: str
) -> str:
    """Whether `value` is `wanted`, a key of `WANTED`; the reason comes before the answer."""
    why = explain(reason, value, bound, places)
    yes = WANTED[wanted](value, bound)
    return template.format(
        a=decimal(value, places), b=decimal(bound, places), w=wanted, why=why,
        yn="yes" if yes else "no",
    )  # fmt: skip


PLACES = (("thousand", "thousands"), ("hundred", "hundreds"), ("ten", "tens"), ("one", "ones"),
          ("tenth", "tenths"), ("hundredth", "hundredths"))  # fmt: skip


def spell(value: int, places: int) -> str:
    """The digits of a number with the names of their places: 3 ones, 6 tenths and 8 hundredths."""
    digits = decimal(value, places).replace(".", "")
    start = 4 - (len(digits) - places)
    named = [f"{digit} {PLACES[start + i][digit != '1']}" for i, digit in enumerate(digits)]
    return f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]
