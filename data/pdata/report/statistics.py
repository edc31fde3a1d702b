"""`pdata stats`: how much of a file is forked, how wide, and how many passes that could save.

Counts words, not tokens: a model's tokenizer is not known here. Memory does not grow with a file.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from pbranch.errors import DataError
from pbranch.format.trace_record import parse_completion
from pbranch.format.tree import Segment, Trace, plain_text
from pbranch.format.words import count_words
from pdata.record import Record, read_records

ALL = "all"


@dataclass(frozen=True, slots=True)
class Size:
    """Words of one trace. serial: with outlines and headers; critical: the longest path."""

    linear: int
    serial: int
    critical: int
    widths: tuple[int, ...]
    branches: tuple[int, ...]

    @property
    def ideal_ratio(self) -> float:
        """(s + sum of branch lengths) / (s + longest branch of each block)."""
        return self.serial / max(self.critical, 1)


def measure(trace: Trace) -> Size:
    """The size of a trace; a branch counts with its header."""
    serial = critical = 0
    widths: list[int] = []
    lengths: list[int] = []
    for part in trace.parts:
        if isinstance(part, Segment):
            words = count_words(part.text)
            serial += words
            critical += words
            continue
        outline = sum(count_words(topic) for topic in part.topics)
        inner = [measure(branch) for branch in part.branches]
        serial += outline + sum(size.serial for size in inner)
        critical += outline + max(size.critical for size in inner)
        widths.append(len(part.branches))
        lengths += [size.linear for size in inner]
        for size in inner:
            widths += size.widths
            lengths += size.branches
    return Size(count_words(plain_text(trace)), serial, critical, tuple(widths), tuple(lengths))


@dataclass(slots=True)
class Tally:
    """Counts of many traces; the sums of ratios are over the forked ones, each counting alike."""

    records: int = 0
    forked: int = 0
    words: int = 0
    ideal: float = 0.0
    linear: float = 0.0  # linear words against the longest path: what is really saved
    widths: Counter[int] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)  # words of a branch
    ratios: Counter[int] = field(default_factory=Counter)  # ideal ratio in hundredths, cut
    answers: Counter[bool | None] = field(default_factory=Counter)

    def add(self, size: Size, answer_ok: bool | None) -> None:
        self.records += 1
        self.words += size.linear
        self.answers[answer_ok] += 1
        if not size.widths:
            return
        self.forked += 1
        self.ideal += size.ideal_ratio
        self.linear += size.linear / max(size.critical, 1)
        self.widths.update(size.widths)
        self.lengths.update(size.branches)
        self.ratios[100 * size.serial // max(size.critical, 1)] += 1

    def as_dict(self) -> dict[str, Any]:
        blocks, known = self.widths.total(), self.answers[True] + self.answers[False]
        return {
            "records": self.records,
            "forked": self.forked,
            "forked_share": _ratio(self.forked, self.records),
            "blocks": blocks,
            "branches_mean": _ratio(self.lengths.total(), blocks),
            "branches_max": max(self.widths, default=None),
            "branch_words_median": find_median(self.lengths),
            "words_mean": _ratio(self.words, self.records),
            "ideal_ratio": _ratio(self.ideal, self.forked),
            "linear_ratio": _ratio(self.linear, self.forked),
            "answer_ok_share": _ratio(self.answers[True], known),
        }


def read_traces(path: str | Path) -> Iterator[tuple[Record, Trace]]:
    """Records and their trees. Raises DataError at the first line that is none."""
    for number, record in read_records(path):
        if isinstance(record, DataError):
            raise record
        try:
            yield record, parse_completion(record.completion, record.meta)
        except DataError as e:
            raise DataError(f"{path}:{number}: {e}") from e


def collect_stats(path: str | Path) -> dict[str, dict[str, Any]]:
    """Figures of all records, and by `meta.task` where there is one. Raises DataError."""
    groups: dict[str, Tally] = defaultdict(Tally)
    for record, trace in read_traces(path):
        add_trace(groups, record, measure(trace))
    return summarise(groups)


def add_trace(groups: dict[str, Tally], record: Record, size: Size) -> None:
    """Count a trace under `ALL` and under its task; `groups` makes what is missing."""
    groups[ALL].add(size, record.answer_ok)
    task = record.meta.get("task")
    if isinstance(task, str) and task not in ("", ALL):
        groups[task].add(size, record.answer_ok)


def summarise(groups: dict[str, Tally]) -> dict[str, dict[str, Any]]:
    """Figures by group, `ALL` first."""
    return {name: groups[name].as_dict() for name in (ALL, *sorted(set(groups) - {ALL}))}


def value_at(counts: Counter[int], rank: int) -> int:
    """The number at `rank`, from 1, of counted numbers in order."""
    values = sorted(counts)
    return values[bisect_left(list(accumulate(counts[v] for v in values)), rank)]


def find_median(counts: Counter[int]) -> float | None:
    """The median of counted numbers; the mean of the middle two where these differ."""
    if not (n := counts.total()):
        return None
    low, high = value_at(counts, (n + 1) // 2), value_at(counts, n // 2 + 1)
    return low if low == high else (low + high) / 2


def _ratio(part: float, whole: int) -> float | None:
    return round(part / whole, 3) if whole else None
