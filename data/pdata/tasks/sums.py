"""`sums`: several labelled expressions, each worked out on its own, then combined.

Questions: the largest, the smallest, the one with a given value, or (2 to 4 of them) the total.
"""

import random
from dataclasses import dataclass

from pdata.tasks.problem import Order, Problem, Step, arrange
from pdata.tasks.words import LEADS, draw_labels, draw_names, split_of, write_list, write_prompt

LIMIT = 99  # no value or partial result exceeds it, none is negative
OPERANDS = (2, 19)  # of + and -
MARGIN = 12  # by which the largest or smallest is ahead
INTROS = (
    "Work these out.",
    "Here are some sums.",
    "Evaluate the following.",
    "Take these expressions.",
    "Look at these calculations.",
)
QUESTIONS = {
    "largest": ("Which one is the largest?", "Which has the largest value?", "Find the largest."),
    "smallest": (
        "Which one is the smallest?",
        "Which has the smallest value?",
        "Find the smallest.",
    ),
    "equal": ("Which one is equal to {x}?", "Which comes to {x}?", "Find the one that gives {x}."),
    "total": ("What is the total?", "What do they add up to?", "Find the sum of all of them."),
}
# one an intro; each: start, first partial result, further ones, end: the value comes before the
# label that the conclusion looks for
STEPS = (
    ("{t}: ", "{a} {s} {b} = {c}", ", then {a} {s} {b} = {c}", ", so {v} is {t}."),
    ("{t} starts with ", "{a} {s} {b} = {c}", "; next {a} {s} {b} = {c}", ". So {v} = {t}."),
    ("{t} in parts: ", "{a} {s} {b} is {c}", ", {a} {s} {b} is {c}", "; {v} for {t}."),
    ("{t} is {e}. ", "First {a} {s} {b} = {c}", ", now {a} {s} {b} = {c}", ", {v} is {t}."),
    ("{t}: from ", "{a} {s} {b} we get {c}", ", from {a} {s} {b} we get {c}",
     ". {v} comes from {t}."),
)  # fmt: skip
TAILS = {
    "largest": ("The largest is {x}, from {a}. name: {a}", "So {x} is the largest. name: {a}"),
    "smallest": ("The smallest is {x}, from {a}. name: {a}", "So {x} is the smallest. name: {a}"),
    "equal": ("The value {x} is that of {a}. name: {a}", "So {x} comes from {a}. name: {a}"),
    "total": ("In total {w}. answer: {x}", "Adding up, {w}. answer: {x}"),
}


@dataclass(frozen=True, slots=True)
class Sum:
    """`first` and then (sign, operand) pairs, applied from left to right."""

    first: int
    rest: tuple[tuple[str, int], ...]

    @property
    def partials(self) -> list[int]:
        values = [self.first]
        for sign, operand in self.rest:
            values.append(apply(values[-1], sign, operand))
        return values

    def __str__(self) -> str:
        return " ".join([str(self.first), *(f"{s} {b}" for s, b in self.rest)])


def apply(value: int, sign: str, operand: int) -> int:
    """`value` + - * `operand`."""
    return {"+": value + operand, "-": value - operand, "*": value * operand}[sign]


def make(rng: random.Random, level: int, split: str, order: Order = "listed") -> Problem:
    """A problem of `level` expressions with distinct values."""
    kinds = ("largest", "smallest", "equal", "total")
    kind = rng.choices(kinds, (1, 1, 4, 2 if level <= 4 else 0))[0]
    sums = _draw_sums(rng, level, split, kind)
    values = [s.partials[-1] for s in sums]
    labels = draw_names(rng, level, split) if rng.random() < 0.5 else draw_labels(rng, level)
    if labels[0].isdigit():  # a bare number would read as an operand
        labels = [f"No {label}" for label in labels]
    pick = _pick(rng, kind, values)
    question = rng.choice(QUESTIONS[kind]).format(x=pick)
    listing = write_list(rng, labels, [str(s) for s in sums])
    intro, template = rng.choice(tuple(zip(INTROS, STEPS, strict=True)))
    prompt = write_prompt(rng, intro, listing, question)
    tail, lead = rng.choice(TAILS[kind]), rng.choice(LEADS)
    pairs = arrange(rng, list(zip(labels, sums, strict=True)), order)
    steps = tuple(_step(template, label, item) for label, item in pairs)
    winner = "" if kind == "total" else labels[values.index(pick)]
    working = _running_total([item.partials[-1] for _, item in pairs]) if kind == "total" else ""
    tail = tail.format(a=winner, x=pick, w=working)
    return Problem(prompt, lead, steps, tail, winner or str(pick), kind)


def _pick(rng: random.Random, kind: str, values: list[int]) -> int:
    """The value that the question is about."""
    if kind == "equal":
        return rng.choice(values)
    return sum(values) if kind == "total" else max(values) if kind == "largest" else min(values)


def _draw_sums(rng: random.Random, n: int, split: str, kind: str) -> list[Sum]:
    cap = LIMIT // n if kind == "total" else LIMIT
    length, mixed = rng.choice((2, 3, 3)), rng.random() < 0.2
    while True:
        found: dict[int, Sum] = {}
        while len(found) < n:
            size = rng.choice((2, 3)) if mixed else length
            item = _draw_sum(rng, size)
            value = item.partials[-1]
            if value <= cap and value not in found and split_of(str(item)) == split:
                found[value] = item
        ranked = sorted(found)
        lead = {"largest": ranked[-1] - ranked[-2], "smallest": ranked[1] - ranked[0]}
        if lead.get(kind, MARGIN) >= MARGIN:
            return list(found.values())


def _draw_sum(rng: random.Random, size: int) -> Sum:
    """A sum of `size` operations, a product first or none, then additions only or subtractions
    only: precedence never matters, and a sign that was copied once tells the next."""
    low, high = OPERANDS
    sign = rng.choice("+-")
    value = first = rng.randint(3, 45) if sign == "+" else rng.randint(35, LIMIT)
    rest: list[tuple[str, int]] = []
    if rng.random() < 0.2:
        value = first = rng.randint(3, 15)
        rest.append(("*", rng.randint(2, 6)))
        value *= rest[0][1]
        sign = "+" if value < LIMIT // 2 else "-"
    while len(rest) < size:
        room = LIMIT - value if sign == "+" else value
        if room < low:
            return _draw_sum(rng, size)
        rest.append((sign, rng.randint(low, min(high, room))))
        value = apply(value, *rest[-1])
    return Sum(first, tuple(rest))


def draw_operation(rng: random.Random, value: int) -> tuple[str, int]:
    """A sign + or - and an operand that keep `value` within 0 and LIMIT."""
    low, high = OPERANDS
    if value < 12 or (value <= LIMIT - high and rng.random() < 0.5):
        return "+", rng.randint(low, high)
    return "-", rng.randint(low, min(high, value))


def _step(template: tuple[str, str, str, str], label: str, item: Sum) -> Step:
    start, first, further, end = template
    partials = item.partials
    words = {"t": label, "e": str(item), "v": str(partials[-1])}
    lines = [
        (further if i else first).format(a=partials[i], s=sign, b=operand, c=partials[i + 1])
        for i, (sign, operand) in enumerate(item.rest)
    ]
    return Step(label, start.format(**words) + "".join(lines) + end.format(**words))


def _running_total(values: list[int]) -> str:
    lines, total = [], values[0]
    for value in values[1:]:
        lines.append(f"{total} + {value} = {total + value}")
        total += value
    return ", then ".join(lines)
