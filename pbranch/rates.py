"""How well a batch of answers keeps the branch format, and whether the right prompts fork.

Measured while training and in the benchmarks; knows neither how an answer was decoded nor whether
it is right.
"""

from collections.abc import Sequence
from typing import Protocol


class Shape(Protocol):
    """What counts of one answer."""

    @property
    def to_fork(self) -> bool:
        """Whether the prompt's reference trace forks."""

    @property
    def well_formed(self) -> bool:
        """Whether the grammar changed, or would have changed, none of its choices."""

    @property
    def branches(self) -> int:
        """Branches of all its blocks; 0: it did not fork."""


def measure_rates(answers: Sequence[Shape]) -> dict[str, float]:
    """Shares of the answers, by name.

    format_rate: well-formed ones. fork_rate: of prompts to fork, those that forked. no_fork_rate:
    of the others, those that did not. mean_branches: of an answer that forked. The two shares of
    prompts are missing where there is no such prompt.
    """
    forked = [x.branches > 0 for x in answers if x.to_fork]
    others = [x.branches == 0 for x in answers if not x.to_fork]
    rates = {
        "format_rate": _mean([x.well_formed for x in answers]),
        "mean_branches": _mean([x.branches for x in answers if x.branches]),
    }
    if forked:
        rates["fork_rate"] = _mean(forked)
    if others:
        rates["no_fork_rate"] = _mean(others)
    return rates


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
