"""Lists are forked whole or not at all: forms of lists, where the last step ends, conclusions that
are no step, and steps that are one line of thought."""

import pytest

from tests.support.forks import trunk_forks

LONG = "which is told at length in the old book about this valley and its people"
PROMPT = "Tell me about it."


def forks(text: str, prompt: str = PROMPT) -> list[list[str]]:
    return trunk_forks(text, prompt)


@pytest.mark.parametrize(
    "labels",
    [
        ["I.", "II.", "III.", "IV."],
        ["1）", "2）", "3）"],
        ["\xa01.", "\xa02.", "\xa03."],
        ["\u3000\u3000首先，", "\u3000\u3000其次，", "\u3000\u3000再次，"],
        ["首先，", "其次，", "再来，", "最后，"],
        ["    Case 1:", "    Case 2:", "    Case 3:"],
        ["Method 1\n", "Method 2\n", "Method 3\n"],
        ["Case A with few boats\n", "Case B with many boats\n"],
    ],
)
def test_forms_of_lists(labels: list[str]) -> None:
    things = ["the mill", "some caves", "one tower", "old boats"]
    steps = [f"{n} {t} stands there, {LONG}." for n, t in zip(labels, things, strict=False)]
    ((*branches,),) = forks("\n\n".join(steps) + "\n\nIn conclusion, it is nice.")
    assert branches == [step.strip() for step in steps]


def test_a_text_that_begins_with_a_space() -> None:
    steps = [
        f"{n}. The {t} stands there.\nIt is {LONG}." for n, t in (("I", "mill"), ("II", "cave"))
    ]
    text = f" {steps[0]}\n{steps[1]}\nTherefore, the answer is I."
    assert forks(text) == [steps]


@pytest.mark.parametrize(
    ("first", "last", "rest"),
    [
        # the part that the other step has
        (
            f"$a > 1$ holds. Proof. It is {LONG}.",
            f"$b > 1$ holds, {LONG}.",
            "Proof. It is $b + 1$.",
        ),
        (f"求高。{LONG}\n【答案】 三米", f"求宽。{LONG}", "【答案】 四米"),
        # uneven steps with formulas
        (
            f"We have $a = 2$.\n\nIt is {LONG}.\n\nSo $a$ is even.",
            f"We have $b = 4$, {LONG}.\n\nThis is\n\n$$\nb = 4 .\n$$",
            "Clearly, $b$ is small, and greater than every root.",
        ),
        # what goes on about the last one
        (f"We have $a = 2$, {LONG}.", f"We have $b = 4$, {LONG}.", "Since $b > 3$, it is large."),
        (f"有 $a = 2$，{LONG}。", f"有 $b = 4$，{LONG}。", "此时 $b$ 很大。"),
        # a bullet that is set as a formula
        (f"A mill has $3$ sails, {LONG}.", f"A boat has $5$ sails, {LONG}.", "$*$ A kite has $2$."),
        # the number of a further item at the end of a line
        (f"A mill has $3$ sails, {LONG}.", f"A boat has $5$ sails, {LONG}. 3.", "A kite has $2$."),
    ],
)
def test_no_fork_where_nothing_tells_the_end(first: str, last: str, rest: str) -> None:
    text = f"(1) {first}\n\n(2) {last}\n\n{rest}"
    assert forks(text) == []


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        (f"Case 1: a mill, {LONG}.\n\nCase 2: a cave, {LONG}.\n\ncase 3: a boat.", PROMPT),
        (f"Option A: a mill, {LONG}.\nOption B: a cave, {LONG}.\noption C: a boat.", PROMPT),
        (f"Way 1: a mill, {LONG}.\n\nWay 2: a cave, {LONG}.\n\nWAY 3: a boat.", PROMPT),
        # begun in the line before
        (
            f"Start with option A. It is a mill, {LONG}.\n\nOption B is a cave, {LONG}.\n\n"
            f"Option C is a boat, {LONG}.",
            PROMPT,
        ),
        (
            f"PV of D1 = 14 / 2 = 7\nPV of D2 = 7 / 2 = 3.5 and {LONG}\nPV of D3 = 9 / 2 = 4.5 and "
            f"{LONG}\n",
            PROMPT,
        ),
        # fields of one record
        (f'{{\nPlace = "the mill, {LONG}",\nThing = "a boat, {LONG}"\n}}', "Place and Thing?"),
        (f"Place = ['mill, {LONG}']\nThing = ['boat, {LONG}']\n", "Place and Thing?"),
        (f'Place = {{"mill": "{LONG}"}}\nThing = {{"boat": "{LONG}"}}\n', "Place and Thing?"),
    ],
)
def test_no_part_of_a_list_and_no_fields(text: str, prompt: str) -> None:
    assert forks(text, prompt) == []


@pytest.mark.parametrize(
    "lead", ["The miller. Ask him:", "磨坊主。问题：", "**The miller**, of whom:"]
)
def test_an_item_that_leads_to_the_others_heads_them(lead: str) -> None:
    items = [f"- {x} {LONG}?" for x in ("What is the mill", "Who owns a boat", "When are caves")]
    assert forks("\n".join([f"- {lead}", *items]) + "\n\nOverall, ask.") == [items]


@pytest.mark.parametrize("lines", [(1, 2, 1), (1, 2, 2), (2, 1, 2)])
@pytest.mark.parametrize("rest", ["", "\nTherefore, it is B.", "\n\nThat is that."])
def test_steps_of_some_lines(lines: tuple[int, ...], rest: str) -> None:
    steps = [
        "\n".join([f"{n}. The {thing} is there.", *[f"It is {LONG}."] * k])
        for n, thing, k in zip("123", ("mill", "cave", "boat"), lines, strict=True)
    ]
    assert forks("\n".join(steps) + rest) == [steps]


def test_an_option_that_is_taken_up_again_stands_behind_the_join() -> None:
    prompt = "What is it?\nA: 5+3\nB: 4+4+5\nC: 3+3+9"
    steps = [f"A: 5+3 is told, {LONG}", f"B: 4+4+5 is told, {LONG}", f"C: 3+3+9 is told, {LONG}"]
    assert forks("\n".join([*steps, f"Option B: this is it, {LONG}."]), prompt) == [steps]


def test_uneven_steps_before_what_is_drawn_from_all() -> None:
    steps = [
        f"Case 1: $a = 2$.\n\nIt is {LONG}.\n\nThat is even.",
        f"Case 2: $b = 3$.\n\nIt is odd, {LONG}.",
        f"Case 3: $c = 5$.\n\nIt is odd too, {LONG}.",
    ]
    text = "\n\n".join(steps) + "\n\nFrom the three cases, it is a prime."
    assert forks(text) == [steps]


@pytest.mark.parametrize(
    "turn",
    ["Wait, the question is about boats.", "Hmm... but is it?", "Alternatively, it is B."],
)
def test_a_thought_that_turns_back_stands_behind_the_join(turn: str) -> None:
    steps = [f"Option {x}: the {t} is there, {LONG}." for x, t in (("A", "mill"), ("B", "cave"))]
    text = "\n\n".join(steps) + f" {turn} Let me see."
    assert forks(text) == [steps]


def test_what_is_said_of_an_option_is_no_answer() -> None:
    steps = [
        f"Option {x}: the {t} is there, {LONG}. So this isn't correct."
        for x, t in (("A", "mill"), ("B", "cave"))
    ]
    steps[0] = steps[0].replace("So this isn't correct.", "That is wrong.")
    assert forks("\n\n".join(steps) + "\n\nIt is C.") == [steps]


@pytest.mark.parametrize(
    "text",
    [
        # an item between two that another word counts
        f"首先，磨坊很老，{LONG}。\n然后，山洞很深，{LONG}。\n最后，塔楼很高，{LONG}。",
        f"首先，磨坊很老，{LONG}。\n\n其次，山洞很深。\n\n随后，塔楼很高，{LONG}。\n\n最后，船很旧，{LONG}。",
        f"First, the mill is old, {LONG}.\nNext, a cave.\nSecond, one tower is high, {LONG}.",
        # what follows from the others
        f"首先，磨坊不对，{LONG}。\n其次，山洞不对，{LONG}。\n最后，我们可以看到塔楼是对的，{LONG}。",
        f"First, the mill is out, {LONG}.\nSecond, a cave is out, {LONG}.\n"
        f"Third, we can conclude that one tower is meant, {LONG}.",
        # on the ground that the one before does not hold
        f"First, the mill is closed, {LONG}.\nSecond, even if it were open, {LONG}.",
        f"首先，磨坊关门了，{LONG}。\n其次，即使开门，{LONG}。",
        # a thought that turns from one to the other
        f"Alternatively, maybe it is the mill: that is old, {LONG}.\n\n"
        f"Alternatively, maybe it is a cave: one is deep, {LONG}.",
        f"Perhaps option A: that is old, {LONG}.\n\nMaybe option B: one is deep, {LONG}.",
        # a plan
        f"First, we need to find the mill, {LONG}.\nSecond, we need to measure a cave, {LONG}.",
        f"First, you have to stop a boat, {LONG}.\nSecond, you should tie one rope, {LONG}.",
        f"首先，我们需要看磨坊，{LONG}。\n其次，我们需要看山洞，{LONG}。",
        # a paragraph that leads to the next step
        f"1. The mill is old, {LONG}.\n\nIt makes flour:\n\n2. The bread is good, {LONG}.",
        f"(1) 磨坊很老，{LONG}。\n\n由此可以看到：\n\n(2) 山洞很深，{LONG}。",
        f"Case 1: the mill is old, {LONG}.\n\nWe turn to caves:\n\nCase 2: one is deep, {LONG}.",
        # parts of one song
        f"Verse 1:\nThe mill is old, {LONG}\n\nVerse 2:\nSome caves are deep, {LONG}\n",
    ],
)
def test_steps_of_one_line_of_thought(text: str) -> None:
    assert forks(text) == []
