"""Interleaved rounds: every arm once a round, in random order, and ratios round by round.

A slow minute of the machine then slows both sides of a ratio. Knows no engine.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

Result = TypeVar("Result")
FEWEST = 3  # rounds, however little time there is


@dataclass(frozen=True, slots=True)
class Quartiles:
    """Of values of all rounds."""

    median: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def quartiles(values: Sequence[float]) -> Quartiles:
    """Median and quartiles; of one value, three times itself."""
    if len(values) == 1:
        return Quartiles(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Quartiles(median, low, high)


def each(
    rounds: Sequence[Mapping[str, Result]], value: Callable[[Mapping[str, Result]], float]
) -> Quartiles:
    """Of a value, such as a ratio, computed in every round by itself."""
    return quartiles([value(results) for results in rounds])


def interleave(
    arms: Mapping[str, Callable[[], Result]],
    rounds: int,
    warmups: int = 2,
    minutes: float | None = None,
    seed: int = 0,
    between: Callable[[], Any] = lambda: None,
) -> list[dict[str, Result]]:
    """Results of every arm in every round, warm-ups left out; `between` is called in each round.

    No round is begun after `minutes`, but FEWEST are made whatever they take.
    """
    rng, begin = random.Random(seed), time.monotonic()
    found: list[dict[str, Result]] = []
    for number in range(-warmups, rounds):
        late = minutes is not None and time.monotonic() - begin > 60 * minutes
        if late and min(FEWEST, rounds) <= len(found):
            break
        if late and number < 0:
            continue
        between()
        results = {name: arms[name]() for name in rng.sample(list(arms), len(arms))}
        if number >= 0:
            found.append({name: results[name] for name in arms})
        _tell(f"round {number + 1} of {rounds}" if number >= 0 else "warm-up")
    return found


def _tell(line: str) -> None:
    """Progress, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r{line:<40}", end="", file=sys.stderr, flush=True)
