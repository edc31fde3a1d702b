"""A source among several: what asking it takes, and how often its guesses come true."""

from collections import deque
from collections.abc import Callable, Sequence

from pinfer.drafting.acceptance import Acceptance
from pinfer.drafting.draft import Draft, DraftSource, Wish
from pinfer.drafting.lookahead import LookaheadSource
from pinfer.request.state import Lane, Request, Status

_NEWEST = 8  # times of asking that are remembered


class Rival:
    """A source that is watched. A draft is compared with what its lane then says, whether it was
    fed or not. clock: seconds."""

    def __init__(self, source: DraftSource, clock: Callable[[], float]) -> None:
        self.source, self.clock = source, clock
        self.drawn = False  # what drawn guesses are worth shows only where they are fed
        self._overall = Acceptance()
        self._requests: dict[Request, Acceptance] = {}
        self._asked: set[Request] = set()
        self._open: dict[Lane, tuple[int, Sequence[int]]] = {}  # (items before a draft, its tokens)
        self._steps: deque[float] = deque(maxlen=_NEWEST)

    @property
    def step(self) -> float:
        """Seconds that a guess of each lane takes, 0 as long as that is not known."""
        return min(self._steps, default=0.0)

    @property
    def lookahead(self) -> LookaheadSource | None:
        """The source, if its guesses are what rows of the last pass have said."""
        return self.source if isinstance(self.source, LookaheadSource) else None

    def most(self, wish: Wish) -> int:
        """How many guesses it may give."""
        if self.lookahead is not None:
            return min(wish.most, len(self.lookahead.held(wish.lane)))
        return wish.most

    def ask(self, wishes: Sequence[Wish]) -> tuple[list[Draft], float]:
        """Its drafts, and the seconds that they took; 0 where it reads a prompt for the first time,
        which is no price of guesses."""
        requests = {wish.lane.request for wish in wishes}
        new = not requests <= self._asked
        self._asked |= requests
        begin = self.clock()
        drafts = list(self.source.propose(wishes))
        seconds = 0.0 if new else self.clock() - begin
        longest = max((len(draft.tokens) for draft in drafts), default=0)
        if longest and not new:
            self._steps.append(seconds / longest)
        for (lane, _), draft in zip(wishes, drafts, strict=True):
            self.drawn |= draft.distributions is not None
            if draft.tokens:  # one at a time: a lane's next draft is watched once this one is known
                self._open.setdefault(lane, (len(lane.items), draft.tokens))
        return drafts, seconds

    def chances(self, lane: Lane, places: int) -> list[float]:
        """The probability that a guess for the lane and all before it are right."""
        return self._rates(lane.request).chances(places)

    def settle(self) -> None:
        """Compare the open drafts with what has been written since."""
        for lane, (at, tokens) in list(self._open.items()):
            written = lane.items[at : at + len(tokens)]
            right = 0
            while right < len(written) and written[right] == (tokens[right], False):
                right += 1
            if right == len(written) < len(tokens) and lane.status is not Status.CLOSED:
                continue
            del self._open[lane]
            for rates in (self._overall, self._rates(lane.request)):
                rates.note(right, min(right + 1, len(written)))

    def forget(self, request: Request) -> None:
        """As `DraftSource`."""
        self.settle()
        self._open = {lane: x for lane, x in self._open.items() if lane.request is not request}
        self._requests.pop(request, None)
        self._asked.discard(request)
        self.source.forget(request)

    def _rates(self, request: Request) -> Acceptance:
        if request not in self._requests:
            self._requests[request] = Acceptance(expected=self._overall)
        return self._requests[request]
