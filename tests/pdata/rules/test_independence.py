"""The checks of independence: each finds its sign in the examples of its docstring, and no other
check finds one in them before it."""

import inspect

import pytest
from pdata.rules.blocks.labels import Kind, Label
from pdata.rules.blocks.steps import Block, Step
from pdata.rules.dependence.independence import CHECKS, BlockContext, Check, find_dependence
from pdata.rules.prompt import Prompt


def examples(sign: str) -> list[tuple[Check, str]]:
    found = []
    for check in CHECKS:
        lines = (inspect.getdoc(check) or "").splitlines()
        texts = [line.removeprefix(sign) for line in lines if line.startswith(sign)]
        assert texts, f"{check.__name__} has no example after {sign}"
        found += [(check, text) for text in texts]
    return found


def make_block(text: str) -> tuple[Block, Prompt]:
    """`label: text | label: text`, or `1. text | 2. text`; ahead of it, `prompt || `."""
    prompt, _, steps_text = text.rpartition(" || ")
    texts = steps_text.split(" | ")
    counted = texts[0][0].isdigit()
    labels = [Label(t.split(" " if counted else ":")[0]) for t in texts]
    steps = tuple(map(Step, labels, texts))
    kind = Kind.counted if counted else Kind.titled
    return Block(kind, "", steps, "\n", ""), Prompt(prompt)


def run(check: Check, block: Block, prompt: Prompt) -> str | None:
    context = BlockContext(block, prompt)
    for step in context.steps[:-1]:
        assert check(context, step) is None
        context.pass_by(step)
    return check(context, context.steps[-1])


@pytest.mark.parametrize(("check", "text"), examples("+ "))
def test_signs_are_found(check: Check, text: str) -> None:
    block, prompt = make_block(text)
    sign = run(check, block, prompt)
    assert sign and find_dependence(block, prompt) == f"step 2 {sign}"


@pytest.mark.parametrize(("check", "text"), examples("- "))
def test_no_sign_no_dependence(check: Check, text: str) -> None:
    block, prompt = make_block(text)
    assert run(check, block, prompt) is None and find_dependence(block, prompt) is None


def test_the_prompt_and_chains() -> None:
    block, _ = make_block("Oak: it is tall. | Elm: it is wide.")
    asked = "the prompt asks for one thing after the other"
    assert find_dependence(block, Prompt("Look at them one after another.")) == asked
    block, _ = make_block("1. Fill the kettle. | 2. The kettle heats a stone. | 3. A stone glows.")
    assert "takes up words" in str(find_dependence(block, Prompt("")))
