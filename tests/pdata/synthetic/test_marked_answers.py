"""Answers with marked steps: read back as the tree they stand for, right, cut where fed apart."""

import random
import re
from collections import Counter

import pytest
from pdata.grading.closing_form import grade
from pdata.record import Record
from pdata.sources.dialects import read_paper
from pdata.synthetic.generator import make_record
from pdata.synthetic.marked_answers import INSTRUCTIONS, write_marked, write_outline
from pdata.synthetic.problem import Problem
from pdata.synthetic.tasks import LEVELS, TASKS

from pbranch.errors import FormatError
from pbranch.format.tree import Fork, Trace, plain_text
from tests.support.repository import ROOT

INDEPENDENT = ("records", "sums", "cases")
KINDS = ("marked", "outline", "late")
BASE = ROOT / "data" / "tiny" / "base"


def problems(task: str, split: str = "train") -> list[Problem]:
    """Some of every level."""
    return [TASKS[task](random.Random(i), n, split, "listed") for n in LEVELS for i in range(12)]


def forks_of(trace: Trace) -> list[Fork]:
    return [part for part in trace.parts if isinstance(part, Fork)]


def cut(record: Record) -> tuple[str, str]:
    begun = record.meta.get("begun", 0)
    return record.completion[:begun], record.completion[begun:]


@pytest.fixture(scope="module")
def marked_records() -> list[Record]:
    """What a mixture has of them, in both splits."""
    drawn = (
        make_record("recall", 5, i, None, s) for s in ("train", "heldout") for i in range(1500)
    )
    return [record for record in drawn if record.meta["kind"] in KINDS]


@pytest.mark.parametrize("split", ["train", "heldout"])
@pytest.mark.parametrize("task", INDEPENDENT)
def test_steps_come_back_as_branches_and_the_answer_as_it_was(task: str, split: str) -> None:
    for problem in problems(task, split):
        for start in (0, len(problem.steps) - 1):
            text = write_marked(problem, start)
            (fork,) = forks_of(read_paper(text))
            steps = problem.steps[start:]
            assert list(fork.topics) == [step.topic for step in steps]
            assert fork.separator == ("\n\n" if len(steps) > 1 else "\n")
            for step, branch in zip(steps, fork.branches, strict=True):
                body = plain_text(branch).removeprefix(f"{step.topic}: ")
                assert step.text in {f"{step.topic}{seam} {body}" for seam in (":", ".", "")}
            assert text.startswith(f"{problem.lead}\n" if problem.lead else "####")
            assert text.endswith(f"\n\n####%%%%\n{problem.tail}")
            assert grade(text, problem.answer)


def test_steps_that_need_one_another_are_not_marked() -> None:
    for problem in problems("chain"):
        assert write_marked(problem) == problem.completion
        assert not forks_of(read_paper(problem.completion))


@pytest.mark.parametrize("task", INDEPENDENT)
def test_an_outline_is_the_answer_with_dots_for_bodies(task: str) -> None:
    for problem in problems(task):
        outline, text = write_outline(problem), write_marked(problem)
        (fork,) = forks_of(read_paper(text))
        for topic, branch in zip(fork.topics, fork.branches, strict=True):
            text = text.replace(f"####{plain_text(branch)}\n\n", f"####{topic}:......\n\n")
        assert outline == text.removesuffix(f"\n{problem.tail}")
        with pytest.raises(FormatError, match="branch 1 of the block is left out"):
            read_paper(outline)


def test_a_mixture_asks_for_marks_and_gets_them(marked_records: list[Record]) -> None:
    assert {(r.meta["kind"], r.meta["task"]) for r in marked_records} == {
        *((kind, task) for kind in KINDS for task in INDEPENDENT),
        ("marked", "chain"),
    }
    for record in marked_records:
        prompt, topics = record.messages[0]["content"], tuple(record.meta["topics"])
        assert re.split(r"\n\n?", prompt)[-1] in INSTRUCTIONS
        if record.meta["kind"] == "outline":
            assert record.answer is None and record.answer_ok is None
            assert tuple(re.findall(r"####(.+):\.{6}\n\n", record.completion)) == topics
            assert record.completion[: record.meta["begun"]].endswith(f"####{topics[0]}:......\n\n")
            continue
        assert record.answer_ok and grade(record.completion, record.answer)
        forks = forks_of(read_paper(record.completion))
        marked = record.meta["task"] != "chain"
        assert [fork.topics for fork in forks] == ([topics] if marked else [])
        if record.meta["kind"] == "late":  # what the conclusion names is among what is left
            assert len(topics) == record.meta["steps"] or record.answer in topics
            begun, rest = cut(record)
            assert begun.endswith(f"####{topics[0]}:") and rest.startswith(" ")
        else:
            assert "begun" not in record.meta


def test_what_nothing_asks_for_is_begun(marked_records: list[Record]) -> None:
    """The prompt and the text so far tell each step of what is learned: its first title is the
    first of the list unless it is begun, and dots follow a title only where dots were begun."""
    begun = Counter()
    for record in marked_records:
        first, rest = cut(record)
        if record.meta["task"] == "chain":
            assert not first
            continue
        titles = re.findall("####([^:%]+):", record.completion)
        prompt = record.messages[0]["content"]
        listed = sorted(titles, key=lambda title: prompt.index(f"{title}: "))
        assert titles == listed
        skipped = len(titles) < record.meta["steps"]
        assert first or not skipped
        assert (":......" in rest) <= (":......" in first)
        begun[record.meta["kind"], skipped] += 1
    assert min(begun.values()) > 20 and set(begun) == {
        ("marked", False), ("outline", False), ("late", False), ("late", True),
    }  # fmt: skip


def test_marks_and_bodies_are_tokens_of_their_own(marked_records: list[Record]) -> None:
    """A decoder feeds marks, titles and bodies one by one: the shipped base has seen no others."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(BASE)
    pieces = re.compile(r"####(?:%%%%)?|\.{6}|\n\n|(?<=####)[^:%]+|:")
    for record in marked_records[:150]:
        cuts = sorted({0, *(i for m in pieces.finditer(record.completion) for i in m.span())})
        ends = [*cuts[1:], len(record.completion)]
        apart = [record.completion[a:b] for a, b in zip(cuts, ends, strict=True)]
        ids = [i for piece in apart for i in tokenizer.encode(piece, add_special_tokens=False)]
        assert ids == tokenizer.encode(record.completion, add_special_tokens=False)
