"""`chain`: a number is changed step after step, so every step needs the one before it.

Written as a list like the other tasks, it must not be forked: only the prompt tells the difference.
"""

import random
from dataclasses import dataclass

from pdata.synthetic.problem import Order, Problem, Step
from pdata.synthetic.tasks.sums import LIMIT, apply, draw_operation
from pdata.synthetic.wording import LEADS, draw_names, split_of, write_list, write_prompt


@dataclass(frozen=True, slots=True)
class Story:
    """Wording of a chain; `signs` maps an operation to the words that ask for it."""

    noun: str  # what a step is called
    intros: tuple[str, ...]
    signs: dict[str, str]
    questions: tuple[str, ...]
    named: bool = False  # steps may carry names in place of numbers


STORIES = (
    Story(
        "Step",
        (
            "Start with {x} and do this.",
            "Begin at {x} and follow the list.",
            "Take the number {x}.",
        ),
        {"+": "add {k}", "-": "subtract {k}", "*": "multiply by {k}"},
        ("What is the result?", "Which number do you end with?", "What comes out?"),
    ),
    Story(
        "Day",
        ("A jar holds {x} coins.", "There are {x} coins in a jar.", "We start with {x} coins."),
        {"+": "{k} coins go in", "-": "{k} coins come out"},
        ("How many coins are there at the end?", "How many coins are left?"),
    ),
    Story(
        "Stop",
        ("A bus leaves with {x} people.", "There are {x} people on a bus."),
        {"+": "{k} people get on", "-": "{k} people get off"},
        ("How many people are on the bus at the end?", "How many people are left?"),
        named=True,
    ),
    Story(
        "Round",
        ("A game starts at {x} points.", "The score at the start is {x}."),
        {"+": "win {k}", "-": "lose {k}", "*": "the score times {k}"},
        ("What is the score at the end?", "Which score is reached?"),
        named=True,
    ),
)
STEPS = (
    "{t}: we are at {x} now, {o}, and {x} {s} {k} = {y}, so we go on with {y}.",
    "{t}: {o}. Up to here it was {x}, and {x} {s} {k} = {y}, so now it is {y}.",
    "{t} takes the {x} that we have: {o}, which is {x} {s} {k} = {y}, and that leaves {y}.",
    "{t}: before it {x}, then {o}. This gives {x} {s} {k} = {y}, so {y} is carried on.",
    "{t}: {o}, starting from {x}. We get {x} {s} {k} = {y}, and the new value is {y}.",
)
TAILS = (
    "The end is {y}. answer: {y}",
    "So the result is {y}. answer: {y}",
    "It comes to {y}. answer: {y}",
    "We end with {y}. answer: {y}",
)


def make(rng: random.Random, level: int, split: str, order: Order = "listed") -> Problem:
    """A problem of `level` steps; its steps are always in order."""
    story = rng.choice(STORIES)
    while True:
        start, moves = _draw_moves(rng, level, "*" in story.signs)
        if split_of(f"{start} {moves}") == split:
            break
    if story.named and rng.random() < 0.5:
        labels = [f"{story.noun} {name}" for name in draw_names(rng, level, split)]
    else:
        labels = [f"{story.noun} {i + 1}" for i in range(level)]
    actions = [story.signs[sign].format(k=operand) for sign, operand in moves]
    prompt = write_prompt(
        rng,
        rng.choice(story.intros).format(x=start),
        write_list(rng, labels, actions),
        rng.choice(story.questions),
    )
    template, lead, tail = rng.choice(STEPS), rng.choice(LEADS), rng.choice(TAILS)
    steps, value = [], start
    for label, action, (sign, operand) in zip(labels, actions, moves, strict=True):
        result = apply(value, sign, operand)
        blanks = {"t": label, "o": action, "x": value, "s": sign, "k": operand, "y": result}
        steps.append(Step(label, template.format(**blanks), str(value)))
        value = result
    return Problem(prompt, lead, tuple(steps), tail.format(y=value), str(value), "chain")


def _draw_moves(
    rng: random.Random, n: int, products: bool
) -> tuple[int, tuple[tuple[str, int], ...]]:
    """A start and `n` (sign, operand) pairs that keep the value within 0 and LIMIT."""
    value = start = rng.randint(5, 60)
    moves = []
    for _ in range(n):
        if products and 2 <= value <= LIMIT // 2 and rng.random() < 0.12:
            sign, operand = "*", rng.randint(2, min(4, LIMIT // value))
        else:
            sign, operand = draw_operation(rng, value)
        moves.append((sign, operand))
        value = apply(value, sign, operand)
    return start, tuple(moves)
