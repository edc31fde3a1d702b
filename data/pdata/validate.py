"""`pdata check`: every record of a file against the schema and the branch format.

Yields what is wrong, one line a problem, with file and line. Repairs nothing.
"""

from collections.abc import Iterator
from pathlib import Path

from pbranch.errors import DataError, FormatError
from pbranch.format.tagged_text import parse
from pbranch.format.tree import Fork
from pdata.record import Record, read_records


def find_problems(path: str | Path) -> Iterator[str]:
    """Problems as `FILE:line: reason`. Raises DataError when the file cannot be read."""
    ids: dict[str, int] = {}
    number = 0
    for number, record in read_records(path):
        where = f"{path}:{number}"
        if isinstance(record, DataError):
            yield str(record)
            continue
        yield from (f"{where}: {reason}" for reason in check_record(record))
        if record.id in ids:
            yield f"{where}: id {record.id!r} stands in line {ids[record.id]} already"
        ids.setdefault(record.id, number)
    if not number:
        yield f"{path}:1: no record in this file"


def check_record(record: Record) -> Iterator[str]:
    """What is wrong with one record beyond its keys."""
    if not record.completion.strip():
        yield "the completion is empty"
    separators = record.meta.get("separators")
    if separators is not None and not (
        isinstance(separators, list) and all(isinstance(s, str) for s in separators)
    ):
        yield f"meta.separators: expected a list of texts, found {separators!r:.40}"
        return
    try:
        trace = parse(record.completion, separators)
    except FormatError as e:
        yield f"completion: {e}"
        return
    forks = list(trace.all_forks())
    form = record.meta.get("form")
    if form is not None and form != ("branches" if forks else "linear"):
        yield f"meta.form is {form!r}, the completion has {len(forks)} blocks"
    for i, fork in enumerate(forks, 1):
        yield from (f"block {i}: {reason}" for reason in _check_fork(fork))


def _check_fork(fork: Fork) -> Iterator[str]:
    if len(fork.topics) < 2:
        yield "one branch; expected at least two"
    if len({" ".join(t.lower().split()) for t in fork.topics}) < len(fork.topics):
        yield f"equal topics among {', '.join(map(repr, fork.topics))}"
    for n, (topic, branch) in enumerate(zip(fork.topics, fork.branches, strict=True), 1):
        if not topic.strip():
            yield f"branch {n} has an empty topic"
        elif not branch.lead[len(topic) :].strip() and len(branch.parts) < 2:
            yield f"branch {n} ({topic!r}) has an empty body"
