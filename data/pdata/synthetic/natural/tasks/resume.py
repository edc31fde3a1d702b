"""`resume`: which of several subjects, described in a sentence or two, has a certain number."""

import random
from dataclasses import replace

from pdata.synthetic.natural.lexicon import draw_subjects
from pdata.synthetic.natural.listing import assemble, lay_out
from pdata.synthetic.natural.phrasing import choose
from pdata.synthetic.natural.questions import ask, ask_name, draw_kind, draw_values
from pdata.synthetic.natural.retrieval import Item, solve
from pdata.synthetic.natural.worlds import INTROS, TRIMMED, WORLDS
from pdata.synthetic.problem import Problem

FULL = tuple((world, text) for world in WORLDS for text in world.full)
SHORT = tuple((world, text) for world in WORLDS for text in world.short)
LONG = 5  # subjects up to which a description may be long


def make(rng: random.Random, level: int, split: str, easy: bool) -> Problem:
    """A problem of `level` subjects of one world."""
    long = level <= LONG and not easy and rng.random() < 0.7
    world, template = choose(rng, FULL if long else SHORT, split)
    quantities = [q for q in world.quantities if f"{{{q.key}}}" in template]
    if rng.random() < TRIMMED:
        quantities = [replace(q, trimmed=True) for q in quantities]
    quantity = rng.choice(quantities)
    values = draw_values(rng, quantity, level, easy)
    kind = draw_kind(rng, level, easy)
    asked = ask(rng, kind, quantity, values, world, split)
    subjects = draw_subjects(rng, level, split, world.kind)
    items = []
    for subject, value in zip(subjects, values, strict=True):
        numbers = {
            q.key: q.show(value if q is quantity else rng.randint(q.low, q.high))
            for q in quantities
        }
        items.append(template.format(**subject.words, **numbers))
    intro = choose(rng, INTROS, split).format(n=level, p=world.plural)
    key, form = ask_name(rng, world.noun, split)
    prompt = assemble(rng, intro, lay_out(rng, items, split), asked.text, form)
    found = [Item(s.name, value) for s, value in zip(subjects, values, strict=True)]
    return solve(rng, asked, found, prompt, key, split)
