"""Decides whether a trace ends with the gold answer of its source, the same for every command.

A closing form counts, as text or as mathematics. Without one the conclusion does, when it names
the gold answer and nothing else that a step was about. Knows no files.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pbranch.format.tree import Fork, Trace, plain_text
from pdata.grading.answer_forms import clean_answer, read_number, read_option, read_truth
from pdata.grading.closing_form import Closing, find_closings
from pdata.grading.math_equal import is_equal, take_side
from pdata.rules.blocks.steps import Block
from pdata.rules.dependence.back_references import EDGES
from pdata.rules.prompt import Prompt
from pdata.rules.rewriter import rewrite

MAX_SAID = 80  # characters; what is longer is more than an answer


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
    """By the closing forms alone: the last one that can be compared with the answer."""
    verdicts = (compare(closing, answer) for closing in find_closings(text))
    return next((verdict for verdict in verdicts if verdict.right is not None), Verdict())


def compare(closing: Closing, answer: str) -> Verdict:
    """Whether a closing form says `answer`. Only what is of one kind can be wrong: a letter says
    nothing about a text, words nothing about a number, a sentence nothing about a name."""
    said = closing.text
    if clean_answer(said) == clean_answer(answer):
        return Verdict(True, "closing")
    (letters, text), (gold_letters, gold_text) = read_option(said), read_option(answer)
    if letters and gold_letters:
        return Verdict(letters == gold_letters, "closing")
    if letters or gold_letters:
        same = text and gold_text and clean_answer(text) == clean_answer(gold_text)
        return Verdict(True, "closing") if same else Verdict()
    if (truth := read_truth(answer)) is not None:
        said_truth = read_truth(said)
        return Verdict() if said_truth is None else Verdict(said_truth == truth, "closing")
    equal = is_equal(said, answer)
    if equal:
        return Verdict(True, "mathematics")
    sides = take_side(said, answer), take_side(answer, said)
    numbers = sum(read_number(side) is not None for side in sides)
    gold = re.escape(clean_answer(answer))
    named = re.search(rf"(?<!\w){gold}(?!\w)", clean_answer(said))
    vague = named or not closing.firm or len(said) > MAX_SAID
    if equal is None or numbers == 1 or (not numbers and vague):
        return Verdict()
    return Verdict(False, "closing")


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
