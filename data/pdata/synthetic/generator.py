"""Writes linear traces of the synthetic tasks: endless, seeded, the same for any worker count.

A base model is trained on mixtures: traces of all tasks, single steps asked for on their own,
traces in a stated order, conclusions from given steps, lists of labels, and exercises. `mix` is for
the beginning: a quarter copies, and its sums leave much to chance; `recall` has more traces, and
such as mark their steps because the prompt asks for it. Plain wording is for such a base.
"""

import random
import sys
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from pbranch.console import rich_console
from pbranch.errors import DataError, did_you_mean
from pdata.record import Record, dump_line, open_writer
from pdata.synthetic.drills import drill_copies, drill_sums
from pdata.synthetic.marked_answers import INSTRUCTIONS, count_begun, write_marked, write_outline
from pdata.synthetic.natural.tasks import NATURAL_TASKS, draw_level
from pdata.synthetic.problem import Problem
from pdata.synthetic.tasks import LEVELS, TASKS
from pdata.synthetic.wording import SPLITS
from pdata.worker_processes import map_in_processes

# mixtures, by name; kind of record: weight
MIXES = {
    "mix": {
        "trace": 37,
        "single": 15,
        "ordered": 4,
        "given": 4,
        "sums": 15,
        "copies": 25,
        "labels": 4,
    },
    "recall": {
        "trace": 45,
        "single": 16,
        "ordered": 5,
        "given": 22,
        "labels": 8,
        "listed": 2,
        "copies": 2,
        "marked": 12,
        "outline": 5,
        "late": 20,
    },
}
SINGLES = (
    "Check only {t}.",
    "Do just {t} and nothing else.",
    "Only write the line for {t}.",
)
ORDERED = ("Go through them in this order: {l}.", "Take them in this order: {l}.")
GIVEN = (
    "This is what was found:\n{l}\nGive only the conclusion.",
    "The steps are done:\n{l}\nWhat follows? Write just the last line.",
)
LABELS = ("List them in order.", "Only name them.", "Name each one and nothing else.")
BREAKS = ("\n", "\n\n")  # before what asks for marks
WORDINGS = ("plain", "natural", "easy")  # easy: natural, to begin a curriculum with
CHUNK = 500  # records a worker makes at a time


def make_record(
    task: str, seed: int, index: int, level: int | None, split: str, wording: str = "plain"
) -> Record:
    """Record `index` of a run: a pure function of its arguments. `level` None draws 2 to 12.

    Raises DataError on an unknown task, split, level or wording.
    """
    _check(task, level, split, wording)
    if wording != "plain":
        return _make_natural(task, seed, index, level, split, wording)
    rng = random.Random(f"{task}/{seed}/{index}/{level}/{split}")
    kind, name = "trace", task
    if task in MIXES:
        kinds = MIXES[task]
        kind, name = rng.choices(tuple(kinds), tuple(kinds.values()))[0], rng.choice(tuple(TASKS))
        if name == "chain" and kind in ("ordered", "labels"):  # its steps have one order
            kind = "trace"
        if name == "chain" and kind in ("outline", "late"):
            kind = "marked"
    steps = level if level is not None else rng.choice(LEVELS)
    record_id = f"{task}-s{seed}-{index:06d}"
    if kind in ("sums", "listed", "copies"):
        return _drill(rng, record_id, task, kind, steps, split)
    problem = TASKS[name](rng, steps, split, "shuffled" if kind == "ordered" else "listed")
    prompt, completion, topics = _ask(rng, problem, kind)
    concludes = kind not in ("single", "labels", "outline")
    meta = {
        "task": name,
        "steps": steps,
        "level": steps,
        "split": split,
        "topics": topics,
        "question": problem.question,
        "kind": kind,
    }
    if kind in ("outline", "late"):  # nothing in the prompt asks for either
        meta["begun"] = count_begun(completion)
    return Record(
        id=record_id,
        messages=({"role": "user", "content": prompt},),
        completion=completion,
        answer=problem.answer if concludes else None,
        answer_ok=True if concludes else None,
        source=f"synth:{task}",
        meta=meta,
    )


def _make_natural(
    task: str, seed: int, index: int, level: int | None, split: str, wording: str
) -> Record:
    easy = wording == "easy"
    rng = random.Random(f"{wording}/{task}/{seed}/{index}/{level}/{split}")
    steps = level if level is not None else draw_level(rng, easy)
    problem = NATURAL_TASKS[task](rng, steps, split, easy)
    meta = {
        "task": task,
        "wording": wording,
        "steps": steps,
        "level": steps,
        "split": split,
        "topics": problem.topics,
        "question": problem.question,
        "kind": "trace",
    }
    return Record(
        id=f"{task}-{wording}-s{seed}-{index:06d}",
        messages=({"role": "user", "content": problem.prompt},),
        completion=problem.completion,
        answer=problem.answer,
        answer_ok=True,
        source=f"synth:{task}-{wording}",
        meta=meta,
    )


def _drill(
    rng: random.Random, record_id: str, task: str, kind: str, level: int, split: str
) -> Record:
    n = level if kind == "copies" else 2 * level + rng.randint(2, 5)
    if kind == "copies":
        prompt, completion = drill_copies(rng, n, split)
    else:
        prompt, completion = drill_sums(rng, n, kind == "listed")
    return Record(
        record_id,
        ({"role": "user", "content": prompt},),
        completion,
        source=f"synth:{task}",
        meta={"task": kind, "steps": n, "level": level, "kind": kind},
    )


def _ask(rng: random.Random, problem: Problem, kind: str) -> tuple[str, str, list[str]]:
    """The prompt and completion of one kind of record, and the topics the completion has."""
    if kind == "single":
        # the one that the answer names is rare among them, and the only one of its kind
        named = [step for step in problem.steps if step.topic == problem.answer]
        step = rng.choice(named if named and rng.random() < 0.4 else problem.steps)
        request = rng.choice(SINGLES).format(t=step.topic)
        if step.given:
            request = f"Start from {step.given} and do only {step.topic}."
        return f"{problem.prompt}\n{request}", step.text, [step.topic]
    if kind == "ordered":
        request = rng.choice(ORDERED).format(l=", ".join(problem.topics))
        return f"{problem.prompt}\n{request}", problem.completion, problem.topics
    if kind == "labels":  # where a list ends is seen at its last label, before a line would tell
        lead = f"{problem.lead}\n" if problem.lead else ""
        labels = rng.choice(("; ", ", ")).join(problem.topics)
        return f"{problem.prompt}\n{rng.choice(LABELS)}", f"{lead}{labels}.", problem.topics
    if kind == "given":
        lines = "\n".join(step.text for step in problem.steps)
        return f"{problem.prompt}\n{rng.choice(GIVEN).format(l=lines)}", problem.tail, []
    if kind in ("marked", "outline", "late"):
        return _ask_for_marks(rng, problem, kind)
    return problem.prompt, problem.completion, problem.topics


def _ask_for_marks(rng: random.Random, problem: Problem, kind: str) -> tuple[str, str, list[str]]:
    """As `_ask`, where the steps are to be marked: all of them, their titles alone, or those from
    some step on, up to which the conclusion needs none."""
    prompt = f"{problem.prompt}{rng.choice(BREAKS)}{rng.choice(INSTRUCTIONS)}"
    topics, start = problem.topics, 0
    if kind == "outline":
        return prompt, write_outline(problem), topics
    if kind == "late" and problem.answer in topics[1:]:
        start = rng.randint(1, topics.index(problem.answer))
    return prompt, write_marked(problem, start), topics[start:]


def _check(task: str, level: int | None, split: str, wording: str) -> None:
    if wording not in WORDINGS:
        hint = did_you_mean(wording, WORDINGS)
        raise DataError(f"unknown wording {wording!r}; wordings: {', '.join(WORDINGS)}{hint}")
    names = (*TASKS, *MIXES) if wording == "plain" else tuple(NATURAL_TASKS)
    if task not in names:
        hint = did_you_mean(task, names)
        raise DataError(f"unknown task {task!r}; {wording} tasks: {', '.join(names)}{hint}")
    if level is not None and level not in LEVELS:
        raise DataError(f"level {level}: expected {LEVELS[0]} to {LEVELS[-1]} steps")
    if split not in SPLITS:
        raise DataError(f"unknown split {split!r}; splits: {', '.join(SPLITS)}")


def synthesise(
    task: str,
    n: int,
    seed: int,
    out: str | Path,
    level: int | None = None,
    split: str = "train",
    workers: int = 1,
    wording: str = "plain",
) -> None:
    """Write `n` records to `out` (JSON lines; gzip when it ends in .gz; `-` is stdout)."""
    _check(task, level, split, wording)
    if n < 0 or workers < 1:
        raise DataError(f"n {n}, workers {workers}: expected n >= 0 and workers >= 1")
    from rich.progress import Progress

    jobs = [
        (task, seed, range(start, min(start + CHUNK, n)), level, split, wording)
        for start in range(0, n, CHUNK)
    ]
    with (
        open_writer(out) as file,
        Progress(console=rich_console(sys.stderr)) as progress,
        closing(_run(jobs, workers)) as texts,
    ):
        bar = progress.add_task(f"{task} ({split})", total=n)
        for job, text in zip(jobs, texts, strict=True):
            file.write(text)
            progress.advance(bar, len(job[2]))


Job = tuple[str, int, range, int | None, str, str]


def _run(jobs: list[Job], workers: int) -> Generator[str, None, None]:
    if workers == 1 or len(jobs) <= 1:
        yield from map(_make_lines, jobs)
        return
    for _, text in map_in_processes(_make_lines, jobs, min(workers, len(jobs))):
        yield text


def _make_lines(job: Job) -> str:
    task, seed, indices, level, split, wording = job
    return "".join(dump_line(make_record(task, seed, i, level, split, wording)) for i in indices)
