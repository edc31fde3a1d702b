"""Small tables of counts and statistics, for people. Knows no file."""

import sys
from typing import IO, Any

from rich.console import Console
from rich.table import Table

from pbranch.console import printable

STATS = {
    "records": "records",
    "forked_share": "forked",
    "branches_mean": "branches a block",
    "branch_words_median": "words a branch",
    "ideal_ratio": "ideal ratio",
    "linear_ratio": "against linear",
    "answer_ok_share": "answer right",
}


def print_counts(counts: dict[str, Any], file: IO[str] | None = None) -> None:
    """What a build did: a line a count, and the reasons."""
    table = Table("", "traces", box=None)
    rows = {key: value for key, value in counts.items() if isinstance(value, int)}
    for key, value in rows.items():
        table.add_row(printable(key.replace("_", " ")), f"{value:,}")
        for reason, n in counts.get(f"{key}_by_reason", {}).items():
            table.add_row(printable(f"  {reason}"), f"{n:,}")
    _print(table, file or sys.stderr)


def print_stats(stats: dict[str, dict[str, Any]], file: IO[str] | None = None) -> None:
    """A row for all records and one a task."""
    table = Table("task", *STATS.values(), box=None)
    for name, figures in stats.items():
        cells = (figures[key] for key in STATS)
        table.add_row(printable(name), *("–" if cell is None else f"{cell:g}" for cell in cells))
    _print(table, file or sys.stdout)


def _print(table: Table, file: IO[str]) -> None:
    """Names of tasks and reasons come from files: brackets and colons in them are no markup."""
    Console(file=file, markup=False, emoji=False, highlight=False).print(table)
