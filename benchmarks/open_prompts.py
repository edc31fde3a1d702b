"""Open prompts: half ask for independent parts, half for a text whose parts need one another.

    python benchmarks/open_prompts.py --n 600 --seed 1 --out runs/open/prompts.jsonl
    pinfer generate --model MODEL --adapter none --prompts runs/open/prompts.jsonl --json \\
        --max-new-tokens 400 --temperature 0.7 --top-p 0.8 --top-k 20 --repetition-penalty 1.1 \\
        --output runs/open/answers.jsonl --resume
    pdata build runs/open/answers.jsonl --map prompt=prompt --map completion=text \\
        --out runs/open/traces.jsonl

No two prompts are equal. Subjects and wordings of `--split heldout` occur in no training prompt.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

# what a part is about, by what can be asked of it
SUBJECTS = {
    "practice": """
        working from home; learning a language with an app; keeping a paper diary; cycling to
        work; growing vegetables on a balcony; renting instead of buying a flat; cooking for a
        whole week at once; travelling by night train; adopting a dog from a shelter; taking
        notes by hand; sharing a flat; shopping at a market; swimming before breakfast; running
        a small online shop; teaching children chess; volunteering abroad; wearing a uniform at
        school; paying with cash only; living in a small village; sleeping in a hammock; reading
        on an e-reader; keeping bees; working four days a week; using public libraries; baking
        your own bread; meditating every morning; homeschooling; buying second-hand clothes;
        living without a car; studying at night; camping in winter; sailing with friends;
        writing unit tests first; pair programming; code review by two people; open-plan
        offices; daily stand-up meetings; flexible working hours; online lectures; group
        projects at university""",
    "thing": """
        a bicycle helmet; a cast-iron pan; a rain jacket; an electric kettle; a standing desk; a
        mechanical keyboard; a hiking boot; a folding bike; a solar panel; a vacuum robot; a
        sleeping bag; a tent; a bread maker; a digital camera; a telescope; a wood stove; a heat
        pump; a rucksack; a water filter; a board game; a violin; a sewing machine; an office
        chair; a pair of headphones; a wristwatch; a garden shed; a greenhouse; a fountain pen;
        a pressure cooker; a microscope""",
    "place": """
        Lisbon; Kyoto; Nairobi; Toronto; Naples; Seoul; Marrakesh; Edinburgh; Hanoi; Cusco;
        Reykjavik; Istanbul; Cape Town; Melbourne; Prague; Oaxaca; Bergen; Ljubljana; Tbilisi;
        Porto; Bologna; Ghent; Krakow; Riga; Valparaiso; Split; Galway; Basel; Leipzig; Turku""",
    "pair": """
        trains and buses; tea and coffee; novels and films; cats and dogs; mountains and
        beaches; paper books and audiobooks; gas and induction cookers; Python and Java; lists
        and tuples in Python; SQL and spreadsheets; summer and winter holidays; concrete and
        timber houses; solar and wind power; skiing and snowboarding; guitars and pianos;
        football and basketball; laptops and desktop computers; emails and phone calls; small
        and large companies; brown and white rice; butter and olive oil; lectures and seminars;
        rivers and lakes; planes and trains; whales and sharks; frogs and toads; comets and
        asteroids; wheat and rye; wool and cotton; stacks and queues""",
    "group": """
        planets of the solar system; kinds of renewable energy; musical instruments of an
        orchestra; sorting algorithms; states of matter; food groups; Olympic sports; data
        structures; kinds of cloud; bones of the human body; programming languages; kinds of
        triangle; oceans of the world; layers of the atmosphere; kinds of bridge; senses of the
        human body; kinds of rock; spices; breeds of dog; painting styles; kinds of tax; martial
        arts; kinds of cheese; dances; sources of vitamin C; habitats; database types; kinds of
        poem; trees of Europe; knots that sailors use""",
    "trade": """
        nurse; baker; carpenter; software tester; school teacher; bus driver; journalist;
        gardener; electrician; librarian; pilot; chef; translator; architect; vet; fisherman;
        tailor; firefighter; project manager; pharmacist""",
    "hero": """
        a lighthouse keeper; a lost parcel; two rival bakers; a robot that learns to whistle; a
        girl who repairs clocks; an old sailor; a fox in the city; a forgotten umbrella; a
        teacher on her last day; a boy and a paper boat; a goat that climbs a tower; a mapmaker;
        a nervous astronaut; a violin without strings; a postman in the snow; a dragon afraid of
        fire; twins who swap jobs; a gardener and a crow; a night watchman; a stubborn donkey; a
        librarian who finds a letter; a chess player; a young baker; a snail with a plan; a
        retired detective""",
    "process": """
        bread rises; a bill becomes a law; rain forms; a rocket reaches orbit; a seed becomes a
        tree; a vaccine makes you immune; a steam engine turns heat into motion; a web page
        reaches your screen; glass is made; a caterpillar becomes a butterfly; a compiler turns
        code into a program; a volcano erupts; cheese is made; a river makes a valley; sound
        reaches the brain; paper is recycled; a mirror forms an image; a star is born; blood
        gets its oxygen; a battery is charged; yoghurt sets; a glacier moves; a loan is paid
        back; an echo forms; dew forms""",
    "claim": """
        the sum of two even numbers is even; the square of an odd number is odd; the sum of
        three consecutive numbers is divisible by 3; the product of two consecutive numbers is
        even; there is no largest prime number; the square root of 2 is irrational; the sum of
        two odd numbers is even; a number that ends in 0 is divisible by 5; the angles of a
        triangle add up to 180 degrees; the difference of two squares factorises; if n is
        divisible by 6 it is divisible by 3; the sum of the first n odd numbers is n squared""",
}  # fmt: skip
N_WORDS = ("three", "four", "five", "six")
PARTS = {
    "practice": (
        "List {n} advantages of {s}, each with a one-sentence reason.",
        "Give me {n} good reasons for {s}. A sentence or two for each, please.",
        "What are {n} drawbacks of {s}? Use a numbered list with a short explanation for each.",
        "Name {n} common mistakes in {s} and say briefly how to avoid each of them.",
        "Write about {s} from {n} points of view: one short paragraph for each.",
        "I think about {s}. Give {n} independent tips, each with a bold title and one sentence.",
        "What {n} things should somebody know about {s}? Keep each to two sentences.",
        "How does {s} affect health, money, time and other people? One short paragraph for each.",
    ),
    "thing": (
        "What should I look at when I buy {s}? Give {n} points with a sentence each.",
        "Name {n} uses of {s} and explain each in a sentence.",
        "Describe {s} by weight, price, care and lifetime: one short paragraph each.",
        "List {n} questions to ask before buying {s}, and why each matters.",
        "Give {n} tips for the care of {s}, as bullet points of one or two sentences.",
        "Who would want {s}? Describe {n} kinds of buyer in a sentence or two each.",
    ),
    "place": (
        "Suggest {n} things to do in {s}. For each, say in one sentence why.",
        "Describe {s} under these headings: Food, Transport, Weather, Culture. Two sentences each.",
        "Name {n} reasons to visit {s}, each with a short explanation.",
        "Give {n} tips for a first trip to {s}; a bold title and one sentence for each.",
        "What would a student, a family and a pensioner like in {s}? A short paragraph for each.",
    ),
    "pair": (
        "Compare {s} in {n} respects. One short paragraph for each respect.",
        "What are the differences between {s}? Give {n}, each with a title and a sentence.",
        "Compare {s} by cost, comfort, and effort, a short paragraph for each.",
        "List {n} ways in which {s} differ, as a numbered list with one sentence each.",
    ),
    "group": (
        "Name {n} {s} and describe each in one or two sentences.",
        "Give me a list of {n} {s} with a short explanation of each.",
        "Pick {n} {s}. For each, write one interesting fact.",
        "Explain {n} {s} to a child, two sentences for each.",
    ),
    "trade": (
        "What does a {s} need to be good at? List {n} skills, each with a sentence on why.",
        "Give {n} pros and cons of working as a {s}, one sentence each.",
        "Describe the work of a {s} under the headings Tasks, Tools, Training and Risks.",
        "Name {n} myths about the work of a {s} and put each right in a sentence or two.",
    ),
}  # fmt: skip
CHAINS = {
    "hero": (
        "Write a short story about {s} in about 120 words.",
        "Tell me a short bedtime story about {s}.",
        "Write a story of two short paragraphs about {s}, with a surprising end.",
        "Make up a little tale about {s} and end it with a lesson.",
        "Write the opening of a novel about {s}, in one paragraph.",
    ),
    "process": (
        "Explain step by step how {s}.",
        "Describe how {s}, from the beginning to the end, in a few sentences.",
        "How is it that {s}? Explain the sequence of events.",
        "In what order do things happen when {s}? Write one flowing paragraph.",
    ),
    "claim": (
        "Prove that {s}.",
        "Show in a few steps why {s}.",
        "Give a short proof that {s}.",
    ),
    "place": (
        "Write a short letter from somebody who got lost in {s}.",
        "Plan one day in {s}, hour by hour, where each stop is a short walk from the last.",
    ),
    "thing": (
        "Tell the story of how {s} changed somebody's week.",
        "Describe how {s} is made, one step after the other.",
    ),
    "practice": (
        "Write a short dialogue in which one friend talks another into {s}.",
        "Argue for {s} in one paragraph in which each sentence builds on the one before.",
    ),
    "trade": ("Write a diary entry of a {s} about an unusual day.",),
}
SUMS = (
    "A shop has {a} {x}. It sells {b} on Monday and gets {c} new ones on Tuesday, then sells half "
    "of what is left. How many {x} remain? Explain step by step.",
    "{a} {x} are packed into boxes of {b}. Each full box costs {c} euros. What do the full boxes "
    "cost together? Show your steps.",
    "A tank holds {a} litres. {b} litres are taken out every day for {d} days, then {c} litres are "
    "added. How much is in it? Work it out step by step.",
)  # fmt: skip
GOODS = ("apples", "books", "candles", "mugs", "notebooks", "lamps", "tickets", "plates")
HELD_OUT = 6  # one in so many subjects and wordings


def split(items: Sequence[str], heldout: bool) -> list[str]:
    """The items of one split, by their place."""
    return [x for i, x in enumerate(items) if (i % HELD_OUT == HELD_OUT - 1) == heldout]


def subjects(kind: str, heldout: bool) -> list[str]:
    return split([" ".join(s.split()) for s in SUBJECTS[kind].split(";")], heldout)


def wordings(kinds: dict[str, tuple[str, ...]], heldout: bool) -> list[tuple[str, str]]:
    """(subject's kind, wording) of one split, over all kinds together."""
    pairs = [(kind, wording) for kind, texts in kinds.items() for wording in texts]
    return [pair for i, pair in enumerate(pairs) if (i % HELD_OUT == HELD_OUT - 1) == heldout]


def draw(rng: random.Random, n: int, heldout: bool) -> list[tuple[str, bool]]:
    """`n` different prompts, each with whether its parts are independent, in turn."""
    parts = [
        wording.format(s=subject, n=count)
        for kind, wording in wordings(PARTS, heldout)
        for subject in subjects(kind, heldout)
        for count in (N_WORDS if "{n}" in wording else N_WORDS[:1])
    ]
    chains = [
        wording.format(s=subject)
        for kind, wording in wordings(CHAINS, heldout)
        for subject in subjects(kind, heldout)
    ]
    half = n // 2
    if len(parts) < half:
        raise SystemExit(f"--n {n}: at most {2 * len(parts)} different prompts of this split")
    chains = rng.sample(chains, min(len(chains), half * 4 // 5))
    while len(chains) < half:  # calculations never run out
        if (prompt := draw_sum(rng, heldout)) not in chains:
            chains.append(prompt)
    rng.shuffle(chains)
    pairs = zip(rng.sample(parts, half), chains, strict=True)
    return [(prompt, i == 0) for pair in pairs for i, prompt in enumerate(pair)]


def draw_sum(rng: random.Random, heldout: bool) -> str:
    """A calculation of a few steps."""
    a, b, c, d = (rng.randint(*ends) for ends in ((40, 200), (3, 9), (2, 30), (2, 4)))
    return rng.choice(SUMS).format(x=rng.choice(split(GOODS, heldout)), a=a, b=b, c=c, d=d)


def main() -> None:
    """Write the prompts, numbered."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, required=True, help="an even number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("train", "heldout"), default="train")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    drawn = draw(random.Random(f"{args.seed}/{args.split}"), args.n, args.split == "heldout")
    rows = [
        {"id": f"open-{args.split}-{i:04d}", "prompt": prompt, "parts": parts}
        for i, (prompt, parts) in enumerate(drawn)
    ]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    args.out.write_text(lines, encoding="utf-8")
    print(f"{len(rows)} prompts → {args.out}")


if __name__ == "__main__":
    main()
