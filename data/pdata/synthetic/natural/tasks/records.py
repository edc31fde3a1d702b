"""`records`: which of several entries of a list or table has a certain number among its fields."""

import random
from dataclasses import replace

from pdata.synthetic.natural.lexicon import draw_subjects
from pdata.synthetic.natural.listing import assemble, draw_listing
from pdata.synthetic.natural.phrasing import choose
from pdata.synthetic.natural.questions import ask, ask_name, draw_kind, draw_values
from pdata.synthetic.natural.retrieval import Item, solve
from pdata.synthetic.natural.worlds import INTROS, TRIMMED, WORLDS
from pdata.synthetic.problem import Problem


def make(rng: random.Random, level: int, split: str, easy: bool) -> Problem:
    """A problem of `level` entries of one world."""
    world = rng.choice(WORLDS)
    shown = rng.sample(world.quantities, rng.randint(1, min(3, len(world.quantities))))
    if rng.random() < TRIMMED:
        shown = [replace(q, trimmed=True) for q in shown]
    quantity = rng.choice(shown)
    values = draw_values(rng, quantity, level, easy)
    kind = draw_kind(rng, level, easy)
    asked = ask(rng, kind, quantity, values, world, split)
    names = [subject.name for subject in draw_subjects(rng, level, split, world.kind)]
    rows = [
        [value if q is quantity else rng.randint(q.low, q.high) for q in shown] for value in values
    ]
    listing = draw_listing(rng, world.noun, names, shown, rows, split)
    intro = choose(rng, INTROS, split).format(n=level, p=world.plural)
    key, form = ask_name(rng, world.noun, split)
    prompt = assemble(rng, intro, listing, asked.text, form)
    items = [Item(name, value) for name, value in zip(names, values, strict=True)]
    return solve(rng, asked, items, prompt, key, split)
