"""What a task generator returns: a prompt, steps in the order of the trace, and a conclusion.

Knows the text form of a linear trace (lead, one line a step, tail), and nothing of any one task.
Steps that do not see each other cannot agree on a wording, so it follows from that of the prompt.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

T = TypeVar("T")
Order = Literal["listed", "shuffled"]


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a trace. It starts with its topic; `given` is the value a chain step needs."""

    topic: str
    text: str
    given: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A prompt and its linear solution; `tail` fits the order that `steps` are in."""

    prompt: str
    lead: str  # may be empty
    steps: tuple[Step, ...]
    tail: str
    answer: str
    question: str  # kind of question, for statistics
    gap: str = "\n"  # between its lines

    @property
    def completion(self) -> str:
        lines = [self.lead, *(step.text for step in self.steps), self.tail]
        return self.gap.join(line for line in lines if line)

    @property
    def topics(self) -> list[str]:
        return [step.topic for step in self.steps]


# make(rng, level = number of steps, split, order) -> Problem
Generator = Callable[[random.Random, int, str, Order], Problem]


def arrange(rng: random.Random, items: Sequence[T], order: Order) -> list[T]:
    """`items` in the order of the trace; draws from `rng` last, so texts do not depend on it."""
    arranged = list(items)
    if order == "shuffled":
        rng.shuffle(arranged)
    return arranged
