"""`chain`: an amount is changed line after line, so every step needs the one before it.

Its prompts are lists like those of the other tasks, and it must not be forked.
"""

import random
from dataclasses import dataclass

from pdata.synthetic.natural.lexicon import draw_brands, draw_towns
from pdata.synthetic.natural.listing import assemble, lay_out
from pdata.synthetic.natural.people import draw_people
from pdata.synthetic.natural.phrasing import ask_form, choose
from pdata.synthetic.natural.retrieval import GAPS, close
from pdata.synthetic.problem import Problem, Step

LEAST, MOST = 11, 99  # of the amount at any time
PERSON, DAY = "{person}", "{day}"


@dataclass(frozen=True, slots=True)
class World:
    """`label`: what a line is called, by its number {#}, a town {}, a person or a weekday; more,
    less: what happens in it; now: how a step says the new amount."""

    label: str
    intros: tuple[str, ...]
    more: tuple[str, ...]
    less: tuple[str, ...]
    now: tuple[str, ...]
    questions: tuple[str, ...]


WORLDS = (
    World(
        "Stop {#}",
        ("A bus leaves the depot with {x} passengers.", "There are {x} people on a bus.",
         "{x} passengers sit in the bus when the tour begins."),
        ("{k} people get on", "{k} people come in"), ("{k} people get off", "{k} people leave"),
        ("{y} are on the bus", "the bus has {y} passengers"),
        ("How many people are on the bus at the end?", "How many passengers reach the last stop?"),
    ),
    World(
        "{town}",
        ("A train sets out with {x} travellers.", "The night train starts with {x} people.",
         "{x} travellers are on board when the train starts."),
        ("{k} travellers board", "{k} people join"),
        ("{k} travellers leave", "{k} people step out"),
        ("{y} are on the train", "the train carries {y}"),
        ("How many travellers are left at the end?", "How many people arrive at the terminus?"),
    ),
    World(
        "{day}",
        ("An account holds {x} euros.", "On Sunday evening the account stands at {x} euros.",
         "The club has {x} euros in the bank."),
        ("{k} euros are paid in", "a refund of {k} euros arrives"),
        ("{k} euros are withdrawn", "a bill of {k} euros is paid"),
        ("the balance is {y} euros", "{y} euros are in the account"),
        ("What is the balance at the end?", "How many euros does the account hold then?"),
    ),
    World(
        "Hour {#}",
        ("A water tank holds {x} litres.", "There are {x} litres of water in the tank.",
         "The tank starts out with {x} litres."),
        ("{k} litres flow in", "a pump adds {k} litres"),
        ("{k} litres flow out", "{k} litres are used"),
        ("the tank holds {y} litres", "{y} litres are in it"),
        ("How many litres are in the tank at the end?", "What does the tank hold at the end?"),
    ),
    World(
        "{day}",
        ("The shop has {x} lamps in stock.", "{x} lamps stand in the store room.",
         "A shop begins the week with a stock of {x} lamps."),
        ("{k} lamps are delivered", "a van brings {k} lamps"),
        ("{k} lamps are sold", "{k} lamps go to customers"),
        ("the stock is {y}", "{y} lamps are in stock"),
        ("How many lamps are in stock at the end?", "What is the stock at the end of it?"),
    ),
    World(
        PERSON,
        ("A jar holds {x} marbles and goes around the class.", "There are {x} marbles in a jar.",
         "The children pass on a jar with {x} marbles."),
        ("puts in {k} marbles", "adds {k} marbles"), ("takes out {k} marbles", "keeps {k} of them"),
        ("{y} marbles are in the jar", "the jar holds {y}"),
        ("How many marbles are in the jar at the end?", "With how many marbles does it come back?"),
    ),
    World(
        "Round {#}",
        ("A team starts the quiz with {x} points.", "The score stands at {x} points.",
         "{x} points are on the board when the game begins."),
        ("the team wins {k} points", "{k} points are added"),
        ("the team loses {k} points", "a penalty costs {k} points"),
        ("the score is {y}", "the team has {y} points"),
        ("What is the score at the end?", "How many points does the team end with?"),
    ),
    World(
        "Shed {brand}",
        ("A barge with {x} tonnes on deck calls at the sheds of a harbour.",
         "With {x} tonnes on deck a barge calls at these sheds.",
         "The barge is loaded with {x} tonnes."),
        ("{k} tonnes are loaded", "{k} tonnes come on board"),
        ("{k} tonnes are unloaded", "{k} tonnes stay there"),
        ("{y} tonnes are on deck", "the load is {y} tonnes"),
        ("How many tonnes are on deck at the end?", "What is the load at the end?"),
    ),
    World(
        "Move {#}",
        ("A lift stands at floor {x} of a very high tower.", "We enter the lift on floor {x}.",
         "Floor {x} is where the lift starts."),
        ("it goes up {k} floors", "{k} floors up"), ("it goes down {k} floors", "{k} floors down"),
        ("we are on floor {y}", "the lift is at floor {y}"),
        ("On which floor does the lift stop at the end?", "Which floor is reached at the end?"),
    ),
    World(
        "{day}",
        ("The library has {x} copies on its shelf.", "{x} books stand on the shelf.",
         "On the shelf for new books there are {x}."),
        ("{k} books are brought back", "{k} new books arrive"),
        ("{k} books are lent", "readers borrow {k} books"),
        ("{y} books are there", "the shelf has {y}"),
        ("How many books are on the shelf at the end?", "How many books are there then?"),
    ),
    World(
        "{town}",
        ("A hiking group of {x} sets out and passes some villages.",
         "{x} hikers walk from village to village.", "The group begins with {x} hikers."),
        ("{k} hikers join", "{k} more come along"), ("{k} hikers go home", "{k} stay behind"),
        ("{y} walk on", "the group has {y} hikers"),
        ("How many hikers reach the end?", "How large is the group at the end?"),
    ),
    World(
        "Step {#}",
        ("Start with the number {x}.", "Take {x} as your first number.", "We begin at {x}."),
        ("add {k}", "make it {k} larger"), ("subtract {k}", "make it {k} smaller"),
        ("we have {y}", "the number is {y}"),
        ("What is the result?", "Which number comes out at the end?"),
    ),
)  # fmt: skip
QUESTIONS = (  # of any world
    "What is the amount at the end?", "How much is it after the last line?",
    "Which number stands at the end?", "What is left when all of this is done?",
    "Where do we stand at the end?", "Find the amount after all these changes.",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LINES = ("{t}: {o}", "{t} - {o}", "{t}: {o}.", "{t} ({o})", "{t}, {o}", "{t} | {o}", "{t}; {o}",
         "{t} [{o}]", "{t} / {o}", "For {t}: {o}")  # fmt: skip
PERSON_LINES = ("{t} {o}", "{t} {o}.", "{t}: {o}", "Next, {t} {o}.", "{t} now {o}.", "{t} - {o}",
                "{t} | {o}", "{t}, {o}")  # fmt: skip
LEADS = (
    "Let me follow it from the start.", "I keep the count line by line.",
    "Each line changes the amount, so I go in order.", "Here is how it goes on from the start.",
    "I carry the amount from one line to the next.", "Going down the list, the amount changes.",
    "The order matters here, so I go through it from the top.", "From the first line to the last:",
    "I update the amount after every line.", "Let us keep track of it.",
    "This has to be done in order.", "Line after line:",
    "Every line starts from what the last one left.", "I follow the changes.",
    "Let me keep a running count.", "Starting at the top:",
)  # fmt: skip
STEPS = (
    "{t}: from {x} we go on, {o}: {x} {s} {k} = {y}, and now {n}.",
    "{t}: {o}. It was {x} up to here, and {x} {s} {k} = {y}, so now {n}.",
    "{t} starts from the {x} that we have; {o}, which is {x} {s} {k} = {y}. After it {n}.",
    "{t}: the {x} from before, then {o}. This gives {x} {s} {k} = {y}, so that {n}.",
    "{t}: with {x} so far and this change, {o}, we get {x} {s} {k} = {y}; by now {n}.",
    "{t} finds {x}; {o}. So {x} {s} {k} = {y}, and from here on {n}.",
    "{t}: we take over {x}. As {o}, it is {x} {s} {k} = {y}, and {n} now.",
    "{t}: the amount so far is {x}, and {o}. {x} {s} {k} = {y}, hence {n} when we go on.",
)
TAILS = (
    "At the end it is {y}.", "So {y} is what we end with.", "After the last line we have {y}.",
    "The final amount is {y}.", "That leaves {y}.", "The last line gives {y}.",
    "With all changes made, it is {y}.", "This was the last change: {y}.",
)  # fmt: skip


def make(rng: random.Random, level: int, split: str, easy: bool) -> Problem:
    """A problem of `level` changes of one amount."""
    world = rng.choice([w for w in WORLDS if level <= len(DAYS) or w.label != DAY])
    start, changes = _draw_changes(rng, level, easy)
    labels = _draw_labels(rng, world.label, level, split)
    person = world.label == PERSON
    form = choose(rng, PERSON_LINES if person else LINES, split)
    more, less = rng.choice(world.more), rng.choice(world.less)
    done = [(more if k > 0 else less).format(k=abs(k)) for k in changes]
    listing = lay_out(
        rng, [form.format(t=t, o=o) for t, o in zip(labels, done, strict=True)], split
    )
    intro = choose(rng, world.intros, split).format(x=start)
    question = choose(rng, (*world.questions, *QUESTIONS), split)
    prompt = assemble(rng, intro, listing, question, ask_form(rng, "answer", "number", split))
    lead = choose(rng, LEADS, split)
    style = random.Random(lead)
    template, now = choose(style, STEPS, split), style.choice(world.now)
    steps, value = [], start
    for label, told, change in zip(labels, done, changes, strict=True):
        total = value + change
        text = template.format(
            t=label, x=value, s="+" if change > 0 else "-", k=abs(change), y=total,
            o=f"{label.split()[0]} {told}" if person else told, n=now.format(y=total),
        )  # fmt: skip
        steps.append(Step(label, text, str(value)))
        value = total
    answer = str(value)
    tail = choose(style, TAILS, split).format(y=answer) + close(rng, "answer", answer)
    return Problem(prompt, lead, tuple(steps), tail, answer, "chain", rng.choice(GAPS))


def _draw_labels(rng: random.Random, kind: str, n: int, split: str) -> list[str]:
    if kind == DAY:
        return list(DAYS[:n])
    if kind == PERSON:
        return [person.name for person in draw_people(rng, n, split)]
    names = draw_towns(rng, n, split) if "{town}" in kind else draw_brands(rng, n, split)
    return [
        kind.replace("{#}", str(i)).replace("{town}", name).replace("{brand}", name)
        for i, name in enumerate(names, 1)
    ]


def _draw_changes(rng: random.Random, n: int, easy: bool) -> tuple[int, list[int]]:
    """A start and `n` changes; no amount in between is a number of the prompt."""
    most = 9 if easy else 20
    while True:
        value = start = rng.randint(LEAST, 60 if easy else 90)
        changes: list[int] = []
        between: list[int] = []
        for _ in range(n):
            change = rng.choice((-1, 1)) * rng.randint(2, most)
            changes.append(change)
            value += change
            between.append(value)
        told = {start, *map(abs, changes)}
        if all(LEAST <= x <= MOST for x in between) and not told & {*between}:
            return start, changes
