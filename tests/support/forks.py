"""What the rules make of a text, for their tests."""

from pdata.rules.rewriter import rewrite

from pbranch.format.tree import plain_text


def trunk_forks(text: str, prompt: str) -> list[list[str]]:
    """The branches of each fork that the rules put into the trunk of `text`."""
    trace = rewrite(text, prompt).trace
    assert plain_text(trace) == text
    return [[plain_text(branch).strip() for branch in fork.branches] for fork in trace.forks()]
