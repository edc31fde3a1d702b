"""Prompt lookup: what followed the last few tokens where they stood before, in the request's text.

All of a request's text is looked up: the prompt, the lane, and its siblings, whom the lane does not
see: a guess changes no token, wherever it comes from. No tensors.
"""

from collections.abc import Sequence

from pinfer.drafting.draft import Draft, Wish
from pinfer.request.state import Lane, Request, Status

LONGEST = 5  # tokens that are looked up; where they were never seen, ever fewer of them
SHORTEST = 2


class NgramSource:
    """Looks the newest tokens of a lane up in the text of its request."""

    def __init__(self, longest: int = LONGEST, shortest: int = SHORTEST) -> None:
        self.longest, self.shortest = longest, shortest
        self._texts: dict[Request, NgramIndex] = {}

    def propose(self, wishes: Sequence[Wish]) -> list[Draft]:
        """As `DraftSource`."""
        for request in dict.fromkeys(wish.lane.request for wish in wishes):
            if request not in self._texts:
                self._texts[request] = NgramIndex(request, self.longest, self.shortest)
            self._texts[request].read()
        return [Draft(self._texts[lane.request].guess(lane, most)) for lane, most in wishes]

    def forget(self, request: Request) -> None:
        """As `DraftSource`."""
        self._texts.pop(request, None)


class NgramIndex:
    """What followed each n-gram of a request's text the last time. A token is read once, at the
    cost of one entry for each length of n-grams."""

    def __init__(self, request: Request, longest: int, shortest: int) -> None:
        self.request, self.longest = request, longest
        self.lengths = range(longest, shortest - 1, -1)
        self.following: dict[tuple[int, ...], int] = {}
        self._read: dict[Lane, int] = {}  # items of each open lane that were read
        self._lanes = 0  # that were opened so far
        self._tails: dict[Lane, list[int]] = {}  # the newest tokens of each

    def read(self) -> None:
        """Take in what the lanes have written since the last call."""
        for lane in self.request.lanes[self._lanes :]:
            self._read[lane], self._tails[lane] = 0, []
            if not lane.in_branch:
                for token in self.request.prompt:
                    self._push(lane, token)
        self._lanes = len(self.request.lanes)
        for lane, begin in list(self._read.items()):
            for item in lane.items[begin:]:
                if isinstance(item, tuple):
                    self._push(lane, item[0])
            self._read[lane] = len(lane.items)
            if lane.status is Status.CLOSED:
                del self._read[lane], self._tails[lane]

    def guess(self, lane: Lane, most: int) -> list[int]:
        """Up to `most` tokens that may follow, each looked up behind those before it."""
        tail, guessed = list(self._tails[lane]), list[int]()
        while len(guessed) < most:
            token = self._look_up(tail)
            if token is None:
                break
            guessed.append(token)
            tail = [*tail, token][-self.longest :]
        return guessed

    def _look_up(self, tail: list[int]) -> int | None:
        """What followed the longest n-gram that the tail ends with."""
        for n in self.lengths:
            if n <= len(tail) and (token := self.following.get(tuple(tail[-n:]))) is not None:
                return token
        return None

    def _push(self, lane: Lane, token: int) -> None:
        tail = self._tails[lane]
        for n in self.lengths:
            if n <= len(tail):
                self.following[tuple(tail[-n:])] = token
        tail.append(token)
        del tail[: -self.longest]
