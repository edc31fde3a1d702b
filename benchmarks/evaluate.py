"""Decodes held-out prompts in several modes and compares answers and passes. Used by the demo and
for the model cards; every number is counted, none is taken from elsewhere."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pdata.grading.closing_form import grade
from pdata.record import Record
from pdata.rules.rewriter import rewrite
from pdata.synthetic.generator import make_record

from pbranch.format.layout import critical_path
from pbranch.format.paper_dialect import CLOSE, GAP, MARK
from pbranch.format.tree import make_trace, plain_text
from pbranch.rates import measure_rates
from pinfer import Engine, Generation, SamplingParams

PARALLEL_TASKS = ("records", "sums", "cases", "resume")
TASKS = ("records", "sums", "cases", "chain")
NATURAL_TASKS = (*TASKS, "resume")  # told in natural English
LONG = 6  # steps from which on a prompt counts as long


@dataclass(frozen=True, slots=True)
class Answer:
    """One decoded prompt."""

    record: Record
    generation: Generation

    @property
    def right(self) -> bool:
        """The answer is the reference's."""
        return grade(self.generation.text, self.record.answer or "")

    @property
    def to_fork(self) -> bool:
        """The prompt's steps are independent."""
        return self.record.meta["task"] in PARALLEL_TASKS

    @property
    def well_formed(self) -> bool:
        """The grammar changed none of its choices."""
        return not self.generation.stats.grammar_interventions

    @property
    def branches(self) -> int:
        """Branches of all its blocks."""
        return self.generation.stats.branches

    @property
    def forked(self) -> bool:
        """At least one block was written."""
        return self.generation.stats.blocks > 0

    @property
    def passes(self) -> int:
        """Forward passes after the prompt's prefill."""
        return self.generation.stats.passes


def held_out(
    n: int, seed: int = 90_001, wording: str = "plain", most_steps: int = 12
) -> list[Record]:
    """`n` prompts of all tasks in turn, of 2 to `most_steps` steps, that share no name or record
    with the training split, nor, in `natural` wording, any wording."""
    tasks = TASKS if wording == "plain" else NATURAL_TASKS
    every = [2 + 5 * i % 11 for i in range(11)]  # short and long in turn
    levels = [level for level in every if level <= most_steps]
    turns = [divmod(i, len(tasks)) for i in range(n)]
    return [
        make_record(tasks[task], seed, i, levels[turn % len(levels)], "heldout", wording)
        for i, (turn, task) in enumerate(turns)
    ]


def decode(
    engine: Engine, records: Sequence[Record], mode: str, **options: Any
) -> tuple[list[Answer], float]:
    """Answers in order, and the seconds that the batch took; `options`: of SamplingParams."""
    options = {"max_new_tokens": 1024, "mode": mode} | options
    params = SamplingParams(**options)
    began = time.monotonic()
    print(f"decoding {len(records)} prompts, {mode} …", file=sys.stderr, flush=True)
    generations = engine.generate([r.messages for r in records], params)
    answers = [Answer(r, g) for r, g in zip(records, generations, strict=True)]
    return answers, time.monotonic() - began


def summary(answers: Sequence[Answer], seconds: float) -> dict[str, Any]:
    """Accuracy, mean passes and seconds of one mode."""
    return {
        "accuracy": share(a.right for a in answers),
        "passes": sum(a.passes for a in answers) / len(answers),
        "seconds": round(seconds, 2),
    }


def forking(answers: Sequence[Answer]) -> dict[str, Any]:
    """How well the format is kept, and whether the right prompts fork; 0 where there are none."""
    return {"fork_rate": 0.0, "no_fork_rate": 0.0} | measure_rates(answers)


def ratios(
    linear: Sequence[Answer],
    parallel: Sequence[Answer],
    engine: Engine,
    least: int = 2,
    ideal_passes: Callable[[Record, Engine], tuple[int, int]] | None = None,
) -> dict[str, float]:
    """Passes of linear over parallel decoding on prompts that parallelise and have `least` steps,
    the same of their reference traces by `ideal_passes` (default: `reference_passes`), and the
    quotient of the two."""
    pairs = [
        (a, b)
        for a, b in zip(linear, parallel, strict=True)
        if a.to_fork and a.record.meta["steps"] >= least
    ]
    ideals = [(ideal_passes or reference_passes)(a.record, engine) for a, _ in pairs]
    found = sum(a.passes for a, _ in pairs) / sum(b.passes for _, b in pairs)
    ideal = sum(x for x, _ in ideals) / sum(y for _, y in ideals)
    return {"passes_ratio": found, "ideal_ratio": ideal, "efficiency": found / ideal}


def reference_passes(record: Record, engine: Engine) -> tuple[int, int]:
    """Passes of a record's own linear trace, and of its branch-tagged form."""
    linear = make_trace(record.completion)
    tree = rewrite(record.completion, record.messages[-1]["content"]).trace
    return critical_path(linear, engine.codec), critical_path(tree, engine.codec)


def marked_passes(record: Record, engine: Engine) -> tuple[int, int]:
    """Passes of a reference trace that marks its steps (`dialect="paper"`): in one line, and with
    titles first, then all bodies side by side, then the rest."""
    tree = rewrite(record.completion, record.messages[-1]["content"]).trace
    (fork,) = tree.forks()
    lead, tail = plain_text(tree).split(plain_text(make_trace(fork)))
    bodies = [
        # a marked step does not say its title again, see pdata.synthetic.marked_answers
        " " + plain_text(branch).removeprefix(title).lstrip(":. ")
        for title, branch in zip(fork.topics, fork.branches, strict=True)
    ]

    def count(*texts: str) -> int:
        return sum(len(engine.codec.encode(text)) for text in texts)

    titles = [f"{title}:" for title in fork.topics]
    # the text's end takes a pass, and its first token, which the prefill draws, none
    around = count(lead, MARK, CLOSE, f"\n{tail.lstrip()}")
    steps = [count(body, GAP, MARK) for body in bodies]
    return around + count(*titles) + sum(steps), around + count(*titles) + max(steps)


def slower(linear: Sequence[Answer], parallel: Sequence[Answer]) -> float:
    """Share of prompts that took more passes in parallel mode."""
    return share(b.passes > a.passes for a, b in zip(linear, parallel, strict=True))


def share(flags: Any) -> float:
    """Mean of booleans."""
    values = list(flags)
    return sum(values) / max(1, len(values))
