"""What a pass costs by its rows, and what follows: how many branches to decode at once, and from
which length on a fork pays. Measured elsewhere; knows no model and no clock."""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

from pbranch.errors import RequestError


@dataclass(frozen=True, slots=True)
class PassCost:
    """Seconds T(n) of a decoding pass of n rows: a straight line between measured points, and
    beyond the last one as steep as before it. It never falls.

    RequestError unless `rows` rise from 1, two at least, and `seconds` are positive and do not
    fall.
    """

    rows: tuple[int, ...]
    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        n, t = self.rows, self.seconds
        if not all(type(x) is int for x in n) or not all(type(x) in (int, float) for x in t):
            raise RequestError(f"pass cost {n}, {t}: expected whole rows, and seconds")
        if len(n) < 2 or n[0] != 1 or any(b <= a for a, b in pairwise(n)):
            raise RequestError(f"pass cost at {list(n)} rows: expected 1 and more, rising")
        if len(t) != len(n) or not (0 < t[0] and math.isfinite(t[-1])) or list(t) != sorted(t):
            raise RequestError(
                f"pass cost of {list(t)} seconds at {list(n)} rows: expected a positive number for "
                "each, none below the one before it"
            )

    @classmethod
    def measured(cls, seconds: Mapping[int, float]) -> "PassCost":
        """From seconds by rows. Where more rows took less time, by noise, they count as equal."""
        rows = tuple(sorted(seconds))
        return cls(rows, tuple(accumulate((seconds[n] for n in rows), max)))

    def __call__(self, n: int) -> float:
        """T(n) in seconds, of n >= 1 rows."""
        i = min(max(1, bisect_left(self.rows, n)), len(self.rows) - 1)
        (a, b), (low, high) = self.rows[i - 1 : i + 1], self.seconds[i - 1 : i + 1]
        return low + (high - low) * (n - a) / (b - a)

    def worth(self, live: int, waiting: int) -> int:
        """How many of `waiting` rows to add to passes of `live` rows, of all requests together.

        A row that is added keeps each of the n rows in the pass waiting T(n + 1) - T(n) longer; one
        that is left out waits for a pass, T(n). To add it shortens the waiting of all together if
        n (T(n + 1) - T(n)) < T(n), which is T(n + 1) / (n + 1) < T(n) / n: while the row makes a
        row cheaper. T may have steps (a kernel for four rows can be as fast as one for two), so
        all sums up to live + waiting are looked at: the cheapest a row wins, the fewest of equals.
        A lone request thus stops where T(n) / n stops falling, and adds nothing where the rows of
        others have brought the pass there. That width should follow the load is the idea of TAPER
        (arXiv 2605.06914); the rule is our own.
        """
        sums = range(max(live, 1), live + waiting + 1)
        return min(sums, key=lambda n: self(n) / n, default=live) - live

    def gain(self, branches: int) -> float:
        """How many times as many tokens a second `branches` rows sample as one."""
        return branches * self(1) / self(branches)

    def break_even(self, branches: int, topic_tokens: int = 4) -> int | None:
        """The least tokens a branch, all alike, from which on a fork takes less time than the same
        text in one line; None if there is none.

        With B branches of l tokens under topics of t, the line has B (t + l) rows, each a pass of
        its own: B (t + l) T(1). The fork has its marker and B topics with theirs, sampled one by
        one, (1 + B (1 + t)) T(1); one pass for spawn and headers, T(1 + B (1 + t)); l passes of
        B rows; and one for the ends and the join, T(B + 1). So it pays from
        l (B T(1) - T(B)) > (1 + B) T(1) + T(1 + B (1 + t)) + T(B + 1) on.
        """
        saved = branches * self(1) - self(branches)
        if saved <= 0:
            return None
        headers = 1 + branches * (1 + topic_tokens)
        spent = (1 + branches) * self(1) + self(headers) + self(branches + 1)
        return math.floor(spent / saved) + 1
