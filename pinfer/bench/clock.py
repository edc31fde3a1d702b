"""Clocks, and what tells whether a machine is quiet enough to believe them."""

import os
import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

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


NOTHING = Span(0.0, 0.0)


def now() -> Span:
    """The clocks."""
    return Span(time.process_time(), time.perf_counter())


def since(begin: Span) -> Span:
    """What has passed."""
    end = now()
    return Span(end.cpu - begin.cpu, end.wall - begin.wall)


@dataclass(slots=True)
class Canary:
    """Reads the same memory again and again, `size` bytes: the rate is what a step could reach
    that did nothing but read the weights, and its spread says what else the machine did."""

    size: int = 2**30
    rates: list[float] = field(default_factory=list)  # bytes a CPU second
    _block: Any = field(init=False)
    _before: Any = field(init=False)
    _load: float = field(init=False)

    def __post_init__(self) -> None:
        self._block = torch.ones(self.size // 4)
        self._before, self._load = psutil.cpu_times(), os.getloadavg()[0]
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
        passed = sum(times) - sum(self._before)
        stolen = getattr(times, "steal", 0.0) - getattr(self._before, "steal", 0.0)
        spread = 1 - min(self.rates) / max(self.rates)
        return {
            "gb_per_second": self.rate / 1e9,
            "spread": spread,
            "noisy": spread > NOISY,
            "load": [self._load, os.getloadavg()[0]],
            "steal": stolen / passed if passed else 0.0,
        }
