"""How often guesses come true, by their place in a draft. Plain counts."""

from itertools import accumulate
from operator import mul

_KEPT = 0.95  # of older counts, at each new one: about twenty count
_WEIGHT = 4.0  # guesses that what is expected counts as
_FIRST = 0.3  # expected of a source of which nothing is known


class Acceptance:
    """How often the guess at a place is right, given that all before it are. Newer drafts count
    more. expected: of other texts, holds where nothing is known of this one."""

    def __init__(self, expected: "Acceptance | None" = None) -> None:
        self.expected = expected
        self._counts: list[tuple[float, float]] = []  # (right, compared) by place

    def note(self, right: int, compared: int) -> None:
        """A draft whose first `right` guesses came true, of `compared`: as many, or one more."""
        for place in range(compared):
            if place == len(self._counts):
                self._counts.append((0.0, 0.0))
            hits, tries = self._counts[place]
            self._counts[place] = (_KEPT * hits + (place < right), _KEPT * tries + 1)

    def rates(self, places: int) -> list[float]:
        """The probability of each guess, given those before it."""
        expected = self.expected.rates(places) if self.expected is not None else None
        found: list[float] = []
        for place in range(places):
            hits, tries = self._counts[place] if place < len(self._counts) else (0.0, 0.0)
            prior = expected[place] if expected else found[-1] if found else _FIRST
            found.append((hits + _WEIGHT * prior) / (tries + _WEIGHT))
        return found

    def chances(self, places: int) -> list[float]:
        """The probability that a guess and all before it are right; it never rises."""
        return list(accumulate(self.rates(places), mul))
