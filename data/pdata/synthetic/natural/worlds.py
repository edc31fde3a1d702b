"""Worlds to look things up in: what can be asked of their subjects, and descriptions in prose."""

from dataclasses import dataclass

from pdata.synthetic.natural.phrasing import decimal

LONG_SHORT = ("longest", "shortest")
GREAT_SMALL = ("greatest", "smallest")
LARGE_SMALL = ("largest", "smallest")
TRIMMED = 0.3  # share of problems whose decimals have no zeros at their end


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number that a subject has: `low` to `high` are counted in units of the last place.

    most: the superlatives; trimmed: whether prompts leave out zeros at the end of decimals.
    """

    key: str
    name: str
    unit: str  # with the blank before it
    low: int
    high: int
    places: int = 0
    most: tuple[str, str] = ("highest", "lowest")
    trimmed: bool = False

    def show(self, value: int) -> str:
        """`value` as a prompt has it."""
        text = decimal(value, self.places)
        if self.trimmed and self.places:
            whole, _, rest = text.partition(".")
            return f"{whole}.{rest.rstrip('0') or '0'}"
        return text

    def read(self, value: int) -> str:
        """`value` as a step reads it: with all its places, where the prompt leaves some out."""
        shown, full = self.show(value), decimal(value, self.places)
        return f"{shown}{self.unit}" if shown == full else f"{shown}{self.unit}, that is {full}"


@dataclass(frozen=True, slots=True)
class World:
    """`kind`: see `draw_subjects`; `full` and `short` describe a subject, with all quantities."""

    noun: str
    plural: str
    kind: str
    quantities: tuple[Quantity, ...]
    full: tuple[str, ...]
    short: tuple[str, ...]


AGE = Quantity("age", "age", "", 18, 67)
RATING = Quantity("rating", "rating", "", 21, 49, 1)

WORLDS = (
    World(
        "graduate", "graduates", "people",
        (Quantity("gpa", "GPA", "", 101, 498, 2), Quantity("age", "age", "", 20, 45)),
        (
            "{t} is {age} years old and took a degree in {study} at {school}; the GPA is {gpa}. "
            "Interests: {i1}, {i2} and {i3}. Self-introduction: {said}",
            "Name: {t}. Age: {age}. School: {school}. GPA: {gpa}. Hobbies: {i1}, {i2}. "
            'In {their} own words: "{said}"',
            "At {age}, {t} looks back on {study} at {school} and a GPA of {gpa}. Favourite hobbies "
            "are {i1} and {i2}.",
            "{t}, aged {age}, left {school} on a GPA of {gpa} and fills {their} free time with "
            '{i1} and {i2}. "{said}"',
            "This is {t}, {age} years of age, who studied {study} at {school}; the GPA was {gpa}. "
            "{They} cares about {i1}, {i2} and {i3}.",
            "The student {t}, {age}, has a GPA of {gpa} from {school}. {said}",
        ),
        (
            "{t}, {age}, from {town}, has a GPA of {gpa} and likes {i1}.",
            "{t} studied {study}, is {age} and has a GPA of {gpa}.",
            "{t} is {age} years old, enjoys {i1} and has a GPA of {gpa}.",
        ),
    ),
    World(
        "applicant", "applicants", "people",
        (Quantity("age", "age", "", 41, 67),  # old enough for the years at work
         Quantity("score", "test score", " points", 312, 987, 1),
         Quantity("years", "work experience", " years", 2, 24, 0, LONG_SHORT)),
        (
            "{t}, {age}, has worked as {job} for {years} years. The test brought {their} score to "
            "{score} points. {They} lives in {town} and is keen on {i1}.",
            "Our next letter is from {t} of {town}, aged {age}: {years} years as {job}, {score} "
            'points in the test. "{said}"',
        ),
        (
            "{t}, {age}, {job} for {years} years, scored {score} points.",
            "{t} ({age}) brings {years} years of work and {score} points in the test.",
        ),
    ),
    World(
        "runner", "runners", "people",
        (AGE, Quantity("time", "race time", " minutes", 341, 698, 1, LONG_SHORT),
         Quantity("week", "weekly distance", " km", 12, 96, 0, LONG_SHORT)),
        (
            "{t} from {town} runs {week} km a week. At {age}, {they} finished the race in {time} "
            "minutes, wearing a {colour} shirt.",
            "In the {colour} shirt you see {t}, {age}, whose race time was {time} minutes; {they} "
            "trains {week} km a week and also loves {i1}.",
        ),
        (
            "{t}, {age}, ran the race in {time} minutes and trains {week} km a week.",
            "{t} ({age}): {time} minutes in the race, {week} km a week in training.",
        ),
    ),
    World(
        "town", "towns", "towns",
        (Quantity("people", "population", " thousand people", 21, 987, 1, LARGE_SMALL),
         Quantity("height", "elevation", " m", 12, 940),
         Quantity("warmth", "mean temperature", " °C", 61, 274, 1)),
        (
            "{t} lies at an elevation of {height} m and has {people} thousand inhabitants. The "
            "mean temperature is {warmth} °C, and most houses are {colour}.",
            "With {people} thousand people, {t} is known for its {study} school. It lies {height} "
            "m above the sea, and over the year the temperature averages {warmth} °C.",
        ),
        (
            "{t}: {people} thousand people, {height} m above the sea, {warmth} °C on average.",
            "{t} has {people} thousand inhabitants at {height} m and {warmth} °C.",
        ),
    ),
    World(
        "phone", "phones", "{}",
        (Quantity("price", "price", " euros", 95, 990),
         Quantity("weight", "weight", " g", 128, 246, 0, GREAT_SMALL),
         Quantity("hours", "battery life", " hours", 8, 58, 0, LONG_SHORT)),
        (
            "The {t} is a {colour} phone for {price} euros. It weighs {weight} g, its battery "
            "lasts {hours} hours, and the maker in {town} adds a free case.",
            "Testers liked the {t}: {weight} g in the hand, {hours} hours of battery and a bright "
            "{colour} back. It costs {price} euros.",
        ),
        (
            "The {t} costs {price} euros, weighs {weight} g and runs for {hours} hours.",
            "{t}, in {colour}: {price} euros, {weight} g, {hours} hours of battery.",
        ),
    ),
    World(
        "bicycle", "bicycles", "{}",
        (Quantity("price", "price", " euros", 180, 990),
         Quantity("weight", "weight", " kg", 81, 189, 1, GREAT_SMALL),
         Quantity("gears", "number of gears", "", 3, 30)),
        (
            "The {t} is a {colour} bicycle from {town} with {gears} gears. It weighs {weight} kg "
            "and sells for {price} euros.",
            "For {price} euros you get the {t}, which has {gears} gears and a {colour} frame. On "
            "the scales it comes to {weight} kg.",
        ),
        ("The {t} has {gears} gears, weighs {weight} kg and costs {price} euros.",),
    ),
    World(
        "flat", "flats", "{} House",
        (Quantity("area", "floor area", " m²", 24, 148, 0, LARGE_SMALL),
         Quantity("rent", "monthly rent", " euros", 310, 990),
         Quantity("walk", "walk to the station", " minutes", 2, 38, 0, LONG_SHORT)),
        (
            "The flat in {t} has {area} m² and {colour} walls. The rent is {rent} euros a month, "
            "and the station is a walk of {walk} minutes away.",
            "{t}: a quiet flat of {area} m² near the {town} road, {walk} minutes from the station "
            "on foot, for {rent} euros a month.",
        ),
        ("{t}: {area} m², {rent} euros a month, {walk} minutes to the station.",),
    ),
    World(
        "book", "books", "{} Letters",
        (Quantity("pages", "number of pages", "", 96, 874),
         Quantity("price", "price", " euros", 412, 3890, 2),
         Quantity("rating", "reader rating", "", 211, 489, 2)),
        (
            "{t} is set in {town} and is about {i1}. It has {pages} pages, costs {price} euros in "
            "the shop at the corner, and readers rate it {rating}.",
            "Readers give {t} a {rating}. The {colour} first edition costs {price} euros and has "
            "{pages} pages; much of it is about {i1}.",
        ),
        ("{t} has {pages} pages, costs {price} euros and is rated {rating}.",),
    ),
    World(
        "restaurant", "restaurants", "{}",
        (RATING, Quantity("far", "distance", " km", 3, 98, 1, LONG_SHORT),
         Quantity("seats", "number of seats", "", 14, 180)),
        (
            "{t} is a small place with {colour} tables and {seats} seats, {far} km from here. "
            "Guests rate it {rating} and praise the soup.",
            "Guests give {t} a rating of {rating}. You find it {far} km down the {town} road; "
            "there are {seats} seats, and on Fridays there is music.",
        ),
        ("{t}, {far} km away, has {seats} seats and a rating of {rating}.",),
    ),
    World(
        "hotel", "hotels", "Hotel {}",
        (Quantity("price", "room price", " euros", 45, 390), RATING,
         Quantity("rooms", "number of rooms", "", 12, 240)),
        (
            "{t} in {town} has {rooms} rooms with {colour} curtains. A night costs {price} euros, "
            "and the rating by its guests stands at {rating}.",
            "{t} asks {price} euros a night for one of its {rooms} rooms. It is rated {rating}, "
            "and breakfast comes with a view of {town}.",
        ),
        ("{t}: {rooms} rooms, {price} euros a night, rating {rating}.",),
    ),
    World(
        "lake", "lakes", "Lake {}",
        (Quantity("depth", "depth", " m", 62, 948, 1, GREAT_SMALL),
         Quantity("area", "area", " km²", 14, 389, 1, LARGE_SMALL),
         Quantity("warmth", "water temperature", " °C", 112, 258, 1)),
        (
            "{t} near {town} covers {area} km² and is {depth} m deep. In July its water reaches "
            "{warmth} °C, and a {colour} ferry crosses it twice a day.",
            "People from {town} love {t}. The water, {warmth} °C warm in July, is {depth} m deep, "
            "and the lake has an area of {area} km².",
        ),
        ("{t} has an area of {area} km², a depth of {depth} m and {warmth} °C in July.",),
    ),
    World(
        "ferry", "ferries", "MS {}",
        (Quantity("length", "length", " m", 215, 968, 1, LONG_SHORT),
         Quantity("speed", "top speed", " km/h", 182, 594, 1),
         Quantity("cars", "number of cars", "", 12, 96)),
        (
            "{t} is painted {colour} and measures {length} m. It takes {cars} cars to {town}, at "
            "a top speed of {speed} km/h.",
            "On the line to {town} sails {t}, {length} m long, with room for {cars} cars and a "
            "top speed of {speed} km/h.",
        ),
        ("{t}: {length} m long, {speed} km/h at most, {cars} cars.",),
    ),
    World(
        "tea", "teas", "{} Blend",
        (Quantity("price", "price", " euros", 312, 968, 2),
         Quantity("brew", "brewing time", " seconds", 45, 320, 0, LONG_SHORT),
         Quantity("heat", "water temperature", " °C", 65, 98)),
        (
            "{t} is grown near {town} and tastes of honey. A bag costs {price} euros; it wants "
            "water of {heat} °C and {brew} seconds to brew.",
            "Pour water of {heat} °C on {t} and wait for {brew} seconds. The {colour} tin costs "
            "{price} euros.",
        ),
        ("{t} costs {price} euros and brews for {brew} seconds at {heat} °C.",),
    ),
    World(
        "gymnast", "gymnasts", "people",
        (Quantity("score", "score", " points", 711, 989, 2), Quantity("age", "age", "", 14, 38)),
        (
            "{t}, {age}, trains in {town} and scored {score} points in the final. Away from the "
            "gym {they} enjoys {i1}.",
            "With {score} points for {their} routine, {t} went home smiling. {They} is {age}. "
            '"{said}"',
        ),
        ("{t}, {age}, of {town} scored {score} points.", "{t} is {age} and got {score} points."),
    ),
)  # fmt: skip

# {n}: how many, {p}: of what
INTROS = (
    "Here are {n} {p}.", "Below you find {n} {p}.", "These are {n} {p}:", "Meet {n} {p}.",
    "The following text is about {n} {p}.", "We have {n} {p} to choose from.",
    "Read about these {n} {p}.", "Here is what we know about {n} {p}:",
    "Our file holds {n} {p}.", "There are {n} {p} in this overview.",
    "I wrote down some facts about {n} {p}.", "Take a look at these {n} {p}.",
    "This is our list of {p}, {n} in all.", "Some notes on {n} {p}:",
    "A colleague sent me this about {n} {p}.", "You will read about {n} {p}.",
    "Consider these {n} {p}.", "A short report on {n} {p}:", "Here is a summary of {n} {p}.",
    "The {p} we talk about are these {n}.", "Please read these lines on {n} {p}.",
    "From the archive: {n} {p}.", "Facts about {n} {p}:", "I have collected data on {n} {p}.",
    "An overview of {n} {p}:", "Let me introduce {n} {p}.", "Suppose that we have {n} {p}.",
    "This page describes {n} {p}.", "What follows is about {n} {p}.",
    "The agency keeps files on {n} {p}.", "Today we look at {n} {p}.", "Given are {n} {p}:",
    "In this text you meet {n} {p}.", "Have a look: {n} {p}.", "Data on {n} {p}:",
)  # fmt: skip
