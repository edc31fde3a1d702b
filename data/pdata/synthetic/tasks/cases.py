"""`cases`: a rule with two bounds, checked for every case; then a conclusion over all of them.

Questions: which is the only one that fails, which the only one that passes, do all pass.
"""

import random
from dataclasses import dataclass

from pdata.synthetic.problem import Order, Problem, Step, arrange
from pdata.synthetic.wording import LEADS, draw_labels, split_of, write_list, write_prompt


@dataclass(frozen=True, slots=True)
class Story:
    """What the cases are; a bound is "at most" unless the attribute is listed in `at_least`."""

    noun: str
    plural: str
    first: str
    second: str
    at_least: tuple[str, ...]
    verb: str  # what a case that satisfies both bounds does


STORIES = (
    Story("Box", "boxes", "weight", "length", (), "can be sent"),
    Story("Room", "rooms", "area", "rent", ("area",), "is suitable"),
    Story("Machine", "machines", "load", "age", (), "may run"),
    Story("Job", "jobs", "memory", "time", (), "is accepted"),
    Story("Day", "days", "wind", "rain", (), "is fine"),
    Story("Case", "cases", "width", "depth", ("width", "depth"), "is valid"),
    Story("Team", "teams", "score", "speed", ("score", "speed"), "qualifies"),
)
RULES = (
    "One of the {p} {w} if its {x} is {xb} and its {y} is {yb}.",
    "The rule: {x} {xb} and {y} {yb}, then it {w}.",
    "To pass, the {x} must be {xb} and the {y} must be {yb}; then it {w}.",
    "A {n} {w} when its {x} is {xb} and its {y} is {yb}.",
    "Every {n} with {x} {xb} and {y} {yb} {w}.",
)
QUESTIONS = {
    "fails": ("Which is the only one that fails?", "Name the one that fails."),
    "passes": ("Which is the only one that passes?", "Name the one that passes."),
    "all": ("Is it true for all of the {p}?", "Do all {p} pass?", "Does every one of them pass?"),
}
# one a rule; each: start, one comparison, glue, end. Both numbers and what is asked come before the
# relation, that before the verdict, and that right before the case.
STEPS = (
    ("{t}: ", "{x} {a}, {side} {b} asked, {a} is {r}, so that {ok}", "; ", ". This {v} {t}."),
    ("{t} has ", "{x} {a} for {side} {b}, {a} is {r}, which {ok}", ", and ", ". So it {v} {t}."),
    ("{t}: ", "{x} is {a}, to be {side} {b}; it is {r}, so {ok}", "; ", ". That {v} {t}."),
    ("{t} against the rule: ", "{x} {a} with {side} {b} is {r}, {ok}", ", ", ", which {v} {t}."),
    ("{t}. ", "The {x} is {a}, the rule {side} {b}; that is {r}, so it {ok}", ". ",
     ". The rule {v} {t}."),
)  # fmt: skip
# one a rule: what is said of a comparison
HOLDS = (
    ("holds", "does not hold"),
    ("is fine", "is not fine"),
    ("true", "false"),
    ("fine", "not fine"),
    ("is met", "is not met"),
)
TAILS = {
    "yes": ("Each of them passes. answer: yes", "So all of them pass. answer: yes"),
    "no": ("At least one fails. answer: no", "So not all of them pass. answer: no"),
}
ONLY = ("The one that {v}: it {v} {a}. name: {a}", "So the one that {v}: it {v} {a}. name: {a}")


@dataclass(frozen=True, slots=True)
class Bound:
    """A number and its direction; no number that is compared with it is equal to it."""

    name: str
    least: bool
    value: int

    @property
    def side(self) -> str:
        return "at least" if self.least else "at most"

    def __str__(self) -> str:
        return f"{self.side} {self.value}"

    def holds(self, number: int) -> bool:
        return (number > self.value) == self.least


def make(rng: random.Random, level: int, split: str, order: Order = "listed") -> Problem:
    """A problem of `level` cases of one story."""
    story = rng.choice(STORIES)
    kind = rng.choice(tuple(QUESTIONS))
    labels = [f"{story.noun} {label}" for label in draw_labels(rng, level)]
    bounds = [
        Bound(name, name in story.at_least, rng.randint(20, 79))
        for name in (story.first, story.second)
    ]
    verdicts = _draw_verdicts(rng, level, kind)
    numbers = _draw_numbers(rng, bounds, verdicts, split)
    wording = rng.randrange(len(RULES))
    prompt = _write_prompt(rng, RULES[wording], story, kind, bounds, labels, numbers)
    lead = rng.choice(LEADS)
    tail = rng.choice(ONLY)
    if kind == "all":
        answer = "yes" if all(verdicts) else "no"
        tail = rng.choice(TAILS[answer])
    else:
        answer = labels[verdicts.index(kind == "passes")]
    rows = arrange(rng, list(zip(labels, numbers, strict=True)), order)
    steps = tuple(_step(wording, label, pair, bounds) for label, pair in rows)
    return Problem(prompt, lead, steps, tail.format(v=kind, a=answer), answer, kind)


def _draw_verdicts(rng: random.Random, n: int, kind: str) -> list[bool]:
    if kind == "all" and rng.random() < 0.5:
        return [True] * n
    failing = {"fails": 1, "passes": n - 1, "all": rng.randint(1, min(n, 4))}[kind]
    verdicts = [i >= failing for i in range(n)]
    rng.shuffle(verdicts)
    return verdicts


def _draw_numbers(
    rng: random.Random, bounds: list[Bound], verdicts: list[bool], split: str
) -> list[tuple[int, int]]:
    pairs: dict[tuple[int, int], None] = {}
    for verdict in verdicts:
        while True:
            holds = rng.choice(
                ((True, True),) if verdict else ((True, False), (False, True), (False, False))
            )
            a, b = (_draw_number(rng, bound, ok) for bound, ok in zip(bounds, holds, strict=True))
            if (a, b) not in pairs and split_of(f"{a},{b}") == split:
                pairs[a, b] = None
                break
    return list(pairs)


def _draw_number(rng: random.Random, bound: Bound, ok: bool) -> int:
    if bound.least == ok:
        return rng.randint(bound.value + 1, 99)
    return rng.randint(2, bound.value - 1)


def _write_prompt(
    rng: random.Random,
    template: str,
    story: Story,
    kind: str,
    bounds: list[Bound],
    labels: list[str],
    numbers: list[tuple[int, int]],
) -> str:
    first, second = bounds
    blanks = {
        "p": story.plural,
        "w": story.verb,
        "x": first.name,
        "y": second.name,
    }
    rule = template.format(**blanks, n=story.noun.lower(), xb=first, yb=second)
    question = rng.choice(QUESTIONS[kind]).format(**blanks)
    bodies = [f"{first.name} {a}, {second.name} {b}" for a, b in numbers]
    return write_prompt(rng, rule, write_list(rng, labels, bodies), question)


def _step(
    wording: int,
    label: str,
    pair: tuple[int, int],
    bounds: list[Bound],
) -> Step:
    start, compare, glue, end = STEPS[wording]
    holds = [bound.holds(number) for bound, number in zip(bounds, pair, strict=True)]
    parts = [
        compare.format(
            x=bound.name, a=number, side=bound.side, b=bound.value,
            r="more" if number > bound.value else "less",
            ok=HOLDS[wording][not held],
        )
        for number, bound, held in zip(pair, bounds, holds, strict=True)
    ]  # fmt: skip
    verdict = "passes" if all(holds) else "fails"
    return Step(label, start.format(t=label) + glue.join(parts) + end.format(v=verdict, t=label))
