"""Clocks, and what tells whether a machine is quiet enough to believe them."""

import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple, TypeVar

import psutil
import torch

NOISY = 0.15  # of the best read rate: what a quiet machine stays within


class Span(NamedTuple):
    """Seconds of this process' CPU time, and of the wall clock."""

    cpu: float
    wall: float

    def plus(self, other: "Span") -> "Span":
        """One after the other."""
        return Span(self.cpu + other.cpu, self.wall + other.wall)


ZERO = Span(0.0, 0.0)


def now() -> Span:
    """The clocks."""
    return Span(time.process_time(), time.perf_counter())


def since(begin: Span) -> Span:
    """What has passed."""
    end = now()
    return Span(end.cpu - begin.cpu, end.wall - begin.wall)


@dataclass(slots=True)
class BandwidthProbe:
    """Reads the same `size` bytes again and again. The rate is what a step could reach that did
    nothing but read the weights; its spread says what else the machine did."""

    size: int = 2**30
    rates: list[float] = field(default_factory=list)  # bytes a CPU second
    _block: Any = field(init=False)
    _times_before: Any = field(init=False)
    _load_before: float = field(init=False)

    def __post_init__(self) -> None:
        self._block = torch.ones(self.size // 4)
        self._times_before, self._load_before = psutil.cpu_times(), os.getloadavg()[0]
        self.read()

    def read(self) -> None:
        """One more measurement, of memory just read: what lay idle may have been taken back."""
        self._block.sum()
        begin = now()
        self._block.sum()
        self.rates.append(self.size / since(begin).cpu)

    @property
    def rate(self) -> float:
        """Bytes a second: the median."""
        return median(self.rates)

    def report(self) -> dict[str, Any]:
        """gb_per_second; spread: the worst rate's distance from the best, as a share of it; load
        average at the beginning and now; steal: share of CPU time that the host took."""
        times = psutil.cpu_times()
        passed = sum(times) - sum(self._times_before)
        stolen = getattr(times, "steal", 0.0) - getattr(self._times_before, "steal", 0.0)
        spread = 1 - min(self.rates) / max(self.rates)
        return {
            "gb_per_second": self.rate / 1e9,
            "spread": spread,
            "noisy": spread > NOISY,
            "load": [self._load_before, os.getloadavg()[0]],
            "steal": stolen / passed if passed else 0.0,
        }


Result = TypeVar("Result")
MIN_ROUNDS = 3  # however little time there is


@dataclass(frozen=True, slots=True)
class Quartiles:
    """Of values of all rounds."""

    median: float
    low: float
    high: float


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

    No round is begun after `minutes`, but MIN_ROUNDS are made whatever they take.
    """
    rng, begin = random.Random(seed), time.monotonic()
    rounds_so_far: list[dict[str, Result]] = []
    for number in range(-warmups, rounds):
        late = minutes is not None and time.monotonic() - begin > 60 * minutes
        if late and min(MIN_ROUNDS, rounds) <= len(rounds_so_far):
            break
        if late and number < 0:
            continue
        between()
        results = {name: arms[name]() for name in rng.sample(list(arms), len(arms))}
        if number >= 0:
            rounds_so_far.append({name: results[name] for name in arms})
        _tell(f"round {number + 1} of {rounds}" if number >= 0 else "warm-up")
    return rounds_so_far


def _tell(line: str) -> None:
    """Progress, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r{line:<40}", end="", file=sys.stderr, flush=True)
