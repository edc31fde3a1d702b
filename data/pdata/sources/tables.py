"""Rows of tables of text: CSV, TSV, and their kin, a JSON object a row. Knows no files."""

import csv
import io
import json
from collections.abc import Iterator
from functools import partial

from pbranch.errors import DataError
from pbranch.files.jsonl import LONGEST

DELIMITERS = ",\t;|"


def read_header(head: str) -> tuple[list[str], str]:
    """(the names of the columns, the delimiter): the one that cuts the first line most often."""
    first = head.lstrip("\ufeff").partition("\n")[0].strip("\r")
    delimiter = max(DELIMITERS, key=first.count)
    return next(csv.reader([first], delimiter=delimiter), []), delimiter


def read_table(stream: io.TextIOBase, delimiter: str) -> Iterator[tuple[str, str]]:
    """(a row as JSON, what is wrong with it). A quote in a cell without quotes is a character.

    Raises DataError where a quoted cell does not end.
    """
    csv.field_size_limit(LONGEST)
    rows = csv.reader(iter(partial(stream.readline, LONGEST), ""), delimiter=delimiter, strict=True)
    try:
        header = [name.lstrip("\ufeff").strip() for name in next(rows, [])]
        if twice := next((name for name in header if header.count(name) > 1), ""):
            raise DataError(f"has the column {twice!r} twice; rename one")
        for cells in rows:
            if not cells:
                continue
            error = "" if len(cells) == len(header) else (
                f"expected {len(header)} cells, found {len(cells)}")  # fmt: skip
            row = cells if error else dict(zip(header, cells, strict=True))
            yield json.dumps(row, ensure_ascii=False), error
    except csv.Error as e:
        raise DataError(f"not CSV near line {rows.line_num} ({e})") from e
