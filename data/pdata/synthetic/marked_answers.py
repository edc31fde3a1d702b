"""Answers in the dialect of arXiv 2503.20533, which a prompt asks for: `####title: body` a step.

A decoder of the dialect has titles written first, then bodies that do not see each other: outlines
and answers that begin late hold what a model meets there. Knows no one task.
"""

import re

from pbranch.format.paper_dialect import CLOSE, GAP, MARK, OMITTED
from pdata.synthetic.problem import Problem, Step

_BEGUN = re.compile(f"[^#]*{MARK}[^:]+:(?:{re.escape(OMITTED)}{GAP})?")
_LAST = MARK + CLOSE  # no step follows
# what asks for marks: one of them, on a line of its own after a prompt
INSTRUCTIONS = (
    f"Write each independent step as {MARK}title: text, and {_LAST} after the last.",
    f"Start every step that needs no other by {MARK}title: and close them all by {_LAST}.",
    f"Steps that stand alone: {MARK}title: before each one, {_LAST} when they are done.",
    f"Open independent steps by {MARK}, a title and a colon. Behind the last one put {_LAST}.",
)


def write_marked(problem: Problem, start: int = 0) -> str:
    """The completion of `problem` with its steps marked, from step `start` on.

    Steps that need the one before are not independent: they stay as they are, all of them.
    """
    if any(step.given for step in problem.steps):
        return problem.completion
    steps = "".join(f"{MARK}{x.topic}: {_body(x)}{GAP}" for x in problem.steps[start:])
    return f"{_lead(problem)}{steps}{_LAST}\n{problem.tail}"


def write_outline(problem: Problem) -> str:
    """The titles alone, with dots in the place of bodies; nothing follows the close mark."""
    titles = "".join(f"{MARK}{topic}:{OMITTED}{GAP}" for topic in problem.topics)
    return f"{_lead(problem)}{titles}{_LAST}"


def count_begun(text: str) -> int:
    """Characters of a marked text that a decoder feeds itself: up to the first body, or after the
    dots that stand for it."""
    begun = _BEGUN.match(text)
    return begun.end() if begun else 0


def _lead(problem: Problem) -> str:
    return f"{problem.lead}\n" if problem.lead else ""


def _body(step: Step) -> str:
    """The step after its title, which it does not say again: a small model that may do so at times
    does not stop."""
    return step.text.removeprefix(step.topic).lstrip(":. ")
