"""What passes take here, learned from those that an engine makes. Knows no model and no clock."""

from collections import deque

from pinfer.cost.pass_cost import PassCost

_MOST_ROWS = 64  # of passes that are noted: decoding ones, and the smallest prompts
_NEWEST = 8  # passes of as many rows that are remembered; contexts grow, and with them the cost


class PassTimes:
    """Seconds by rows. What disturbs a pass makes it longer, so the shortest of the newest passes
    says what one costs."""

    def __init__(self) -> None:
        self._seconds: dict[int, deque[float]] = {}

    def note(self, rows: int, seconds: float) -> None:
        """A pass of `rows` tokens took so long."""
        if rows <= _MOST_ROWS and seconds > 0:
            self._seconds.setdefault(rows, deque(maxlen=_NEWEST)).append(seconds)

    @property
    def cost(self) -> PassCost | None:
        """None before the first pass. As long as all passes were alike, more rows count as free:
        the first wider pass tells."""
        if not self._seconds:
            return None
        found = {rows: min(seconds) for rows, seconds in self._seconds.items()}
        least = found[min(found)]
        return PassCost.measured({1: least, max(2, *found): least, **found})
