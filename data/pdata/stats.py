"""`pdata stats`: how much of a file is forked, how wide, and how many passes that could save.

Counts words, not tokens: a model's tokenizer is not known here.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from pbranch.errors import DataError, FormatError
from pbranch.text import parse
from pbranch.tree import Segment, Trace, plain_text
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
            serial += len(part.text.split())
            critical += len(part.text.split())
            continue
        outline = sum(len(topic.split()) for topic in part.topics)
        inner = [measure(branch) for branch in part.branches]
        serial += outline + sum(size.serial for size in inner)
        critical += outline + max(size.critical for size in inner)
        widths.append(len(part.branches))
        lengths += [size.linear for size in inner]
        for size in inner:
            widths += size.widths
            lengths += size.branches
    return Size(len(plain_text(trace).split()), serial, critical, tuple(widths), tuple(lengths))


def collect_stats(path: str | Path) -> dict[str, dict[str, Any]]:
    """Figures of all records, and by `meta.task` where there is one. Raises DataError."""
    groups: dict[str, list[tuple[Size, bool | None]]] = defaultdict(list)
    for number, record in read_records(path):
        if isinstance(record, DataError):
            raise record
        try:
            trace = parse(record.completion, record.meta.get("separators"))
        except (FormatError, TypeError) as e:
            raise DataError(f"{path}:{number}: completion: {e}") from e
        item = measure(trace), record.answer_ok
        groups[ALL].append(item)
        if task := _task(record):
            groups[task].append(item)
    return {name: _summarise(groups[name]) for name in (ALL, *sorted(set(groups) - {ALL}))}


def _task(record: Record) -> str:
    task = record.meta.get("task")
    return task if isinstance(task, str) and task != ALL else ""


def _summarise(items: list[tuple[Size, bool | None]]) -> dict[str, Any]:
    forked = [size for size, _ in items if size.widths]
    widths = [w for size in forked for w in size.widths]
    lengths = [n for size in forked for n in size.branches]
    known = [ok for _, ok in items if ok is not None]
    return {
        "records": len(items),
        "forked": len(forked),
        "forked_share": _round(len(forked) / len(items)) if items else None,
        "blocks": len(widths),
        "branches_mean": _round(fmean(widths)) if widths else None,
        "branches_max": max(widths, default=None),
        "branch_words_median": median(lengths) if lengths else None,
        "words_mean": _round(fmean(size.linear for size, _ in items)) if items else None,
        # of the forked traces: each counts alike
        "ideal_ratio": _round(fmean(size.ideal_ratio for size in forked)) if forked else None,
        # linear words against the longest path, outlines included: what is really saved
        "linear_ratio": _round(fmean(s.linear / max(s.critical, 1) for s in forked))
        if forked
        else None,
        "answer_ok_share": _round(sum(known) / len(known)) if known else None,
    }


def _round(value: float) -> float:
    return round(value, 3)
