"""The rules rewriter: synthetic tasks, forms of real traces in texts of our own, dependence."""

import pytest
from pdata.rules.rewriter import rewrite
from pdata.synthetic.generator import make_record

from pbranch.format.tagged_text import parse, render, separators_of
from pbranch.format.tree import plain_text
from tests.support.forks import fork_of

BASKETS = (
    "Ann Lee, Bert Moor and Cleo Dane each carry a basket. Ann Lee has 3 apples, Bert Moor has 5 "
    "pears and Cleo Dane has 7 plums. Who has more than 6 pieces?"
)
STEPS = (
    "3 pieces, which is too few for what is asked.",
    "5 pieces, too few for it. Not the one that we want.",
    "7 pieces, which is enough for what is asked.",
)
NAMES = ("Ann Lee", "Bert Moor", "Cleo Dane")
END = "Only one of them has more than 6. name: Cleo Dane"


def write(form: str, glue: str = "\n", names: tuple[str, ...] = NAMES) -> str:
    return glue.join(form.format(n=n, b=b) for n, b in zip(names, STEPS, strict=True))


@pytest.mark.parametrize("task", ["records", "sums", "cases"])
def test_forks_independent_tasks(task: str) -> None:
    right = 0
    for i in range(300):
        record = make_record(task, 5, i, None, "train")
        result = rewrite(record.completion, record.messages[0]["content"])
        assert plain_text(result.trace) == record.completion
        topics = [list(f.topics) for f in result.trace.forks()]
        right += topics == [record.meta["topics"]]
    assert right >= 297


def test_never_forks_chains() -> None:
    for i in range(300):
        record = make_record("chain", 5, i, None, "train")
        result = rewrite(record.completion, record.messages[0]["content"])
        assert result.reason == "dependent steps", record.completion


@pytest.mark.parametrize(
    ("text", "topics"),
    [
        (f"Let me look.\n{write('{n}: {b}')}\n{END}", NAMES),
        (f"Let me look.\n\n{write('{n}: {b}', chr(10) * 2)}\n\n{END}", NAMES),
        (f"{write('{n} has {b}')}\n{END}", NAMES),
        (f"{write('The basket of {n}: {b}')}\n\n{END}", tuple(f"The basket of {n}" for n in NAMES)),
        (f"Checks:\n{write('- **{n}**: {b}')}\n\n{END}", tuple(f"- **{n}**" for n in NAMES)),
        (f"{write('- **{n}:** {b}')}\n\n{END}", tuple(f"- **{n}:**" for n in NAMES)),
        (
            f"1. Ann Lee: {STEPS[0]}\n2. Bert Moor: {STEPS[1]}\n3. Cleo Dane: {STEPS[2]}\n{END}",
            ("1. Ann Lee", "2. Bert Moor", "3. Cleo Dane"),
        ),
        (
            "Option A: the first of the two.\n  - it holds 3 pieces.\nOption B: the second of the "
            "two.\n  - it holds 5 pieces.\nDone.",
            ("Option A", "Option B"),
        ),
        ("Case 1: the number is odd.\nIt fails by far.\nCase 2: the number is even.\nIt holds "
         "well.\nSo one.",
         ("Case 1", "Case 2")),
        ("(a) 3 apples are too few.\n(b) 5 pears are still too few.\n(c) 7 plums are enough for "
         "it.\nSo (c).",
         ("(a)", "(b)", "(c)")),
        (f"Person 1: Ann Lee\n- holds 3 of the apples.\n\nPerson 2: Bert Moor\n- holds 5 of the "
         f"pears.\n\n{END}", ("Person 1", "Person 2")),
    ],
)  # fmt: skip
def test_finds_steps_by_their_lines(text: str, topics: tuple[str, ...]) -> None:
    result = rewrite(text, BASKETS)
    assert fork_of(result).topics == topics
    assert plain_text(result.trace) == text
    assert parse(render(result.trace), separators_of(result.trace)) == result.trace


def test_heading_and_tail_stay_in_the_trunk() -> None:
    text = f"Check of each person:\n{write('Check of {n}: {b}')}\n{END}"
    result = rewrite(text, BASKETS)
    assert len(fork_of(result).topics) == 3
    assert result.trace.lead == "Check of each person:\n"
    assert result.trace.parts[-1].text == f"\n{END}"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "end", ["####%%%%" + END, f"####%%%%\n{END}", f"########%%%%\n\n{END}", END]
)
@pytest.mark.parametrize("form", ["####{n}: {b}", "####Check of {n}: {b}", "####{n}\n- {b}\n"])
@pytest.mark.parametrize("heading", ["", "####Check of each person:\n"])
def test_marked_steps_closed_or_not(end: str, form: str, heading: str) -> None:
    text = f"{heading}{write(form)}\n{end}"
    result = rewrite(text, BASKETS)
    fork = fork_of(result)
    assert len(fork.topics) == 3 and all(topic.startswith("####") for topic in fork.topics)
    assert plain_text(result.trace) == text  # marks stand with their steps, and none is lost
    assert "#" not in fork.separator
    bare = rewrite(text.replace("####", ""), BASKETS)
    if "\n- " not in form:  # without marks a bare name on its line is no step
        assert fork_of(bare).topics == tuple(topic.removeprefix("####") for topic in fork.topics)


def test_text_after_a_close_mark_is_searched_too() -> None:
    first, second = write("####{n}: {b}"), write("- **{n}**: {b}")
    text = f"Look.\n{first}\n####%%%%\nAgain:\n{second}\n\n{END}"
    result = rewrite(text, BASKETS)
    assert plain_text(result.trace) == text
    assert next(fork.topics[0] for fork in result.trace.forks()) == "####Ann Lee"


@pytest.mark.parametrize("gap", ["\n", "\n\n", "\n\n\n"])
@pytest.mark.parametrize("form", ["####{n}: {b}", "#### {n}: {b}", "## {n}\n{b}", "{n}: {b}"])
def test_flattened_text_is_the_source(gap: str, form: str) -> None:
    """Steps alike, joined alike: what the linear twin learns is what was written."""
    for lead in ("", "Let me look.\n", "Let me look.\n\n"):
        text = f"{lead}{write(form, gap)}{gap}{END}"
        trace = rewrite(text, BASKETS).trace
        assert plain_text(parse(render(trace), separators_of(trace))) == text


def test_a_name_that_the_prompt_spells_otherwise_is_still_a_step() -> None:
    last = "none at all, since he does not carry a basket."
    text = f"{write('{n}: {b}').replace('Moor', 'More')}\nAnn Lee's son: {last}\n{END}"
    prompt = BASKETS.replace("Who", "Ann Lee's son has none. Who")
    assert len(fork_of(rewrite(text, prompt)).topics) == 4


def test_uneven_blank_lines_are_evened_out() -> None:
    ann, bert, cleo = write("{n}: {b}").split("\n")
    text = f"{ann}\n{bert}\n\n{cleo}\n{END}"
    result = rewrite(text, BASKETS)
    assert fork_of(result).separator in ("\n", "\n\n")
    assert plain_text(result.trace).split() == text.split()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (END, "no steps"),
        ("", "no steps"),
        (f"####Ann Lee: few.\n####Bert Moor: few.\n####Ann Lee: again.\n####%%%%{END}",
         "equal topics"),
        (f"Case 1:\nCase 2:\n{END}", "empty body"),
        ("#### Setting up\nWe look.\n#### Solving\nWe count.\nDone.", "no steps"),
        (f"Ann Lee: 3 pieces.\nShe is out.\nCleo Dane: 7 pieces.\n{END}", "no steps"),
        ("There are 29 - 8 = 21 left.\nThere are 24 - 10 = 14 gone.\nDone.", "no saving"),
        ("The day was long.\nAnn Lee went home.\nIt rained.\nBert Moor stayed.", "no steps"),
    ],
)  # fmt: skip
def test_stays_linear(text: str, reason: str) -> None:
    result = rewrite(text, BASKETS)
    assert result.reason == reason
    assert plain_text(result.trace) == text


@pytest.mark.parametrize(
    "text",
    [
        "Step 1: 4 * 6 = 24 pens.\nStep 2: 24 - 5 = 19 pens.\nanswer: 19",
        "1. There are 10 litres and 3 go, leaving 7.\n2. With 8 more there are 7 + 8 = 15.\n15",
        "Step 1: The note names Zoltan as owner.\nStep 2: We ask Zoltan for it.\nanswer: shed",
        "1. Boil the water.\n2. Then pour it on the leaves.\n3. Wait.",
        "Step 1: 9 * 9 = 81.\nStep 2: Multiply the result by 2.\nanswer: 162",
        "Step 1: 32/4 = 8 books.\nStep 2: 9+2(8) = 25 books.\nanswer: 25",
        "Case 1: it works.\nCase 2: similarly, it works.\nSo it does.",
        "Case 1: it gives 8.\nCase 2: with Case 1 it follows.\nSo it does.",
        # the partial result happens to be a number that the prompt gives to another step
        "Step 1: 40 - 13 = 27.\nStep 2: 27 - 27 = 0.\nanswer: 0",
    ],
)
def test_dependent_steps_stay_linear(text: str) -> None:
    prompt = "Start from 40.\nStep 1: subtract 13\nStep 2: subtract 27\nWhat is left?"
    assert rewrite(text, prompt).reason == "dependent steps"
    assert rewrite(text, "What is left at the end?").reason == "dependent steps"


def test_equal_results_are_no_dependence() -> None:
    prompt = "Work out.\nP: 3 + 4\nQ: 5 + 2\nR: 7 + 6\nWhich is largest?"
    text = "P: 3 + 4 = 7.\nQ: 5 + 2 = 7.\nR: 7 + 6 = 13.\nSo it is R. name: R"
    assert fork_of(rewrite(text, prompt)).topics == ("P", "Q", "R")


def test_words_of_the_prompt_point_at_nothing() -> None:
    prompt = "Ann Lee: previous rent 300\nBert Moor: previous rent 500\nWho paid more?"
    text = (
        "Ann Lee: the previous rent is 300 for a month.\n"
        "Bert Moor: the previous rent is 500 for a month.\nBert Moor."
    )
    assert len(fork_of(rewrite(text, prompt)).topics) == 2
