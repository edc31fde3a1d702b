"""`cases`: a rule with two conditions, checked for every case; then a conclusion over all of them.

Questions: which is the only one that fails, which the only one that passes, do all pass, how many.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pdata.synthetic.natural.comparison import CHECKS, REASONS, WANTED, Wanted, tell_check
from pdata.synthetic.natural.lexicon import PEOPLE, draw_subjects, relative
from pdata.synthetic.natural.listing import assemble, draw_listing
from pdata.synthetic.natural.phrasing import (
    LEADS,
    article,
    ask_form,
    capital,
    choose,
    decimal,
    enumerate_words,
    open_with_plan,
)
from pdata.synthetic.natural.questions import ask_name
from pdata.synthetic.natural.retrieval import GAPS, close
from pdata.synthetic.natural.rules import EASY_RULES, QUESTIONS, RULES, SIDES, WORLDS, Sides, World
from pdata.synthetic.natural.worlds import Quantity
from pdata.synthetic.problem import Problem, Step


@dataclass(frozen=True, slots=True)
class Limit:
    """A condition: the bound of a quantity, in units of its last place, and as the rule says it.

    No number that is compared with a bound is equal to it.
    """

    quantity: Quantity
    least: bool
    bound: int
    text: str
    wanted: Wanted

    @property
    def condition(self) -> str:
        """What is asked for, in the words of a check: rent 564 or less."""
        return f"{self.quantity.name} {self.wanted.of(self.bound, self.quantity.places)}"


# how a step reads the number of the first condition, and of the second one
OPENINGS = (
    ("{t}: the {x} is {a}.", "The {x} is {a}."), ("{t}: {ax} of {a}.", "{Ax} of {a}."),
    ("{t} has {ax} of {a}.", "Then {ax} of {a}."), ("{t}: {x} {a}.", "{X} {a}."),
    ("{t} shows {ax} of {a}.", "And {ax} of {a}."),
    ("{t}: for the {x} we read {a}.", "For the {x} we read {a}."),
)  # fmt: skip
# what a step ends with, and a conclusion that names the only one of that verdict
VERDICTS = (
    ("So {t} passes.", "So {t} fails.", "The only one that {v} is {t}."),
    ("Verdict: passes, {t}.", "Verdict: fails, {t}.", "One alone has this verdict: {v}, {t}."),
    ("Taken together: {t} passes.", "Taken together: {t} fails.", "So one {v}, namely {t}."),
    ("In short, {t} passes.", "In short, {t} fails.", "So {t} {v} and no other one does."),
    ("Hence {t} passes.", "Hence {t} fails.", "There is one that {v}: {t}."),
)  # fmt: skip
# conclusions where not just one is asked for; {w}: those that decide, {v}: what they do. Where they
# are counted, each stands with its number
ALL = ("So every one of them passes.", "So all of them pass.")
NOT_ALL = ("So {w} {v}, and not all of them pass.", "Not all of them pass, since {w} {v}.")
COUNTED = ("So {w} {v}, which makes {n}.", "The number is {n}, as {w} {v}.")
NONE = "So not one of them passes, and the number is 0."


def make(rng: random.Random, level: int, split: str, easy: bool) -> Problem:
    """A problem of `level` cases of one world; an easy rule has one condition."""
    world = rng.choice(WORLDS)
    kind = rng.choice(tuple(QUESTIONS))
    sides = choose(rng, SIDES, split)
    limits = [
        _draw_limit(rng, quantity, quantity.key in world.least, sides)
        for quantity in rng.sample(world.quantities, 1 if easy else 2)
    ]
    verdicts = _draw_verdicts(rng, level, kind)
    rows = [_draw_row(rng, limits, ok, easy) for ok in verdicts]
    names = [s.name for s in draw_subjects(rng, level, split, world.kind)]
    listing = draw_listing(rng, world.noun, names, [x.quantity for x in limits], rows, split)
    question = choose(rng, QUESTIONS[kind], split).format(
        n=world.noun, p=world.plural, who=relative(world.kind)
    )
    if kind in ("fails", "passes"):
        key, form = ask_name(rng, world.noun, split)
    else:
        key = "answer"
        form = ask_form(rng, key, "yes or no" if kind == "all" else "the number", split)
    prompt = assemble(rng, _write_rule(rng, world, limits, split), listing, question, form)
    lead = choose(rng, LEADS, split)
    style = random.Random(lead)
    writer = _StepWriter(style, limits, split)
    steps = tuple(
        writer.write(name, row, ok) for name, row, ok in zip(names, rows, verdicts, strict=True)
    )
    answer, tail = _conclude(style, kind, names, verdicts, writer.only)
    tail += close(rng, key, answer)
    lead = open_with_plan(style, " and ".join(x.condition for x in limits), lead, split)
    return Problem(prompt, lead, steps, tail, answer, kind, rng.choice(GAPS))


def _draw_limit(rng: random.Random, quantity: Quantity, least: bool, sides: Sides) -> Limit:
    """A condition with room for numbers on both sides of its bound."""
    room = (quantity.high - quantity.low) // 4
    bound = rng.randint(quantity.low + room, quantity.high - room)
    form = sides.least if least else sides.most
    text = form.format(b=decimal(bound, quantity.places) + quantity.unit)
    if sides.strict:
        wanted = WANTED["above" if least else "below"]
    else:
        wanted = WANTED["at least" if least else "at most"]
    return Limit(quantity, least, bound, text, wanted)


def _draw_verdicts(rng: random.Random, n: int, kind: str) -> list[bool]:
    if kind == "count":
        return [rng.random() < 0.5 for _ in range(n)]
    failing = {"fails": 1, "passes": n - 1, "all": rng.choice((0, 0, 0, 1, 1, min(n, 3)))}[kind]
    verdicts = [i >= failing for i in range(n)]
    rng.shuffle(verdicts)
    return verdicts


def _draw_row(rng: random.Random, limits: Sequence[Limit], ok: bool, easy: bool) -> list[int]:
    """The numbers of a case; one that fails breaks any one condition, or all of them."""
    each = [{i} for i in range(len(limits))]
    broken = set[int]() if ok else rng.choice([*each, set[int]().union(*each)])
    row = []
    for i, limit in enumerate(limits):
        low, high = limit.quantity.low, limit.quantity.high
        gap = (high - low) // 8 if easy else 1
        above = limit.least == (i not in broken)
        number = (limit.bound + gap, high) if above else (low, limit.bound - gap)
        row.append(rng.randint(*number))
    return row


def _write_rule(rng: random.Random, world: World, limits: Sequence[Limit], split: str) -> str:
    first, last = limits[0], limits[-1]
    x, y, an = first.quantity.name, last.quantity.name, article(world.noun)
    return choose(rng, RULES if len(limits) > 1 else EASY_RULES, split).format(
        n=world.noun, an=an, An=capital(an), w=world.passes, x=x, y=y, X=first.text, Y=last.text,
        ax=article(x), ay=article(y), who=relative(world.kind),
        its="their" if world.kind == PEOPLE else "its",
    )  # fmt: skip


class _StepWriter:
    """Writes the steps of one problem, all in one wording."""

    def __init__(self, style: random.Random, limits: Sequence[Limit], split: str) -> None:
        self.limits = limits
        self.openings = choose(style, OPENINGS, split)
        self.check, self.reason = choose(style, CHECKS, split), choose(style, REASONS, split)
        *self.verdicts, self.only = choose(style, VERDICTS, split)

    def write(self, name: str, row: Sequence[int], passes: bool) -> Step:
        """The step of one case."""
        parts = []
        for opening, limit, value in zip(self.openings, self.limits, row, strict=False):
            quantity, x = limit.quantity, limit.quantity.name
            told = opening.format(
                t=name, x=x, X=capital(x), ax=article(x), Ax=capital(article(x)),
                a=decimal(value, quantity.places) + quantity.unit,
            )  # fmt: skip
            answer = tell_check(
                self.check, self.reason, value, limit.bound, quantity.places, limit.wanted
            )
            parts += [told, answer]
        parts.append(self.verdicts[not passes].format(t=name))
        return Step(name, " ".join(parts))


def _conclude(
    style: random.Random, kind: str, names: Sequence[str], verdicts: Sequence[bool], only: str
) -> tuple[str, str]:
    """The answer, and the conclusion before the closing form."""
    passing = [name for name, ok in zip(names, verdicts, strict=True) if ok]
    failing = [name for name, ok in zip(names, verdicts, strict=True) if not ok]
    if kind == "all":
        if not failing:
            return "yes", style.choice(ALL)
        verb = "fails" if len(failing) == 1 else "fail"
        return "no", style.choice(NOT_ALL).format(w=enumerate_words(failing), v=verb)
    if kind == "count":
        if not passing:
            return "0", NONE
        n, verb = len(passing), "passes" if len(passing) == 1 else "pass"
        numbered = [f"{name} ({i})" for i, name in enumerate(passing, 1)]
        return str(n), style.choice(COUNTED).format(w=enumerate_words(numbered), v=verb, n=n)
    (answer,) = failing if kind == "fails" else passing
    return answer, only.format(v=kind, t=answer)
