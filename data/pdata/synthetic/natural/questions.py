"""Questions about one number of each item: a range, a bound, a value, the largest or smallest."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pdata.synthetic.natural.comparison import WANTED, Wanted
from pdata.synthetic.natural.lexicon import relative
from pdata.synthetic.natural.phrasing import article, ask_form, choose
from pdata.synthetic.natural.worlds import Quantity

RANGES = (
    "lying between {lo} and {hi}{u}", "from {lo} to {hi}{u}", "above {lo} and below {hi}{u}",
    "over {lo} but under {hi}{u}", "higher than {lo} and lower than {hi}{u}",
    "in the range from {lo} to {hi}{u}", "that lies between {lo} and {hi}{u}",
    "of more than {lo} and less than {hi}{u}", "somewhere between {lo} and {hi}{u}",
)  # fmt: skip
BOUNDS = (
    ("below {b}{u}", "above {b}{u}"), ("under {b}{u}", "over {b}{u}"),
    ("lower than {b}{u}", "higher than {b}{u}"), ("of less than {b}{u}", "of more than {b}{u}"),
    ("that stays below {b}{u}", "that exceeds {b}{u}"), ("of under {b}{u}", "of over {b}{u}"),
    ("smaller than {b}{u}", "greater than {b}{u}"),
    ("that is less than {b}{u}", "that is more than {b}{u}"),
)  # fmt: skip
QUESTIONS = (
    "Which {n} has {np}?", "Which of the {p} has {np}?", "Which one of these {p} has {np}?",
    "Find the {n} with {np}.", "Name the only {n} with {np}.",
    "Exactly one {n} has {np}. Which one?", "Please tell me which {n} has {np}.",
    "I am looking for the {n} with {np}. Which one is it?", "Can you find the {n} {who} has {np}?",
    "Only one of the {p} has {np}. Which one is it?", "Pick out the {n} with {np}.",
    "Of all the {p}, which one has {np}?", "Question: which {n} has {np}?",
    "We need {an} with {np}. Which one fits?", "Tell me the name of the {n} with {np}.",
    "Somebody asks for {an} with {np}. Which one should we name?",
    "Identify the {n} {who} has {np}.", "Determine which {n} has {np}.",
    "Select the {n} with {np}.", "What is the name of the {n} with {np}?",
    "Just one {n} comes with {np}; which one?", "Search the list for {an} with {np}.",
    "Which {n} on this list has {np}?", "There is only one {n} with {np}. Which is it?",
    "Go through the {p} and name the one with {np}.",
    "Check the {p} and give me the one with {np}.", "My question: which {n} has {np}?",
    "Help me find the {n} with {np}.", "Read the text and find the {n} with {np}.",
    "Which name belongs to the {n} with {np}?", "One {n} has {np}. Tell me which.",
    "Out of these {p}, pick the one with {np}.",
)  # fmt: skip
EXACT = (
    "of exactly {b}{u}", "equal to {b}{u}", "of {b}{u}", "that is just {b}{u}",
    "that comes to {b}{u}", "that amounts to {b}{u}", "of {b}{u} sharp", "of precisely {b}{u}",
)  # fmt: skip
EXTREMES = (
    "Which {n} has the {m} {q}?", "Which of the {p} has the {m} {q}?",
    "Find the {n} with the {m} {q}.", "Name the {n} with the {m} {q}.",
    "Of all the {p}, which one has the {m} {q}?", "Tell me which {n} has the {m} {q}.",
    "Question: which {n} has the {m} {q}?", "Pick the {n} with the {m} {q}.",
    "I want to know which {n} has the {m} {q}.", "Compare the {p}: which one has the {m} {q}?",
    "What is the name of the {n} with the {m} {q}?", "Determine the {n} with the {m} {q}.",
    "Whose {q} is the {m}? Name the {n}.", "Look for the {m} {q}. Which {n} has it?",
    "Which one has the {m} {q} among these {p}?", "Select the {n} {who} has the {m} {q}.",
)  # fmt: skip
FEW = 5  # items up to which a conclusion goes through all of them
_MARGIN = 10  # a range may go beyond the usual values by one part in so many


class Things(Protocol):
    """What the items of a prompt are: one, several, and how they are named."""

    @property
    def noun(self) -> str: ...

    @property
    def plural(self) -> str: ...

    @property
    def kind(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What a prompt asks about one quantity.

    kind: range, above, below, equal, largest or smallest. low, high: the value of the answer lies
    within, in units of the last place; both are that value, where values are compared with each
    other.
    """

    kind: str
    quantity: Quantity
    text: str
    low: int | None = None
    high: int | None = None

    @property
    def extreme(self) -> bool:
        """Whether values are compared with each other, not with a bound."""
        return self.kind in ("largest", "smallest")

    @property
    def most(self) -> str:
        """The superlative that is asked for."""
        return self.quantity.most[self.kind == "smallest"]

    @property
    def bounds(self) -> list[tuple[Wanted, int]]:
        """What a value has to be, and seen from which bound."""
        if self.low is not None and self.low == self.high:
            return [(WANTED["equal"], self.low)]
        bounds = (("above", self.low), ("below", self.high))
        return [(WANTED[side], bound) for side, bound in bounds if bound is not None]

    @property
    def condition(self) -> str:
        """What is asked for, in the words of the checks: weight more than 27 and less than 41."""
        if self.extreme:
            return f"the {self.most} {self.quantity.name}"
        told = " and ".join(wanted.of(b, self.quantity.places) for wanted, b in self.bounds)
        return f"{self.quantity.name} {told}"

    def finds(self, value: int) -> bool:
        """Whether `value` is the answer's."""
        low, high = self.low, self.high
        return (low is None or low <= value) and (high is None or value <= high)


def draw_kind(rng: random.Random, n: int, easy: bool) -> str:
    """A kind of question about `n` items."""
    kinds = ("above", "below") if easy else ("range", "range", "above", "below")
    return rng.choice(kinds + (("largest", "smallest") if n <= FEW else ()))


def draw_values(rng: random.Random, quantity: Quantity, n: int, easy: bool) -> list[int]:
    """`n` different values, between any two of which a bound fits; far apart where it is `easy`."""
    span = quantity.high - quantity.low
    gap = max(2, span // (3 * n)) if easy else 2
    spread = sorted(rng.sample(range(span + 1 - (n - 1) * (gap - 1)), n))
    values = [quantity.low + x + i * (gap - 1) for i, x in enumerate(spread)]
    rng.shuffle(values)
    return values


def ask(
    rng: random.Random,
    kind: str,
    quantity: Quantity,
    values: Sequence[int],
    world: Things,
    split: str,
) -> Asked:
    """A question of that kind, which exactly one of `values` answers."""
    blanks = {
        "n": world.noun,
        "p": world.plural,
        "an": article(world.noun),
        "who": relative(world.kind),
        "q": quantity.name,
    }
    if kind in ("largest", "smallest"):
        most = quantity.most[kind == "smallest"]
        value = max(values) if kind == "largest" else min(values)
        text = choose(rng, EXTREMES, split).format(**blanks, m=most)
        return Asked(kind, quantity, text, value, value)
    low, high = _draw_bounds(rng, kind, quantity, sorted(values))
    bounds = {
        key: quantity.show(x)
        for key, x in (("lo", low), ("hi", high), ("b", high if low is None else low))
        if x is not None
    }
    if kind == "range":
        phrase = choose(rng, RANGES, split)
    elif kind == "equal":
        phrase = choose(rng, EXACT, split)
    else:
        phrase = choose(rng, BOUNDS, split)[kind == "above"]
    np = f"{article(quantity.name)} {phrase.format(**bounds, u=quantity.unit)}"
    text = choose(rng, QUESTIONS, split).format(**blanks, np=np)
    return Asked(kind, quantity, text, low, high)


def _draw_bounds(
    rng: random.Random, kind: str, quantity: Quantity, order: list[int]
) -> tuple[int | None, int | None]:
    """Bounds around one value of `order`, which is sorted; no value is equal to one, unless that
    is what is asked for."""
    n, margin = len(order), 2 + (quantity.high - quantity.low) // _MARGIN
    at = {"above": n - 1, "below": 0}.get(kind, rng.randrange(n))
    value = order[at]
    if kind == "equal":
        return value, value
    below = order[at - 1] if at else max(0, value - margin)
    above = order[at + 1] if at + 1 < n else value + margin
    low = rng.randint(below + 1, value - 1) if kind != "below" else None
    high = rng.randint(value + 1, above - 1) if kind != "above" else None
    return low, high


def ask_name(rng: random.Random, noun: str, split: str) -> tuple[str, str]:
    """The key of the closing form, and the request to close with it and a name."""
    key = "name" if rng.random() < 0.7 else "answer"
    return key, ask_form(rng, key, f"the name of the {noun}", split)
