"""Trace files -> layouts in the forms of a run: read, checked, counted, split.

A line that cannot be used is set aside with its file, line and reason, and counted; the run goes
on. What `pdata check` refuses is such a line. Knows no tensors.
"""

import glob
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pbranch.errors import BranchError, DataError
from pbranch.files.jsonl import JsonLine, read_lines
from pbranch.format.layout import Kind, Layout
from pbranch.format.markers import MarkerIds
from pbranch.format.trace_record import UniqueIds, check_keys
from pbranch.hf.chat_template import Message
from ptrain.config import Recipe
from ptrain.data.completion import ThinkError
from ptrain.data.encoder import Encoder

log = logging.getLogger(__name__)
RunForm = Literal["parallel", "linear", "mixed"]
WARNINGS_SHOWN = 10  # of lines set aside; the rest are only counted


@dataclass(frozen=True, slots=True)
class Example:
    """A trace in the forms that a run trains. `length` is that of its parallel form in any run, so
    that runs of all forms have the same sequences in the same order; the linear form is shorter,
    but for a longer switch. `forked`: whether the trace forks, whatever is trained of it."""

    length: int
    parallel: Layout | None
    linear: Layout | None = None
    messages: Sequence[Message] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    forked: bool = False

    def __len__(self) -> int:
        return self.length

    @property
    def prompt(self) -> Any:
        """As decoding takes it: messages, or an object with `messages` and `tools`."""
        return {"messages": self.messages, "tools": self.tools} if self.tools else self.messages

    def layout(self, linear: bool = False) -> Layout:
        """In the form asked for, where both are there."""
        found = self.linear if linear or self.parallel is None else self.parallel
        assert found is not None, "a form that the run does not train"
        return found


@dataclass(slots=True)
class Traces:
    """Examples, a key an example that tells prompts apart, what was left out, by reason, and what
    was noted of the examples, by note."""

    examples: list[Example] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)


def mean_branch_tokens(examples: Sequence[Example], markers: MarkerIds) -> float | None:
    """Mean number of tokens that a branch has to draw, its end among them; None without any."""
    layouts = [x.parallel for x in examples if x.parallel is not None]
    branches = sum(layout.token_ids.count(markers.end) for layout in layouts)
    drawn = sum(layout.kinds.count(Kind.BODY) for layout in layouts)
    return round(drawn / branches, 2) if branches else None


def read_traces(
    patterns: Sequence[str] | str,
    encode: Encoder,
    max_length: int,
    keep_wrong: bool = False,
    home: Path | None = None,
    form: RunForm = "parallel",
    context: int | None = None,
) -> Traces:
    """Examples of all files that `patterns` name; see `find_files` for `home`. `max_length` holds
    for the tokens of the parallel form, so that every form trains the same traces; `context`, the
    positions that the base has, for each form that is trained.

    Raises DataError where nothing remains, with the first reason.
    """
    traces, first = Traces(), ""
    for path in find_files(patterns, home):
        ids = UniqueIds()
        for line in read_lines(path):
            try:
                record = _read_record(line, ids)
                if record["answer_ok"] is False and not keep_wrong:
                    traces.left_out["wrong answer"] += 1
                    continue
                example, notes = _make_example(record, encode, form)
            except BranchError as e:
                reason, shown = "broken", WARNINGS_SHOWN
                if isinstance(e, ThinkError):  # of the data and the template, not of the line
                    reason, shown = e.reason, 1
                traces.left_out[reason] += 1
                first = first or f"{line.origin}: {e}"
                if traces.left_out[reason] <= shown:
                    log.warning("%s: set aside: %s", line.origin, e)
                continue
            if excess := _find_excess(example, max_length, context):
                traces.left_out[excess] += 1
                continue
            traces.notes.update(notes)
            traces.examples.append(example)
            traces.keys.append(json.dumps(example.prompt, sort_keys=True))
    if not traces.examples:
        because = f"; {first}" if first else ""
        raise DataError(f"{patterns}: no trace to train on, {count(traces.left_out)}{because}")
    return traces


def _read_record(line: JsonLine, ids: UniqueIds) -> dict[str, Any]:
    """The record of a line that `pdata check` lets pass, but for its completion."""
    record = line.parse()
    check_keys(record)
    ids.check(record["id"], line.number)
    return record


def _make_example(
    record: dict[str, Any], encode: Encoder, form: RunForm
) -> tuple[Example, tuple[str, ...]]:
    """A record in the forms of the run, and what was noted of it."""
    layout, notes = encode.encode(record)
    flat = None if form == "parallel" else encode(record, "linear")
    branched = None if form == "linear" else layout
    messages, tools = record["messages"], record.get("tools", ())
    return Example(len(layout), branched, flat, messages, tools, bool(layout.hidden)), notes


def _find_excess(example: Example, max_length: int, context: int | None) -> str | None:
    """Why a trace is too long, if it is: tokens count for the rows, positions for the context."""
    if len(example) > max_length:
        return f"longer than {max_length} tokens"
    layouts = [x for x in (example.parallel, example.linear) if x is not None]
    if context is not None and max(max(x.position_ids) for x in layouts) >= context:
        return f"beyond the base's context of {context} positions"
    return None


def count(left_out: Counter[str]) -> str:
    """`3 left out (2 broken, 1 wrong answer)`."""
    reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.items())
    return f"{left_out.total()} left out" + (f" ({reasons})" if reasons else "")


def find_files(patterns: Sequence[str] | str, home: Path | None = None) -> list[Path]:
    """Files that `patterns` name from the current folder, else from `home`; sorted, each once.

    Raises DataError naming the first pattern that matches nothing.
    """
    found: dict[Path, None] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        names = sorted(glob.glob(pattern, recursive=True))
        if not names and home is not None:
            names = sorted(glob.glob(str(home / pattern), recursive=True))
        if not names:
            raise DataError(f"data {pattern}: no such file here ({Path.cwd()}) or in {home}")
        found |= dict.fromkeys(map(Path, names))
    return list(found)


@dataclass(frozen=True, slots=True)
class Split:
    """Training examples, held-out ones, what was left out of both, by reason, and what was noted,
    by note."""

    train: list[Example]
    held_out: list[Example]
    left_out: Counter[str]
    notes: Counter[str] = field(default_factory=Counter)

    def describe(self) -> Iterator[str]:
        """What a user has to know before a run, a line each."""
        traces = [*self.train, *self.held_out]
        yield f"{len(self.train)} traces, {len(self.held_out)} held out, {count(self.left_out)}"
        forked = sum(x.forked for x in traces)
        yield f"{forked} of {len(traces)} traces fork"
        if any(x.parallel for x in self.train) and not any(x.forked for x in self.train):
            yield (
                "warning: no trace forks, so the model cannot learn to; `pdata stats` says why "
                "traces stayed linear"
            )
        yield from (f"{n} of {len(traces)}: {note}" for note, n in self.notes.items())


def load_split(
    recipe: Recipe, encode: Encoder, home: Path | None, context: int | None = None
) -> Split:
    """The data of a run; `home`: see `find_files`, `context`: see `read_traces`. Raises DataError
    where there is none."""

    def read(patterns: Sequence[str] | str) -> Traces:
        longest, wrong = recipe.train.max_length, recipe.data_keep_wrong
        return read_traces(patterns, encode, longest, wrong, home, recipe.form, context)

    traces = read(recipe.data)
    if not recipe.eval_data:
        train, held_out = hold_out(traces, recipe.eval_share, recipe.seed)
        return Split(train, held_out, traces.left_out, traces.notes)
    other = read(recipe.eval_data)
    left_out, notes = traces.left_out + other.left_out, traces.notes + other.notes
    return Split(traces.examples, other.examples, left_out, notes)


def hold_out(traces: Traces, share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Training and held-out examples. Which prompts are held out depends on them and `seed` alone;
    traces of one prompt stay together, and at least one remains for training.
    """
    if not share:
        return traces.examples, []
    ranks = [hashlib.sha256(f"{seed} {key}".encode()).digest() for key in traces.keys]
    order = sorted(set(ranks))
    count = min(max(1, round(share * len(order))), len(order) - 1)
    out = set(order[:count])
    train = [x for x, rank in zip(traces.examples, ranks, strict=True) if rank not in out]
    return train, [x for x, rank in zip(traces.examples, ranks, strict=True) if rank in out]
