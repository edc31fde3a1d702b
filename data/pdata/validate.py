"""`pdata check`: every record of a file against the schema and the branch format.

Yields what is wrong, one line a problem, with file and line. Repairs nothing.
"""

from collections.abc import Iterator
from pathlib import Path

from pbranch.errors import DataError
from pbranch.format.trace_record import UniqueIds, find_flaws
from pdata.record import Record, read_records


def find_problems(path: str | Path) -> Iterator[str]:
    """Problems as `FILE:line: reason`. Raises DataError when the file cannot be read."""
    ids, number = UniqueIds(), 0
    for number, record in read_records(path):
        where = f"{path}:{number}"
        if isinstance(record, DataError):
            yield str(record)
            continue
        yield from (f"{where}: {reason}" for reason in check_record(record))
        try:
            ids.check(record.id, number)
        except DataError as e:
            yield f"{where}: {e}"
    if not number:
        yield f"{path}:1: no record in this file"


def check_record(record: Record) -> Iterator[str]:
    """What is wrong with one record beyond its keys."""
    yield from find_flaws(record.completion, record.meta)
