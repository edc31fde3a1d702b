"""Decides whether a trace ends with the gold answer of its source, the same for every command.

A closing form counts, as text or as mathematics. Without one the conclusion does, when it names
the gold answer and nothing else that a step was about. Knows no files.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pbranch.format.tree import Fork, Trace, plain_text
from pdata.grading.closing_form import clean_answer, find_closing
from pdata.grading.math_equal import is_equal
from pdata.rules.back_references import EDGES
from pdata.rules.prompt import Prompt
from pdata.rules.rewriter import rewrite
from pdata.rules.steps import Block


@dataclass(frozen=True, slots=True)
class Verdict:
    """right: None where it cannot be told; by: `closing`, `mathematics` or `conclusion`."""

    right: bool | None = None
    by: str = ""


def grade_trace(
    trace: Trace, answer: str | None, prompt: str, blocks: Sequence[Block] | None = None
) -> Verdict:
    """Whether `trace` ends with `answer`, the gold one of `prompt`, None where there is none.

    blocks: what a rewriter has found in the trunk; None where only the trace tells.
    """
    if answer is None:
        return Verdict()
    text = plain_text(trace)
    verdict = grade_text(text, answer)
    if verdict.right is not None:
        return verdict
    if blocks is None and any(trace.forks()):
        return grade_conclusion(*_read_tree(trace, prompt), answer)
    if blocks is None:
        blocks = rewrite(text, prompt).blocks
    return grade_conclusion(*_read_blocks(blocks or ()), answer)


def grade_text(text: str, answer: str) -> Verdict:
    """By the closing form alone."""
    closing = find_closing(text)
    if closing is None:
        return Verdict()
    if clean_answer(closing) == clean_answer(answer):
        return Verdict(True, "closing")
    return Verdict(True, "mathematics") if is_equal(closing, answer) else Verdict(False, "closing")


def grade_conclusion(conclusion: str, subjects: Sequence[str], answer: str) -> Verdict:
    """By the only one of the steps' subjects that the text after them names."""
    gold = clean_answer(answer)
    if not re.search(r"\w", conclusion) or gold not in map(clean_answer, subjects):
        return Verdict()
    named = {
        clean_answer(subject)
        for subject in subjects
        if re.search(rf"(?<!\w){re.escape(subject)}(?!\w)", conclusion)
    }
    return Verdict(named == {gold}, "conclusion")


def _read_tree(trace: Trace, prompt: str) -> tuple[str, list[str]]:
    """(what follows the first block of the trunk, the subjects of all). A branch that says nothing
    is a heading, which is no subject."""
    known, subjects = Prompt(prompt), []
    for fork in trace.forks():
        for topic, branch in zip(fork.topics, fork.branches, strict=True):
            if re.search(r"\w", plain_text(branch)[len(topic) :]):
                subjects.append(_find_subject(topic, known))
    first = next(i for i, part in enumerate(trace.parts) if isinstance(part, Fork))
    return plain_text(Trace(trace.parts[first + 1 :])), [s for s in subjects if s]


def _find_subject(topic: str, prompt: Prompt) -> str:
    """The longest end of a topic that the prompt knows, else all of it."""
    words = topic.strip(EDGES + "#").split()
    ends = (" ".join(words[i:]) for i in range(len(words)))
    return next(filter(prompt.knows, ends), " ".join(words))


def _read_blocks(blocks: Sequence[Block]) -> tuple[str, list[str]]:
    subjects = [step.label.subject for block in blocks for step in block.steps]
    return blocks[0].tail if blocks else "", [s for s in subjects if s]
