"""Solutions of questions about one number of each item: what `records`, `resume` and `sums` share.

A step gets at the number of its own item, checks it against what is asked, and says why before it
says what follows. Its wording follows from the lead, which all steps see, and no step another's.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pdata.synthetic.natural.comparison import (
    CHECKS,
    REASONS,
    WANTED,
    Reason,
    explain,
    spell,
    tell_check,
)
from pdata.synthetic.natural.phrasing import LEADS, article, choose, decimal, open_with_plan
from pdata.synthetic.natural.questions import Asked
from pdata.synthetic.problem import Problem, Step

# how a step begins: it reads its own number, right behind its name
OPENINGS = (
    "{t}: the {q} is {v}.", "{t} has {aq} of {v}.", "{t}: {q} {v}.", "{t} shows {aq} of {v}.",
    "{t}: for the {q} we read {v}.", "{t} comes with {aq} of {v}.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """A name and its number, in units of the last place; `parts`, if any, add up to it."""

    name: str
    value: int
    parts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a step ends with: a yes right before its name, by which it is found later, or a no."""

    yes: str
    no: str
    tails: tuple[str, ...]


VERDICTS = (
    Verdict("That fits: {t}.", "That does not fit.",
            ("The only one that fits: {t}.", "One of them fits, and that fits: {t}.")),
    Verdict("A match: {t}.", "No match.",
            ("There is one match: {t}.", "All others are no match. A match: {t}.")),
    Verdict("So yes for {t}.", "So no.",
            ("The only yes is for {t}.", "So there is one yes for {t}.")),
    Verdict("This is what we look for: {t}.", "This is not what we look for.",
            ("So this is what we look for: {t}.", "Of all of them, what we look for is {t}.")),
    Verdict("The condition holds for {t}.", "The condition fails.",
            ("The condition holds for {t} alone.", "It fails for all others and holds for {t}.")),
    Verdict("This keeps {t}.", "This one drops out.",
            ("All others drop out; this keeps {t}.", "The one that we keep is {t}.")),
    Verdict("Result: {t} qualifies.", "Result: out.",
            ("The one that qualifies is {t}.", "So one of them qualifies, namely {t}.")),
    Verdict("Yes, this is right: {t}.", "No, this is not right.",
            ("The only yes: {t}.", "Every other one is a no, so this is right: {t}.")),
)  # fmt: skip
READINGS = (
    "{t}: only the {q} counts here, and it is {v}. Place by place that is {x}.",
    "{t} has {aq} of {v}, the one number that we need. In digits it is {x}.",
    "{t}: of all that is said, we need the {q}. It is {v}, which means {x}.",
    "{t}: asked is the {m} {q}, and the value to compare is {v}, made of {x}.",
    "{t} brings {aq} of {v}. To compare it, I write it as {x}.",
    "{t}: looking for the {m} {q}, I find {v} here. Its digits are {x}.",
)
# the same where the number is worked out first, {w}
WORKED_OPENINGS = (
    "{t}: {w}, so the {q} is {v}.", "{t}: {w}. That gives {aq} of {v}.",
    "{t}: this is {w}, in all {v}.", "{t}: adding the parts, {w}. The {q} is {v}.",
    "{t}: {w}, which makes {v}.", "{t}: first {w}, {aq} of {v}.",
)  # fmt: skip
WORKED_READINGS = (
    "{t}: {w}, so the {q} is {v}. Place by place that is {x}.",
    "{t}: {w}. That gives {aq} of {v}, or {x}.",
    "{t}: this is {w}, in all {v}, which means {x}.",
    "{t}: adding the parts, {w}. The {q} is {v}, made of {x}.",
)
# without a sign of equality: that is the form of a derivation, in which lines build on one another
TERMS = (
    "{a} plus {b} is {c}", "{a} + {b} is {c}", "{a} + {b} gives {c}", "{a} and {b} make {c}",
    "{a} + {b} makes {c}", "{a} and {b} is {c}", "{a} plus {b} makes {c}",
)  # fmt: skip
# the first number, each other one beside the best before it, {b}, and the end; {k}: who leads then,
# {w}: what a better one is
MAXIMA = (
    ("So we start with {t} at {v}",
     "{t} has {v}; against {b}, {why}, asked {w}, {yn}: the {m} so far is {k}",
     "So the {m} is {v}, that of {t}."),
    ("At first {t} leads with {v}", 
     "then {t} with {v} against {b}: {why}, wanted {w}, {yn}, the {m} now is {k}",
     "At the end {t} leads with {v}, the {m} of all."),
    ("First {t}: {v}", "{t}: {v} to {b}, {why}, must be {w}, {yn}, so the {m} yet is {k}",
     "We are left with {t}, and {v} is the {m}."),
    ("The first is {t} with {v}", 
     "{t} has {v} beside {b}: {why}, should be {w}, {yn}, now the {m} is {k}",
     "That makes {t} the answer, since {v} is the {m}."),
)  # fmt: skip
CLOSINGS = (" {k}: {a}", "\n{k}: {a}", "\n\n{k}: {a}")
GAPS = ("\n", "\n", "\n\n")  # between the lines of a completion


def solve(
    rng: random.Random, asked: Asked, items: Sequence[Item], prompt: str, key: str, split: str
) -> Problem:
    """The problem with its steps, conclusion and closing form `key`: name or answer."""
    lead = choose(rng, LEADS, split)
    style = random.Random(lead)
    worked = bool(items[0].parts)
    kinds = (READINGS, WORKED_READINGS) if asked.extreme else (OPENINGS, WORKED_OPENINGS)
    opening, term = choose(style, kinds[worked], split), choose(style, TERMS, split)
    texts = [_open(opening, term, asked, item) for item in items]
    if asked.extreme:
        maxima, reason = choose(style, MAXIMA, split), choose(style, REASONS, split)
        end = _run_through(maxima, reason, items, asked)
    else:
        check, reason = choose(style, CHECKS, split), choose(style, REASONS, split)
        verdict, places = choose(style, VERDICTS, split), asked.quantity.places
        for i, item in enumerate(items):
            lines = [
                tell_check(check, reason, item.value, bound, places, wanted)
                for wanted, bound in asked.bounds
            ]
            said = verdict.yes if asked.finds(item.value) else verdict.no
            texts[i] = " ".join([texts[i], *lines, said.format(t=item.name)])
        end = choose(style, verdict.tails, split)
    (answer,) = [item.name for item in items if asked.finds(item.value)]
    tail = end.format(t=answer) + close(rng, key, answer)
    steps = tuple(Step(item.name, text) for item, text in zip(items, texts, strict=True))
    lead = open_with_plan(style, asked.condition, lead, split)
    return Problem(prompt, lead, steps, tail, answer, asked.kind, rng.choice(GAPS))


def add_up(term: str, numbers: Sequence[int]) -> str:
    """The running sum of `numbers`, each addition in the wording `term`."""
    lines, total = [], numbers[0]
    for number in numbers[1:]:
        lines.append(term.format(a=total, b=number, c=total + number))
        total += number
    return ", then ".join(lines)


def close(rng: random.Random, key: str, answer: str) -> str:
    """The closing form, behind a conclusion."""
    return rng.choice(CLOSINGS).format(k=key, a=answer)


def _open(template: str, term: str, asked: Asked, item: Item) -> str:
    """How a step begins, up to the number of its item."""
    quantity = asked.quantity
    return template.format(
        t=item.name, q=quantity.name, aq=article(quantity.name), m=asked.most,
        v=quantity.read(item.value), x=spell(item.value, quantity.places),
        w=add_up(term, item.parts) if item.parts else "",
    )  # fmt: skip


def _run_through(
    parts: tuple[str, str, str], reason: Reason, items: Sequence[Item], asked: Asked
) -> str:
    """The conclusion that keeps the largest or smallest value so far."""
    start, line, end = parts
    places = asked.quantity.places
    wanted = WANTED["above" if asked.kind == "largest" else "below"]
    best = items[0]
    lines = [start.format(t=best.name, v=decimal(best.value, places))]
    for item in items[1:]:
        before = best
        better = wanted.holds(item.value, best.value)
        if better:
            best = item
        lines.append(line.format(
            t=item.name, v=decimal(item.value, places), b=decimal(before.value, places),
            why=explain(reason, item.value, before.value, places), m=asked.most, k=best.name,
            w=wanted.word, yn="yes" if better else "no",
        ))  # fmt: skip
    shown = decimal(best.value, places)
    return f"{'; '.join(lines)}. {end.format(t=best.name, v=shown, m=asked.most)}"
