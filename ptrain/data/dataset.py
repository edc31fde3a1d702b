"""Trace files -> layouts in the forms of a run, with the same prompt ids that decoding feeds.

A line that cannot be used is set aside with its file, line and reason, and counted; the run goes
on. Knows the keys of a trace record that training needs, and no tensors.
"""

import glob
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pbranch.errors import BranchError, DataError
from pbranch.files.jsonl import read_lines
from pbranch.format.branch_config import Form, SwitchOptions
from pbranch.format.layout import Kind, Layout, LayoutOptions, build_layout
from pbranch.format.markers import MarkerIds
from pbranch.format.tagged_text import parse
from pbranch.format.tree import Trace, make_trace, plain_text
from pbranch.hf.prompt import Message, render_prompt, turn_end_id
from pbranch.hf.segment_codec import SegmentCodec
from ptrain.config import Recipe

log = logging.getLogger(__name__)
WARNINGS_SHOWN = 10  # of lines set aside; the rest are only counted


@dataclass(frozen=True, slots=True)
class Example:
    """A trace in the forms that a run trains. `length` is that of its parallel form in any run, so
    that runs of all forms have the same sequences in the same order; the linear form is shorter,
    but for a longer switch."""

    length: int
    parallel: Layout | None
    linear: Layout | None = None
    messages: Sequence[Message] = ()

    def __len__(self) -> int:
        return self.length

    def layout(self, linear: bool = False) -> Layout:
        """In the form asked for, where both are there."""
        found = self.linear if linear or self.parallel is None else self.parallel
        assert found is not None, "a form that the run does not train"
        return found


@dataclass(slots=True)
class Traces:
    """Examples, a key an example that tells prompts apart, and what was left out, by reason."""

    examples: list[Example] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


class Encoder:
    """Record -> layout, for one tokenizer and one way to lay out; `switch`: see BranchConfig."""

    def __init__(
        self,
        tokenizer: Any,
        markers: MarkerIds,
        options: LayoutOptions,
        switch: SwitchOptions | None = None,
    ) -> None:
        self.tokenizer, self.markers, self.options = tokenizer, markers, options
        self.switch = switch or SwitchOptions()
        self.codec = SegmentCodec(tokenizer)
        self.end_id = turn_end_id(tokenizer)

    def __call__(self, record: dict[str, Any], form: Form = "parallel") -> Layout:
        """`linear` flattens every block: plain text, tokenised in one run as decoding without a
        fork gives it. Raises BranchError (of any kind) on a record that cannot be laid out."""
        switch = self.switch.text(form)
        prompt = render_prompt(record["messages"], self.tokenizer, switch=switch)
        trace = parse(record["completion"], (record.get("meta") or {}).get("separators"))
        if form == "parallel":
            return self._lay_out(prompt, trace)
        flat = self._lay_out(prompt, make_trace(plain_text(trace)))
        return replace(flat, kinds=[k and Kind.LINEAR for k in flat.kinds])

    def _lay_out(self, prompt: list[int], trace: Trace) -> Layout:
        return build_layout(prompt, trace, self.codec, self.markers, self.end_id, self.options)


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
    form: Literal["parallel", "linear", "mixed"] = "parallel",
) -> Traces:
    """Examples of all files that `patterns` name; see `find_files` for `home`. `max_length` holds
    for the parallel form, so that every form trains the same traces.

    Raises DataError where nothing remains, with the first reason.
    """
    traces, first = Traces(), ""
    for path in find_files(patterns, home):
        for line in read_lines(path):
            try:
                record = _check_record(line.parse())
                if record.get("answer_ok") is False and not keep_wrong:
                    traces.left_out["wrong answer"] += 1
                    continue
                layout = encode(record)
                flat = None if form == "parallel" else encode(record, "linear")
            except BranchError as e:
                traces.left_out["broken"] += 1
                first = first or f"{line.origin}: {e}"
                if traces.left_out["broken"] <= WARNINGS_SHOWN:
                    log.warning("%s: set aside: %s", line.origin, e)
                continue
            if len(layout) > max_length:
                traces.left_out[f"longer than {max_length} tokens"] += 1
                continue
            branched = None if form == "linear" else layout
            traces.examples.append(Example(len(layout), branched, flat, record["messages"]))
            traces.keys.append(json.dumps(record["messages"], sort_keys=True))
    if not traces.examples:
        because = f"; {first}" if first else ""
        raise DataError(f"{patterns}: no trace to train on, {count(traces.left_out)}{because}")
    return traces


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
    """Training examples, held-out ones, and what was left out of both, by reason."""

    train: list[Example]
    held_out: list[Example]
    left_out: Counter[str]


def load_split(recipe: Recipe, encode: Encoder, home: Path | None) -> Split:
    """The data of a run; `home`: see `find_files`. Raises DataError where there is none."""

    def read(patterns: Sequence[str] | str) -> Traces:
        longest, wrong = recipe.train.max_length, recipe.data_keep_wrong
        return read_traces(patterns, encode, longest, wrong, home, recipe.form)

    traces = read(recipe.data)
    if not recipe.eval_data:
        return Split(*hold_out(traces, recipe.eval_share, recipe.seed), traces.left_out)
    held_out = read(recipe.eval_data)
    return Split(traces.examples, held_out.examples, traces.left_out + held_out.left_out)


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


def _check_record(record: dict[str, Any]) -> dict[str, Any]:
    for key, kind in (("messages", list), ("completion", str)):
        if not isinstance(record.get(key), kind):
            raise DataError(f"expected {key!r} as {kind.__name__}, found {record.get(key)!r:.60}")
    if not all(isinstance(m, dict) for m in record["messages"]) or not record["messages"]:
        raise DataError("expected 'messages' as a list of objects with role and content")
    if not isinstance(record.get("meta") or {}, dict):
        raise DataError(f"expected 'meta' as an object, found {record['meta']!r:.60}")
    return record
