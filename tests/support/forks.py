"""What the rules make of a text, for their tests."""

from typing import Any

import pytest
from pdata.rules.rewriter import Rewrite, rewrite

from pbranch.format.tree import Fork, plain_text


def trunk_forks(text: str, prompt: str) -> list[list[str]]:
    """The branches of each fork that the rules put into the trunk of `text`."""
    trace = rewrite(text, prompt).trace
    assert plain_text(trace) == text
    return [[plain_text(branch).strip() for branch in fork.branches] for fork in trace.forks()]


def assert_linear(prompt: str, text: str) -> None:
    """The steps of `text`, which a last sentence follows, are found to depend on one another."""
    result = rewrite(f"{text}\n\nThat is all.", prompt)
    assert result.reason == "dependent steps", (result.reason, result.trace)


def assert_forks(prompt: str, text: str) -> None:
    """The steps of `text`, which a last sentence follows, are forked."""
    result = rewrite(f"{text}\n\nThat is all.", prompt)
    assert not result.reason, (result.reason, result.detail)


def by_kind(kinds: dict[str, list[tuple[Any, ...]]]) -> list[Any]:
    """The cases of all kinds for `parametrize`, each with its kind as its name."""
    return [pytest.param(*case, id=kind) for kind, cases in kinds.items() for case in cases]


def fork_of(result: Rewrite) -> Fork:
    """The first fork of a trace that has one."""
    assert not result.reason, (result.reason, result.detail)
    return next(result.trace.forks())


def list_of(*steps: str, form: str = "{i}. {s}", glue: str = "\n") -> str:
    """The text of a list: each step with its number in some form."""
    return glue.join(form.format(i=i, s=s) for i, s in enumerate(steps, 1))
