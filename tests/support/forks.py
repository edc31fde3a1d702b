"""What the rules make of a text, for their tests."""

from pdata.rules.rewriter import rewrite

from pbranch.format.tree import plain_text


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
