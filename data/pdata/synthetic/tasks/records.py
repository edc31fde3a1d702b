"""`records`: which of several named records satisfies a range or a bound; exactly one does.
Steps are independent.
"""

import random
from dataclasses import dataclass

from pdata.synthetic.problem import Order, Problem, Step, arrange
from pdata.synthetic.wording import (
    CHOSEN,
    LEADS,
    VERDICTS,
    draw_names,
    draw_word,
    write_list,
    write_prompt,
)

FIELDS = ("score", "rating", "weight", "price", "distance", "height")
INTROS = (
    "Here are some records.",
    "Look at this list.",
    "These are the entries we have.",
    "We have the following data.",
    "Below is a small table.",
)
RANGE_QUESTIONS = (
    "Who has a {f} between {lo} and {hi}?",
    "Which one has a {f} from {lo} to {hi}?",
    "Find the record with a {f} above {lo} and below {hi}.",
    "Whose {f} lies between {lo} and {hi}?",
    "Name the entry with a {f} in the range {lo} to {hi}.",
)
BOUND_QUESTIONS = (
    "Who has a {f} {side} {b}?",
    "Which one has a {f} {side} {b}?",
    "Find the record with a {f} {side} {b}.",
    "Whose {f} is {side} {b}?",
    "Name the entry with a {f} {side} {b}.",
)
# one a question: both numbers of a comparison come before what it yields, what is asked before the
# verdict
RANGE_STEPS = (
    "{t} has a {f} of {v}. Against {lo}, {v} is {r}; against {hi}, {v} is {s}. That {ok} {t}.",
    "{t}: {f} {v}, wanted {lo} to {hi}. From {lo}, {v} is {r}; from {hi}, {v} is {s}; it {ok} {t}.",
    "{t} is listed with {v}. Next to {lo} it is {r}, next to {hi} it is {s}, which {ok} {t}.",
    "{t}: the {f} is {v}. Compared with {lo} it is {r}, with {hi} it is {s}, so this {ok} {t}.",
    "{t} comes with a {f} of {v}; the limits are {lo} and {hi}. For {lo} it is {r}, for {hi} it "
    "is {s}, and so it {ok} {t}.",
)
BOUND_STEPS = (
    "{t} has a {f} of {v}, asked is {side} {b}. Against {b}, {v} is {r}. That {ok} {t}.",
    "{t}: {f} {v}, wanted {side} {b}. From {b}, {v} is {r}; on this condition it {ok} {t}.",
    "{t} is listed with {v}; we ask for {side} {b}. Next to {b} it is {r}, which {ok} {t}.",
    "{t}: the {f} is {v}, to be {side} {b}. Compared with {b} it is {r}, so this {ok} {t}.",
    "{t} comes with a {f} of {v}, and {side} {b} is asked. For {b} it is {r}, and so it {ok} {t}.",
)


@dataclass(frozen=True, slots=True)
class Condition:
    """Bounds in tenths; `kind` is range, above or below."""

    kind: str
    low: int
    high: int


def make(rng: random.Random, level: int, split: str, order: Order = "listed") -> Problem:
    """A problem of `level` records; values, bounds and names are drawn for `split`."""
    field = rng.choice(FIELDS)
    names = draw_names(rng, level, split)
    condition, values = _draw_values(rng, level)
    bodies = _describe(rng, field, values, split)
    blanks = {
        "f": field,
        "lo": _decimal(condition.low),
        "hi": _decimal(condition.high),
        "side": condition.kind,
        "b": _decimal(condition.low if condition.kind == "above" else condition.high),
    }
    questions = RANGE_QUESTIONS if condition.kind == "range" else BOUND_QUESTIONS
    template = rng.randrange(len(questions))
    question = questions[template].format(**blanks)
    prompt = write_prompt(rng, rng.choice(INTROS), write_list(rng, names, bodies), question)
    steps = [_step(template, n, v, condition, blanks) for n, v in zip(names, values, strict=True)]
    (answer,) = [
        n for n, v in zip(names, values, strict=True) if condition.low < v < condition.high
    ]
    tail = rng.choice(CHOSEN).format(a=answer)
    lead = rng.choice(LEADS)
    return Problem(prompt, lead, tuple(arrange(rng, steps, order)), tail, answer, condition.kind)


def _draw_values(rng: random.Random, n: int) -> tuple[Condition, list[int]]:
    """A condition and `n` distinct values in tenths, of which one satisfies it."""
    kind = rng.choice(("range", "range", "above", "below"))
    while True:
        values = sorted(rng.sample(range(10, 100), n))
        rank = {"range": rng.randrange(n), "above": n - 1, "below": 0}[kind]  # of the one inside
        below = values[rank - 1] if rank > 0 else 3
        above = values[rank + 1] if rank + 1 < n else 99
        inside = values[rank]
        if inside - below > 1 and above - inside > 1:
            break
    low = rng.randint(below + 1, inside - 1) if kind != "below" else -1
    high = rng.randint(inside + 1, above - 1) if kind != "above" else 10_000
    rng.shuffle(values)
    return Condition(kind, low, high), values


def _describe(rng: random.Random, field: str, values: list[int], split: str) -> list[str]:
    """The text of every record: the field that is asked for among none to two others."""
    age, town = rng.random() < 0.5, rng.random() < 0.4
    place = rng.randrange(3)
    bodies = []
    for value in values:
        parts = [f"age {rng.randint(20, 69)}"] if age else []
        parts += [f"town {draw_word(rng, split)}"] if town else []
        parts.insert(min(place, len(parts)), f"{field} {_decimal(value)}")
        bodies.append(", ".join(parts))
    return bodies


def _step(
    template: int, name: str, value: int, condition: Condition, blanks: dict[str, str]
) -> Step:
    holds = condition.low < value < condition.high
    steps = RANGE_STEPS if condition.kind == "range" else BOUND_STEPS
    bound = condition.high if condition.kind == "below" else condition.low
    blanks |= {
        "t": name,
        "v": _decimal(value),
        "r": "above" if value > bound else "below",
        "s": "above" if value > condition.high else "below",
        "ok": VERDICTS[not holds],
    }
    return Step(name, steps[template].format(**blanks))


def _decimal(tenths: int) -> str:
    return f"{tenths // 10}.{tenths % 10}"
