"""`sums`: several labelled expressions, each worked out on its own, then combined.

Questions: the one with a given value, above or below one, or (2 to 4 of them) the total.
"""

import random
from dataclasses import dataclass

from pdata.synthetic.problem import Order, Problem, Step, arrange
from pdata.synthetic.wording import (
    CHOSEN,
    LEADS,
    VERDICTS,
    draw_labels,
    draw_names,
    split_of,
    write_list,
    write_prompt,
)

LIMIT = 99  # no value or partial result exceeds it, none is negative
LEAST = 10  # no final value is below it
OPERANDS = (2, 19)  # of + and -
INTROS = (
    "Work these out.",
    "Here are some sums.",
    "Evaluate the following.",
    "Take these expressions.",
    "Look at these calculations.",
)
TOTAL_INTRO = "Add these up."
ASKED = ("Which one is {k} {x}?", "Which comes out {k} {x}?", "Find the one {k} {x}.")
TOTAL_ASKED = ("What is the total?", "What do they come to together?")
# one an intro; each: start, first partial result, further ones, end. What is asked comes before the
# relation, that before the verdict, and that right before the label.
STEPS = (
    ("{t}: ", "{a} {s} {b} = {c}", ", then {a} {s} {b} = {c}",
     ". Asked {k} {x}, {v} is {r}, so this {ok} {t}."),
    ("{t} starts with ", "{a} {s} {b} = {c}", "; next {a} {s} {b} = {c}",
     ". With {k} {x} asked, {v} is {r}, which {ok} {t}."),
    ("{t} in parts: ", "{a} {s} {b} is {c}", ", {a} {s} {b} is {c}",
     "; to be {k} {x}, {v} is {r}. That {ok} {t}."),
    ("{t} is {e}. ", "First {a} {s} {b} = {c}", ", now {a} {s} {b} = {c}",
     ", {v} for {k} {x} is {r}, and so it {ok} {t}."),
    ("{t}: from ", "{a} {s} {b} we get {c}", ", from {a} {s} {b} we get {c}",
     ". {v}, wanted {k} {x}, is {r}; it {ok} {t}."),
)  # fmt: skip
TOTAL_STEP = ("{t} adds ", "{a} {s} {b} = {c}", ", then {a} {s} {b} = {c}", ". So {t} is {v}.")
TOTALS = ("In total {w}. answer: {x}", "Adding up, {w}. answer: {x}")


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
    kinds = ("equal to", "more than", "less than", "total")
    kind = rng.choices(kinds, (2, 1, 1, 1 if level <= 4 else 0))[0]
    sums = _draw_sums(rng, level, split, LIMIT // level if kind == "total" else LIMIT)
    values = [s.partials[-1] for s in sums]
    labels = draw_names(rng, level, split) if rng.random() < 0.5 else draw_labels(rng, level)
    if labels[0].isdigit():  # a bare number would read as an operand
        labels = [f"No {label}" for label in labels]
    asked, winner = _ask(rng, kind, values)
    listing = write_list(rng, labels, [str(s) for s in sums])
    intro, parts = rng.choice(tuple(zip(INTROS, STEPS, strict=True)))
    questions: tuple[str, ...] = ASKED
    if kind == "total":
        intro, parts, questions = TOTAL_INTRO, TOTAL_STEP, TOTAL_ASKED
    prompt = write_prompt(rng, intro, listing, rng.choice(questions).format(k=kind, x=asked))
    lead = rng.choice(LEADS)
    pairs = arrange(rng, list(zip(labels, sums, strict=True)), order)
    steps = tuple(_step(parts, label, item, kind, asked) for label, item in pairs)
    if kind == "total":
        tail = rng.choice(TOTALS).format(w=_running_total(pairs), x=asked)
        return Problem(prompt, lead, steps, tail, str(asked), kind)
    answer = labels[values.index(winner)]
    return Problem(prompt, lead, steps, rng.choice(CHOSEN).format(a=answer), answer, kind)


def _ask(rng: random.Random, kind: str, values: list[int]) -> tuple[int, int]:
    """The number that the question is about, and the only value that satisfies it."""
    if kind == "equal to":
        return (rng.choice(values),) * 2
    if kind == "total":
        return sum(values), sum(values)
    first, second = sorted(values, reverse=kind == "more than")[:2]
    return rng.randint(min(first, second) + 1, max(first, second) - 1), first


def _draw_sums(rng: random.Random, n: int, split: str, cap: int) -> list[Sum]:
    """Sums no two of which have the same value or neighbours, so that a bound fits between."""
    length, mixed = rng.choice((2, 2, 3)) if n <= 10 else 2, rng.random() < 0.2
    by_value: dict[int, Sum] = {}
    while len(by_value) < n:
        item = _draw_sum(rng, rng.choice((2, 3)) if mixed else length)
        value = item.partials[-1]
        apart = all(abs(value - other) > 1 for other in by_value)
        if LEAST <= value <= cap and apart and split_of(str(item)) == split:
            by_value[value] = item
    return list(by_value.values())


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


def _step(parts: tuple[str, str, str, str], label: str, item: Sum, kind: str, asked: int) -> Step:
    start, first, further, end = parts
    partials = item.partials
    value = partials[-1]
    relation = "equal" if value == asked else "more" if value > asked else "less"
    blanks = {
        "t": label,
        "e": str(item),
        "v": str(value),
        "k": kind,
        "x": str(asked),
        "r": relation,
        "ok": VERDICTS[not kind.startswith(relation)],
    }
    lines = [
        (further if i else first).format(a=partials[i], s=sign, b=operand, c=partials[i + 1])
        for i, (sign, operand) in enumerate(item.rest)
    ]
    return Step(label, start.format(**blanks) + "".join(lines) + end.format(**blanks))


def _running_total(pairs: list[tuple[str, Sum]]) -> str:
    """Every value after its label, as in its step, then the sums."""
    values = [item.partials[-1] for _, item in pairs]
    named = ", ".join(f"{label} is {v}" for (label, _), v in zip(pairs, values, strict=True))
    lines, total = [], values[0]
    for value in values[1:]:
        lines.append(f"{total} + {value} = {total + value}")
        total += value
    return f"{named}: {', then '.join(lines)}"
