"""Forms of real traces, several blocks in one, and blocks in blocks."""

import pytest
from pdata.rules.rewriter import rewrite

from pbranch.format.tagged_text import parse, render, separators_of
from pbranch.format.tree import plain_text
from tests.support.forks import fork_of

LONG = "is worth a visit for its {x}, as every guide to the region says at some length"


def sentence(thing: str) -> str:
    return LONG.format(x=thing)


@pytest.mark.parametrize(
    ("text", "topics"),
    [
        (f"## Harbour\n\nIt {sentence('boats')}.\n\n## Market\n\nIt {sentence('cheese')}.\n\n"
         "In summary, go.", ("## Harbour", "## Market")),
        (f"### Harbour\nIt {sentence('boats')}.\n#### Detail\nMore.\n### Market\nIt "
         f"{sentence('cheese')}.\n#### Detail\nMore.\n\n## Conclusion\nGo.",
         ("### Harbour", "### Market")),
        (f"Harbour:\n\nIt {sentence('boats')}.\n\nMarket:\n\nIt {sentence('cheese')}.\n\nGo.",
         ("Harbour:", "Market:")),
        (f"- the harbour {sentence('boats')}\n- a market {sentence('cheese')}\n\nGo.",
         ("- the harbour", "- a market")),
        ("一、港口\n这里有很多船，风景很好。\n二、市场\n这里有奶酪和面包，价格便宜。\n\n综上，值得去。",
         ("一、港口", "二、市场")),
        ("（一）港口：这里有很多船，风景很好。\n（二）市场：这里有奶酪和面包，价格便宜。\n总之，值得去。",
         ("（一）港口", "（二）市场")),
        ("首先，港口有很多船。\n其次，市场有奶酪。\n最后，山上有一座塔。\n\n综上，值得去。",
         ("首先", "其次", "最后")),
        ("**港口**：这里有很多船，风景很好。\n**市场**：这里有奶酪和面包，价格便宜。\n总之，值得去。",
         ("**港口**", "**市场**")),
        (f"First approach: by boat, which {sentence('view')}.\nSecond approach: by rail, which "
         f"{sentence('speed')}.\n\nSo by boat.", ("First approach", "Second approach")),
        (f"Document 1: it {sentence('boats')}.\nDocument 2: it {sentence('cheese')}.\n\nDone.",
         ("Document 1", "Document 2")),
        (f"1. **Harbour**\n\n   It {sentence('boats')}.\n\n2. **Market**\n\n   It "
         f"{sentence('cheese')}.\n\nGo.", ("1. **Harbour**", "2. **Market**")),
        ("(g) A dull one to see.\n(h) A wet one to see.\n(i) A cold one to see.\n(j) A hot one to "
         "see.\nSo (j).",
         ("(g)", "(h)", "(i)", "(j)")),
    ],
)  # fmt: skip
def test_finds_steps_in_the_forms_of_real_text(text: str, topics: tuple[str, ...]) -> None:
    result = rewrite(text, "What is worth seeing?")
    assert fork_of(result).topics == topics
    assert plain_text(result.trace) == text
    assert parse(render(result.trace), separators_of(result.trace)) == result.trace


def test_several_blocks() -> None:
    first = f"Ann: she {sentence('boats')}.\nBert: he {sentence('cheese')}."
    second = f"1. By boat it {sentence('view')}.\n2. By rail it {sentence('speed')}."
    text = f"First who.\n\n{first}\n\nNow how to get there.\n\n{second}\n\nThat is all."
    result = rewrite(text, "Ann or Bert, by boat or by rail?")
    assert [f.topics for f in result.trace.forks()] == [
        ("Ann", "Bert"),
        ("1. By boat", "2. By rail"),
    ]
    assert plain_text(result.trace) == text


def test_nested_blocks() -> None:
    inner = f"- the harbour {sentence('boats')}\n- a market {sentence('cheese')}"
    other = f"- one tower {sentence('views')}\n- some caves {sentence('bats')}"
    text = f"## Oslo\n\nTwo things:\n{inner}\n\n## Lima\n\nTwo things:\n{other}\n\nOverall, go."
    result = rewrite(text, "What is worth seeing?")
    assert result.trace.depth == 2
    outer = fork_of(result)
    assert outer.topics == ("## Oslo", "## Lima")
    assert [len(next(b.forks()).topics) for b in outer.branches] == [2, 2]
    assert plain_text(result.trace) == text
    assert parse(render(result.trace), separators_of(result.trace)) == result.trace


def test_a_survey_inside_a_step_that_stays_in_line() -> None:
    inner = f"- **Harbour**: it {sentence('boats')}\n- **Market**: it {sentence('cheese')}"
    text = (
        f"Step 1: look at both.\n{inner}\n\nStep 2: with the result of step 1 choose.\nOslo it is."
    )
    result = rewrite(text, "Where to?")
    assert [f.topics for f in result.trace.forks()] == [("- **Harbour**", "- **Market**")]
    assert plain_text(result.trace) == text


@pytest.mark.parametrize(
    "items",
    [
        ["the lid comes off with the long screws at the back", "the fan is held by two clips"],
        ["`rows` holds `[4, 7]`, of which the loop takes `4`", "`rows` holds `[7]` from here on"],
        ["**Take**: `4` goes from the front to the back", "**Rest**: `rows` holds `[7, 4]`"],
        ["the base is a square whose sides are of length k", "the height is three times as long"],
    ],
)
def test_steps_inside_a_step_that_stays_in_line(items: list[str]) -> None:
    inner = "\n".join(f"   - {item}, as one can see from the drawing" for item in items)
    text = f"1. Open it:\n{inner}\n\n2. Go on. Take the result of step 1.\n{inner}\n\nThat is it."
    result = rewrite(text, "How is it done?")
    assert result.reason == "dependent steps" and plain_text(result.trace) == text


@pytest.mark.parametrize(
    "text",
    [
        "## Setup\n\nWe count the boats.\n\n## Solving\n\nThere are many.\n\n## Check\n\nYes.",
        "1. Ada gives the drum to Ben.\n2. Ben hands it to Cleo.\n3. Cleo sells it to Dan.\nDan.",
        "- Boil some water.\n- Put rice into the water.\n- Drain the rice.\n\nEnjoy.",
        "Case 1: Let k = 3, then it holds.\nCase 2: With k + 1 it holds too.\nSo always.",
    ],
)
def test_phases_and_chains_stay_linear(text: str) -> None:
    result = rewrite(text, "Who has the drum?")
    assert result.reason and plain_text(result.trace) == text
