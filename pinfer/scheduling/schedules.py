"""Schedules: which of the branches that wait are served by the next pass of the model.

Who is served when changes no token, only the time that all of it takes. Used by the engine and by
the simulated clock alike; knows neither.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from pbranch.errors import RequestError, did_you_mean
from pinfer.request.controller import Schedule

NAMES = ("serial", "round", "fcfs_batch")


@dataclass(frozen=True, slots=True)
class Serial:
    """One branch at a time, first come first served: SeeD (arXiv 2406.18200)."""

    def choose(self, rows: Sequence[int], live: int) -> Sequence[int]:
        """As `Schedule`."""
        return range(min(1, len(rows)))


@dataclass(frozen=True, slots=True)
class Round:
    """All live branches in one pass, once all of them wait."""

    def choose(self, rows: Sequence[int], live: int) -> Sequence[int]:
        """As `Schedule`."""
        return range(len(rows)) if len(rows) >= live else ()


@dataclass(frozen=True, slots=True)
class FcfsBatch:
    """As many branches as `row_budget` rows hold, first come first served; always one."""

    row_budget: int

    def choose(self, rows: Sequence[int], live: int) -> Sequence[int]:
        """As `Schedule`."""
        filled = list(accumulate(rows))
        return range(max(min(1, len(rows)), bisect_right(filled, self.row_budget)))


def make_schedule(name: str, row_budget: int) -> Schedule:
    """A schedule by its name. RequestError where there is none of it."""
    if row_budget < 1:
        raise RequestError(f"row_budget {row_budget}: expected 1 or more")
    if name not in NAMES:
        hint = did_you_mean(name, NAMES)
        raise RequestError(f"schedule {name!r}: expected {', '.join(NAMES)}{hint}")
    kinds: dict[str, Schedule] = {"serial": Serial(), "round": Round()}
    return kinds.get(name, FcfsBatch(row_budget))
