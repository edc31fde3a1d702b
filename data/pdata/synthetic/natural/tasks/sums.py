"""`sums`: a few numbers of each item are added up, then one item or the total is asked for."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from pdata.synthetic.natural.lexicon import draw_subjects
from pdata.synthetic.natural.listing import assemble, lay_out
from pdata.synthetic.natural.phrasing import (
    LEADS,
    ask_form,
    choose,
    enumerate_words,
    open_with_plan,
)
from pdata.synthetic.natural.questions import ask, ask_name, draw_kind, draw_values
from pdata.synthetic.natural.retrieval import GAPS, TERMS, Item, add_up, close, solve
from pdata.synthetic.natural.worlds import GREAT_SMALL, LARGE_SMALL, LONG_SHORT, Quantity
from pdata.synthetic.problem import Problem, Step

LIMIT = 99  # no sum exceeds it
EASY_SPAN = 50  # easy sums lie so close to the least one
FEW = 4  # items up to which the total is asked for


@dataclass(frozen=True, slots=True)
class World:
    """`items`: how an item tells its parts {l}, each worded as `part` with one of `words`."""

    noun: str
    plural: str
    kind: str
    total: Quantity
    intros: tuple[str, ...]
    items: tuple[str, ...]
    part: str
    words: tuple[str, ...]


DAYS = ("on Monday", "on Tuesday", "on Wednesday", "on Thursday", "on Friday", "on Saturday")


def _q(name: str, unit: str, low: int, high: int, most: tuple[str, str] | None = None) -> Quantity:
    return Quantity(name, name, unit, low, high, 0, most or ("highest", "lowest"))


WORLDS = (
    World(
        "customer", "customers", "people", _q("bill", " euros", 6, 90),
        ("These are the receipts of {n} customers.", "{n} people went to the market.",
         "At the till we have {n} customers.", "Here is what {n} customers bought."),
        ("{t} buys {l}.", "{t}: {l}", "The receipt of {t} lists {l}.",
         "In the basket of {t} we find {l}."),
        "{w} for {v} euros",
        ("bread", "cheese", "olives", "apples", "rice", "coffee", "soap", "honey", "fish", "tea"),
    ),
    World(
        "cyclist", "cyclists", "people", _q("distance", " km", 9, LIMIT, LONG_SHORT),
        ("{n} cyclists kept a diary.", "Here are the tours of {n} cyclists.",
         "These {n} cyclists were on the road last week."),
        ("{t} rode {l}.", "{t}: {l}", "The diary of {t} has {l}."),
        "{v} km {w}",
        ("to the mill", "along the river", "over the hill", "through the forest",
         "to the harbour", "back to town", "around the lake"),
    ),
    World(
        "employee", "employees", "people", _q("working time", " hours", 6, 45, LONG_SHORT),
        ("Here are the working hours of {n} employees.", "{n} employees filled in their sheets.",
         "The time sheets of {n} employees say this."),
        ("{t} worked {l}.", "{t}: {l}", "The sheet of {t} shows {l}."),
        "{v} hours {w}", DAYS,
    ),
    World(
        "recipe", "recipes", "{} Bread", _q("weight", " g", 40, LIMIT, GREAT_SMALL),
        ("A baker tries {n} recipes for small loaves.", "Here are {n} recipes.",
         "The kitchen book has {n} recipes."),
        ("{t} takes {l}.", "{t}: {l}", "For {t} you need {l}."),
        "{v} g of {w}",
        ("flour", "oats", "rye", "butter", "nuts", "seeds", "raisins", "milk"),
    ),
    World(
        "reader", "readers", "people", _q("number of pages", "", 15, LIMIT),
        ("{n} members of the book club count their pages.", "Here is how much {n} readers read.",
         "The reading club asked {n} readers."),
        ("{t} read {l}.", "{t}: {l}", "The diary of {t} mentions {l}."),
        "{v} pages {w}", DAYS,
    ),
    World(
        "picker", "pickers", "people", _q("harvest", " kg", 10, LIMIT, LARGE_SMALL),
        ("{n} pickers worked in the orchard.", "Here is the harvest of {n} pickers.",
         "The farm weighed the baskets of {n} pickers."),
        ("{t} picked {l}.", "{t}: {l}", "{t} brought in {l}."),
        "{v} kg of {w}",
        ("plums", "pears", "cherries", "apples", "quinces", "figs", "peaches"),
    ),
    World(
        "player", "players", "people", _q("score", " points", 9, LIMIT),
        ("{n} players met for an evening of games.", "These are the points of {n} players.",
         "The club noted the points of {n} players."),
        ("{t} scored {l}.", "{t}: {l}", "The sheet of {t} has {l}."),
        "{v} points {w}",
        ("with darts", "at cards", "at chess", "with dice", "in the quiz", "at bowling"),
    ),
    World(
        "ferry", "ferries", "MS {}", _q("load", " vehicles", 10, LIMIT, LARGE_SMALL),
        ("{n} ferries lie in the harbour.", "Here is what {n} ferries carry.",
         "The port counted the vehicles on {n} ferries."),
        ("{t} carries {l}.", "{t}: {l}", "On board {t} there are {l}."),
        "{v} {w}",
        ("cars", "vans", "lorries", "coaches", "bicycles", "motorbikes"),
    ),
    World(
        "town", "towns", "towns", _q("budget", " thousand euros", 12, LIMIT),
        ("{n} towns published what they spend.", "Here are the budgets of {n} towns.",
         "The county compares the spending of {n} towns."),
        ("{t} spends {l}.", "{t}: {l}", "The plan of {t} has {l}."),
        "{v} thousand euros on {w}",
        ("roads", "schools", "parks", "libraries", "street lamps", "playgrounds", "bridges"),
    ),
    World(
        "child", "children", "people", _q("balance", " euros", 6, LIMIT),
        ("{n} children save money for a trip.", "Here is what {n} children put aside.",
         "The class saves: {n} children keep a list."),
        ("{t} saved {l}.", "{t}: {l}", "{t} put aside {l}."),
        "{v} euros {w}",
        ("in March", "in April", "in May", "in June", "in July", "in August", "in September"),
    ),
    World(
        "garden", "gardens", "{} Garden", _q("number of trees", "", 8, LIMIT),
        ("{n} gardens counted their trees.", "Here are the trees of {n} gardens.",
         "A botanist visited {n} gardens."),
        ("{t} has {l}.", "{t}: {l}", "In {t} you see {l}."),
        "{v} {w}",
        ("oaks", "maples", "birches", "apple trees", "pines", "willows", "cedars"),
    ),
)  # fmt: skip
ITEMS = tuple((world, text) for world in WORLDS for text in world.items)
TOTALS = (
    "What is the total {q} of all {p} together?", "How much is the {q} of all {p} together?",
    "What do the {p} come to when we add up each {q}?", "Add up the {q} of all {p}.",
    "What is the {q} if we take all {p} together?", "Find the total {q} of the {p}.",
    "Which total {q} do the {p} reach together?", "Tell me the total {q} over all {p}.",
)  # fmt: skip
# a step towards the total
TOTAL_STEPS = (
    "{t}: {w}. So the {q} that goes into the total is {v}.",
    "{t}: for the total we need the {q}. It is {w}, in all {v}.",
    "{t}: {w}, which puts the {q} at {v}, a part of the total.",
    "{t}: adding the parts, {w}. The {q} to add to the others is {v}.",
    "{t}: this is {w}, so {v} is the {q} to be counted.",
    "{t}: we work out the {q}. First {w}, and that makes {v}.",
)
# how the total is reached: words before the running sum, and behind it
SUMMED = (
    ("The results added up", "so the total is {v}."), ("All together", "and that is {v} in all."),
    ("Now the sum of all", "so it is {v}."), ("In all of them", "giving {v}."),
    ("The results add up", "hence {v} in total."), ("So for the sum", "and we arrive at {v}."),
)  # fmt: skip


def make(rng: random.Random, level: int, split: str, easy: bool) -> Problem:
    """A problem of `level` sums with different results."""
    world, template = choose(rng, ITEMS, split)
    names = [s.name for s in draw_subjects(rng, level, split, world.kind)]
    parts = _draw_parts(rng, world.total, level, easy)
    items = []
    for name, numbers in zip(names, parts, strict=True):
        words = rng.sample(world.words, len(numbers))
        told = [world.part.format(w=w, v=v) for w, v in zip(words, numbers, strict=True)]
        items.append(template.format(t=name, l=enumerate_words(told)))
    intro = choose(rng, world.intros, split).format(n=level)
    listing = lay_out(rng, items, split)
    if level <= FEW and rng.random() < 0.25:
        return _ask_total(rng, world, names, parts, (intro, listing), split)
    values = [sum(numbers) for numbers in parts]
    kind = draw_kind(rng, level, easy)
    if kind == "range" and rng.random() < 0.6:
        kind = "equal"
    asked = ask(rng, kind, world.total, values, world, split)
    key, form = ask_name(rng, world.noun, split)
    prompt = assemble(rng, intro, listing, asked.text, form)
    found = [Item(n, sum(x), tuple(x)) for n, x in zip(names, parts, strict=True)]
    return solve(rng, asked, found, prompt, key, split)


def _ask_total(
    rng: random.Random,
    world: World,
    names: Sequence[str],
    parts: Sequence[Sequence[int]],
    told: tuple[str, str],
    split: str,
) -> Problem:
    """The problem that asks for the total; `told`: intro and items of its prompt."""
    values = [sum(numbers) for numbers in parts]
    total, answer = world.total, str(sum(values))
    question = choose(rng, TOTALS, split).format(p=world.plural, q=total.name)
    prompt = assemble(rng, *told, question, ask_form(rng, "answer", "the number", split))
    lead = choose(rng, LEADS, split)
    style = random.Random(lead)
    template, term = choose(style, TOTAL_STEPS, split), choose(style, TERMS, split)
    texts = [
        template.format(t=n, w=add_up(term, x), q=total.name, v=f"{sum(x)}{total.unit}")
        for n, x in zip(names, parts, strict=True)
    ]
    start, end = choose(style, SUMMED, split)
    tail = f"{start}: {add_up('{a} + {b} = {c}', values)}, {end.format(v=answer)}"
    steps = tuple(Step(name, text) for name, text in zip(names, texts, strict=True))
    tail += close(rng, "answer", answer)
    lead = open_with_plan(style, f"the total {total.name}", lead, split)
    return Problem(prompt, lead, steps, tail, answer, "total", rng.choice(GAPS))


def _draw_parts(rng: random.Random, total: Quantity, n: int, easy: bool) -> list[list[int]]:
    """Two or three numbers an item, none below 2; between any two of their sums a bound fits."""
    size = 2 if easy else rng.choice((2, 2, 2, 3))
    if easy:
        total = replace(total, high=min(total.high, total.low + EASY_SPAN))
    parts = []
    for value in draw_values(rng, total, n, easy):
        cuts = sorted(rng.sample(range(1, value - size), size - 1))
        parts.append([1 + b - a for a, b in pairwise([0, *cuts, value - size])])
    return parts
