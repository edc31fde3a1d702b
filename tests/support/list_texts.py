"""Seeded traces in list form whose steps do, or do not, need one another, in many wordings."""

import random
from collections.abc import Callable
from itertools import pairwise

NAMES = "Ada Ben Cleo Dan Eve Finn Gus Hana Ivo June Kit Lena Milo Nora Otto Pia".split()
THINGS = "lamp kettle drum chair basket mirror bottle ladder violin carpet shovel tent".split()
PLACES = "attic cellar kitchen garden hall library stable tower workshop harbour".split()
CITIES = "Oslo Lima Accra Perth Quito Turin Hanoi Dakar Malmo Osaka Bergen Cork".split()

Steps = list[str]
Writer = Callable[[random.Random, int], tuple[str, Steps, str]]  # prompt, steps, conclusion


# --- each step needs the one before ----------------------------------------------------------


def running_total(rng: random.Random, n: int) -> tuple[str, Steps, str]:
    value, steps = rng.randint(20, 90), []
    asked = [f"Start with {value}."]
    for _ in range(n):
        sign, by = rng.choice([("+", rng.randint(3, 40)), ("*", rng.randint(2, 6))])
        new = value + by if sign == "+" else value * by
        steps.append(f"{value} {sign} {by} = {new}.")
        asked.append(f"Then {'add' if sign == '+' else 'multiply by'} {by}.")
        value = new
    return " ".join(asked), steps, f"So it is {value}."


def prices(rng: random.Random, n: int) -> tuple[str, Steps, str]:
    value = 10 * rng.randint(8, 60)
    asked, steps = f"A {rng.choice(THINGS)} costs ${value}, and the price changes.", []
    for _ in range(n):
        off = rng.choice([10, 20, 25, 50])
        cut = value * off / 100
        steps.append(f"A cut of {off}% on ${value:g} takes off ${cut:g}, leaving ${value - cut:g}.")
        value -= cut
    return asked, steps, f"The price is ${value:g}."


def symbols(rng: random.Random, n: int) -> tuple[str, Steps, str]:
    letters = rng.sample("abcdefghkmnpqrstuvwxyz", n + 1)
    steps = [f"Let {letters[0]} = {rng.randint(2, 9)}, as given."]
    for a, b in pairwise(letters):
        by = f"{rng.choice('235')}{rng.choice('+-')}{a}"
        steps.append(f"We get {b} = {by}, by the rule.")
    return "Apply the rule again and again.", steps[:n], "This is what was asked."


def hand_over(rng: random.Random, n: int) -> tuple[str, Steps, str]:
    people = rng.sample(NAMES, n + 1)
    thing = rng.choice(THINGS)
    verbs = ["hands it to", "passes it on to", "gives it to", "sells it to"]
    steps = [f"{people[0]} has the {thing} and gives it to {people[1]}."]
    steps += [f"{a} {rng.choice(verbs)} {b}." for a, b in pairwise(people[1:])]
    return f"Who ends up with the {thing}?", steps[:n], f"{people[n]} has it."


def moves(rng: random.Random, n: int) -> tuple[str, Steps, str]:
    rooms = rng.sample(PLACES, n + 1)
    leave = ["Leaving the", "Out of the", "Away from the", "Across the"]
    steps = [f"The cat walks into the {rooms[0]} and jumps into the {rooms[1]}."]
    steps += [
        f"{rng.choice(leave)} {a}, it slips through a door to the {b}."
        for a, b in pairwise(rooms[1:])
    ]
    return "Where is the cat at the end?", steps[:n], f"It sleeps in the {rooms[n]}."


def logic(rng: random.Random, n: int) -> tuple[str, Steps, str]:
    facts = rng.sample(
        "the road is wet|the bridge closes|the train is late|the shop opens late|"
        "the bread runs out|the café sends guests home|the waiter is free|"
        "the windows get cleaned|the painter waits|the invoice is delayed".split("|"),
        n + 1,
    )
    because = ["Since {a}, {b}.", "As {a}, {b}.", "If {a}, then {b}.", "Given that {a}, {b}."]
    steps = [rng.choice(because).format(a=a, b=b) for a, b in pairwise(facts)]
    return "What follows?", steps, f"Indeed {facts[n]}."


def cooking(rng: random.Random, n: int) -> tuple[str, Steps, str]:
    start = rng.choice(["flour", "rice", "barley", "corn"])
    steps = [
        f"Grind the {start} to a fine meal.",
        "Stir the meal into milk until a batter forms.",
        "Pour the batter on a hot plate for a thin cake.",
        "Fold the cake around some jam as a roll.",
        "Cut the roll into slices.",
        "Serve the slices with cream.",
    ]
    return "How is it made?", steps[:n], "Enjoy."


def pointing(rng: random.Random, n: int) -> tuple[str, Steps, str]:
    steps = ["Write down the digits of the number.", "Reverse the order of the previous line.",
             "Take the result of step 2 and drop its first sign.", "Double this.",
             "Then compare with what came out above.", "Similarly for the last one."]  # fmt: skip
    return "Find the code.", steps[:n], "That is the code."


# --- no step needs another -------------------------------------------------------------------


def ages(rng: random.Random, n: int) -> tuple[str, Steps, str]:
    people, limit = rng.sample(NAMES, n), rng.randint(30, 50)
    old = [rng.randint(18, 80) for _ in people]
    prompt = f"Who is over {limit}?\n" + "\n".join(
        f"{p} is {a} years old." for p, a in zip(people, old, strict=True)
    )
    says = rng.choice([
        "{p} is {a} years old, which is {v} {k}.",
        "{p}: the age is {a}, {v} the limit of {k}.",
        "With {a} years {p} is {v} {k}.",
    ])  # fmt: skip
    steps = [
        says.format(p=p, a=a, k=limit, v="above" if a > limit else "not above")
        for p, a in zip(people, old, strict=True)
    ]
    return prompt, steps, f"{sum(a > limit for a in old)} of them."


def products(rng: random.Random, n: int) -> tuple[str, Steps, str]:
    things = rng.sample(THINGS, n)
    lots = [(rng.randint(3, 9), rng.randint(11, 39)) for _ in things]
    prompt = "Compute the value of each lot.\n" + "\n".join(
        f"{t}: {c} pieces at {v}" for t, (c, v) in zip(things, lots, strict=True)
    )
    steps = [f"{t}: {c} * {v} = {c * v}." for t, (c, v) in zip(things, lots, strict=True)]
    return prompt, steps, "That is all of them."


def traits(rng: random.Random, n: int) -> tuple[str, Steps, str]:
    all_of_them = [
        "Cost: a private car needs fuel and repairs, which adds up to a large bill.",
        "Noise: engines wake people at night near busy roads.",
        "Space: parking takes a large part of every street in town.",
        "Health: walking or cycling keeps people fit well into old age.",
        "Climate: exhaust fumes warm the air and spoil harvests.",
        "Safety: children are hurt in traffic every single day.",
        "Time: drivers lose about an hour a day in queues.",
        "Trade: shops sell more where customers stroll past.",
    ]
    return "Name drawbacks of cars in cities.", rng.sample(all_of_them, n), "So fewer cars."


def visits(rng: random.Random, n: int) -> tuple[str, Steps, str]:
    known = {
        "Oslo": "a fjord, mild summers and an opera one can climb",
        "Lima": "cliffs above the sea and excellent seafood",
        "Accra": "lively markets, beaches and highlife music",
        "Perth": "sunshine most of the year and quokkas on an island",
        "Quito": "thin air, volcanoes and gilded churches",
        "Turin": "arcades, chocolate and a view of the Alps",
        "Hanoi": "lakes, scooters and noodle soup for breakfast",
        "Dakar": "surf, textiles and a lighthouse on a hill",
        "Malmo": "a long bridge, parks and a twisted tower",
        "Osaka": "neon signs, a castle and street food",
    }
    cities = rng.sample(sorted(known), n)
    steps = [f"{city} offers {known[city]}." for city in cities]
    return f"What do {', '.join(cities)} offer?", steps, "All are worth a trip."


def options(rng: random.Random, n: int) -> tuple[str, Steps, str]:
    views = [
        "repair the old boiler; cheap now, but parts are hard to find.",
        "buy a heat pump. It saves energy and needs little care.",
        "insulate the roof, which cuts losses in winter.",
        "burn wood from the forest nearby, dusty yet renewable.",
        "join the district network; nobody has to service anything.",
        "wear sweaters and wait for a warmer spring.",
        "put solar panels up and store the surplus in a tank.",
    ]
    return "How should the house be heated?", rng.sample(views, n), "The pump wins."


def cases(rng: random.Random, n: int) -> tuple[str, Steps, str]:
    start = rng.randint(2, 9)
    steps = [
        f"x = {start + i}: x * x + 1 = {(start + i) ** 2 + 1}, "
        f"{'even' if ((start + i) ** 2 + 1) % 2 == 0 else 'odd'}."
        for i in range(n)
    ]
    values = ", ".join(str(start + i) for i in range(n))
    return f"For which x among {values} is x * x + 1 even?", steps, "Half of them."


DEPENDENT: tuple[Writer, ...] = (
    running_total, prices, symbols, hand_over, moves, logic, cooking, pointing,
)  # fmt: skip
INDEPENDENT: tuple[Writer, ...] = (ages, products, traits, visits, options, cases)
FORMS = ("{i}. {s}", "{i}) {s}", "({c}) {s}", "Step {i}: {s}", "- {s}", "Part {i}: {s}", "{i}、{s}")


def draw(writers: tuple[Writer, ...], seed: int) -> tuple[str, str, str]:
    """(prompt, trace, which writer) of one seed."""
    rng = random.Random(seed)
    writer = writers[seed % len(writers)]
    prompt, steps, end = writer(rng, rng.randint(3, 6))
    form, gap = rng.choice(FORMS), rng.choice(["\n", "\n", "\n\n"])
    lead = rng.choice(["", "Let me see.\n\n", "We go through it:\n"])
    body = gap.join(form.format(i=i, c="abcdefgh"[i - 1], s=s) for i, s in enumerate(steps, 1))
    return prompt, f"{lead}{body}\n\n{end}", f"{writer.__name__} {form}"
