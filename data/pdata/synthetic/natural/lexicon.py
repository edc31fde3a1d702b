"""Words for the world of the prompts: towns, brands, studies, interests, what people say."""

import random
from dataclasses import dataclass, field

from pdata.synthetic.natural.people import Person, draw_people
from pdata.synthetic.natural.phrasing import MADE_UP, choose, make_name, words_of
from pdata.synthetic.wording import draw_labels, split_of

PEOPLE = "people"  # the kind of subjects that are people
# beginnings and ends of names of towns, of one language each
TOWNS = (
    ("Ash Black Brook Clear Elm Fair Green Hazel King Maple North Oak Red Stone West White",
     "bridge bury dale field ford ham haven mere mouth stead ton well wick wood"),
    ("Alten Birken Eichen Falken Gruen Hirsch Linden Neu Ober Rosen Silber Tannen Unter Wald",
     "au bach berg brunn burg dorf feld hausen heim kirchen stadt stein tal"),
    ("Alder Bjork Eke Fager Gran Hassel Kval Lange Nor Rog Sand Stor Tjern Ulv",
     "by fjord havn holm lund nes sund vik voll"),
    ("Bella Castel Fonte Mira Monte Ponte Riva Rocca Serra Terra Torre Val Villa",
     "bianca chiara dolce fiore lago luna mare nera rossa verde viva"),
    ("Aka Fuji Hama Ishi Kami Kawa Mori Naka Nishi Shima Taka Ume Yama",
     "dani gaoka hama machi minato saki se shima zaka zawa"),
)  # fmt: skip
BRANDS = (
    "Alba Amber Arbor Argo Arrow Aster Atlas Aurora Avanti Azur Basalt Beacon Boreal Breeze Brio "
    "Calypso Canyon Cedar Cinder Cirrus Citrine Clover Cobalt Comet Condor Coral Corvus Cosmo "
    "Cypress Dahlia Delphi Domino Dorado Dune Echo Ember Falcon Fern Fjord Flint Gale Garnet "
    "Gazelle Glacier Halo Harbor Helix Heron Indigo Iris Ivory Jade Jasper Juniper Kestrel Kite "
    "Lagoon Lark Laurel Lotus Lumen Lynx Magnet Marble Meadow Meridian Mistral Monsoon Nectar "
    "Nimbus Nova Oasis Onyx Opal Orbit Orchid Osprey Otter Pacer Pebble Phoenix Pinnacle Plover "
    "Polar Prisma Quartz Quill Raven Ridge Saffron Sierra Solstice Sparrow Stratus Sycamore Tango "
    "Tempo Thistle Tundra Vega Velvet Verbena Vista Willow Zenith Zephyr"
)
# beginnings and ends of names that are made up, see `make_name`
BRAND_PARTS = (
    "Bal Bren Cal Cor Dal Del Dor El Fen Fol Gal Gor Hal Hel Ir Jor Kal Kel Kor Lan Lor Mal Mer "
    "Mor Nar Nel Nor Or Pal Per Quen Ral Ren Ros Sal Sel Sor Tal Ter Tor Ul Val Ver Vol Wel Yar "
    "Zan",
    "ado amir anto avia enix eon era esta ica idan ino iva ola omar ona oro ula umo undo",
)
SCHOOLS = (
    "{c} University", "the University of {c}", "{c} Technical University", "{c} College",
    "{c} Institute of Technology", "{c} Business School", "the {c} Academy of Arts",
    "{c} Polytechnic", "{c} School of Design", "the {c} Institute of Science", "{c} State College",
    "{c} Teachers College",
)  # fmt: skip
STUDIES = (
    "physics", "chemistry", "geology", "law", "nursing", "botany", "linguistics", "archaeology",
    "civil engineering", "accounting", "statistics", "philosophy", "forestry", "pharmacy",
    "film studies", "marine biology", "food science", "public health", "veterinary medicine",
    "logistics", "data science", "translation", "music theory", "urban planning", "agriculture",
    "optics", "mathematics", "electronics", "textile design", "geography", "dentistry", "robotics",
)  # fmt: skip
INTERESTS = (
    "chess", "rowing", "baking", "pottery", "cycling", "gardening", "astronomy", "choir singing",
    "folk dance", "beekeeping", "drawing", "sailing", "climbing", "birdwatching", "board games",
    "origami", "fencing", "woodwork", "jazz", "knitting", "calligraphy", "hiking", "poetry",
    "street food", "badminton", "old maps", "radio plays", "puppetry", "surfing", "table tennis",
    "puzzles", "archery", "local history", "carpentry", "opera", "juggling", "skiing", "judo",
    "model trains", "crosswords", "mushroom picking", "swimming", "stamp collecting", "theatre",
)  # fmt: skip
WORDS = (
    "I never start a day without {i}.",
    "What I learned from {i} helps me at work every day.",
    "Give me a free afternoon and you will find me busy with {i}.",
    "My friends say that I talk too much about {i}.",
    "I want to build things that last, and I find my patience in {i}.",
    "I grew up in {c} and still go back there for {i}.",
    "A year in {c} taught me to ask better questions.",
    "I like clear plans, early mornings and {i}.",
    "One day I would love to teach {i} to children.",
    "I am the person who reads the manual first.",
    "Small steps, done well: that is how I work.",
    "I moved from {c} to learn something new, and I have not stopped since.",
    "I enjoy hard problems, good company and {i}.",
    "Behind every good team there is someone who listens; I try to be that one.",
    "I paid for my studies by giving lessons in {i}.",
    "Numbers keep me awake, and I relax with {i}.",
)
COLOURS = ("red", "dark blue", "green", "white", "silver", "black", "yellow", "grey", "copper",
           "brown", "light blue", "beige", "purple", "turquoise", "cream", "pink")  # fmt: skip
JOBS = (
    "a nurse", "a baker", "an electrician", "a teacher", "a cook", "a carpenter", "an engineer",
    "a librarian", "a gardener", "a bus driver", "a surveyor", "a tailor", "an optician",
    "a translator", "a welder", "a pharmacist", "a sound technician", "a postal worker",
    "a fire fighter", "a receptionist", "a plumber", "a biologist", "an accountant", "a farmer",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subject:
    """What an item of a prompt is about: its name, and words to describe it with."""

    name: str
    words: dict[str, str] = field(default_factory=dict)


def relative(kind: str) -> str:
    """The pronoun that a clause about a subject of this kind begins with."""
    return "who" if kind == PEOPLE else "that"


def draw_towns(rng: random.Random, n: int, split: str) -> list[str]:
    """`n` names of towns, no two of which begin alike."""
    towns: dict[str, str] = {}
    while len(towns) < n:
        first, second = rng.choice(TOWNS)
        start = rng.choice(first.split())
        town = start + rng.choice(second.split())
        if split_of(town) == split:
            towns.setdefault(start, town)
    return list(towns.values())


def draw_brands(rng: random.Random, n: int, split: str) -> list[str]:
    """`n` names of products, ships, houses and the like, half of them made up."""
    names = [
        make_name(rng, BRAND_PARTS, split) if rng.random() < MADE_UP else word
        for word in rng.sample(words_of(BRANDS, split), n)
    ]
    return names if len({*names}) == n else draw_brands(rng, n, split)


def draw_subjects(rng: random.Random, n: int, split: str, kind: str) -> list[Subject]:
    """`n` subjects: people, towns, or things named by the pattern `kind`: "Lake {}" has a name of
    BRANDS, "Room {#}" a letter or number."""
    people = draw_people(rng, n, split) if kind == PEOPLE else []
    names = [person.name for person in people]
    if kind == "towns":
        names = draw_towns(rng, n, split)
    elif "{#}" in kind:
        names = [kind.replace("{#}", label) for label in draw_labels(rng, n)]
    elif not people:
        names = [kind.format(brand) for brand in draw_brands(rng, n, split)]
    mine = people or [Person("", "it", "its")] * n
    return [
        Subject(name, _describe(rng, person, split) | {"t": name})
        for name, person in zip(names, mine, strict=True)
    ]


def _describe(rng: random.Random, person: Person, split: str) -> dict[str, str]:
    """Words to describe one subject with, whether or not a wording has a place for them."""
    town, other = draw_towns(rng, 2, split)
    first, second, third = rng.sample(INTERESTS, 3)
    return {
        "they": person.they,
        "They": person.they.capitalize(),
        "their": person.their,
        "town": town,
        "school": rng.choice(SCHOOLS).format(c=other),
        "study": rng.choice(STUDIES),
        "i1": first,
        "i2": second,
        "i3": third,
        "said": choose(rng, WORDS, split).format(i=first, c=town),
        "colour": rng.choice(COLOURS),
        "job": rng.choice(JOBS),
    }
