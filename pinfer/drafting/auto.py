"""Which source drafts, and how much, by what passes cost here and how often guesses come true.

As many guesses are fed as make an expected token cheapest; none, where that is no guess at all.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pinfer.cost.pass_cost import PassCost
from pinfer.cost.pass_times import PassTimes
from pinfer.drafting.draft import Draft, DraftSource, Follower, Wish
from pinfer.drafting.lookahead import LookaheadSource
from pinfer.drafting.reach import price_ahead
from pinfer.drafting.rival import Rival
from pinfer.model_spec import ModelSpec
from pinfer.params import EngineLimits
from pinfer.request.state import QueuedToken, Request

LOSS = 0.03  # of the time without drafts, that guesses which turned out wrong may take
PROBES = 0.01  # of it, to see whether a source that does not pay has come to
_CAPITAL = 4.0  # passes saved that may be put at stake again
_FREE = 0.005  # of a pass: a source that takes no longer is always asked
_PROBE = 4  # guesses of a lane


@dataclass(frozen=True, slots=True)
class Plan:
    """How many guesses of a source each lane gets; `price`: seconds that an expected token then
    takes; `extra`: what the guesses take at most. `drafts`: where it was asked already."""

    rival: Rival | None
    price: float
    lengths: list[int]
    extra: float = 0.0
    drafts: list[Draft] | None = None


@dataclass(slots=True)
class Account:
    """Seconds: `plain`, of the passes without their guesses; `debt`, what guesses took and did not
    save, negative where they have saved more; `probed`, what probes took."""

    plain: float = 0.0
    debt: float = 0.0
    probed: float = 0.0

    @property
    def room(self) -> float:
        """What may be lost in the next pass."""
        return LOSS * self.plain - self.debt

    @property
    def room_to_probe(self) -> float:
        """What a probe may take in it."""
        return min(self.room, PROBES * self.plain - self.probed)

    def book(self, plain: float, spent: float, saved: float) -> None:
        """A pass."""
        self.plain += plain
        self.debt = max(self.debt + spent - saved, -_CAPITAL * plain)


class AutoSource(Follower):
    """The sources that it is given, in turn or none, whichever makes a token cheapest. clock:
    seconds, of what asking a source takes.

    What a pass costs is `EngineLimits.cost`, or is learned from the passes. A source that is as
    good as free is asked before each pass, and its drafts are compared with the text even if they
    are not fed; another is asked where it pays, and else in probes. Look-ahead rows are added where
    they will pay in the passes to come, and else in probes; what they have said is asked for.
    """

    def __init__(
        self, *sources: DraftSource, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.rivals = [Rival(source, clock) for source in sources]
        self.times, self.account = PassTimes(), Account()
        self._known: PassCost | None = None
        self._cost: PassCost | None = None  # of the coming pass
        self._rows = self._tokens = self._spare = 0  # rows, sampled tokens, rows for guesses
        self._fed = 0  # rows of the pass, guesses included
        self._asked: list[tuple[Request, int]] = []  # who drafts in it, accepted until then
        self._spent = 0.0  # on asking

    def begin(self, spec: ModelSpec, limits: EngineLimits) -> None:
        """As `Follower`."""
        self._known = limits.cost

    def coming(self, tokens: Sequence[QueuedToken], rows: int) -> None:
        """As `Follower`: book the last pass, and see what the next one costs."""
        self._book()
        self._cost = self._known or self.times.cost
        self._rows, self._spare = len(tokens), rows
        self._tokens = sum(t.sampled and t is t.lane.newest for t in tokens)
        for rival in self.rivals:
            if rival.lookahead is not None:
                rival.lookahead.reach = 0

    def passed(self, rows: int, seconds: float) -> None:
        """As `Follower`."""
        self._fed = rows
        self.times.note(rows, seconds)

    def propose(self, wishes: Sequence[Wish]) -> list[Draft]:
        """As `DraftSource`."""
        self._asked = [
            (request, request.stats.accepted.total())
            for request in dict.fromkeys(wish.lane.request for wish in wishes)
        ]
        cost = self._cost
        if cost is None:
            return [Draft()] * len(wishes)
        plans = [Plan(None, cost(self._tokens) / self._tokens, [0] * len(wishes))]
        probe = None
        for rival in self.rivals:
            rival.settle()
            plan = self._plan(rival, wishes, cost)
            plans.append(plan)
            if plan.drafts is None and not any(plan.lengths):
                probe = probe or self._probe(rival, wishes, cost)
        chosen = probe or min(plans, key=lambda x: x.price)  # the first of equals
        drafts = self._carry_out(chosen, wishes)
        for rival in self.rivals:
            if rival.lookahead is not None:
                price = min(plan.price for plan in plans if plan.rival is not rival)
                room = self.account.room - chosen.extra
                rival.lookahead.reach = self._choose_reach(rival, wishes, drafts, price, room)
        return drafts

    def forget(self, request: Request) -> None:
        """As `DraftSource`."""
        for rival in self.rivals:
            rival.forget(request)

    def followers(self) -> list[Follower]:
        """As `Follower`."""
        inner = [r.source for r in self.rivals if isinstance(r.source, Follower)]
        return [self, *(follower for source in inner for follower in source.followers())]

    def _plan(self, rival: Rival, wishes: Sequence[Wish], cost: PassCost) -> Plan:
        """What to do with a source. One that is free is asked first, and so are look-ahead rows."""
        drafts = None
        most = [rival.most(wish) for wish in wishes]
        free = rival.lookahead is not None or rival.step * max(most) <= _FREE * cost(1)
        if not rival.drawn and free and any(most):
            drafts, seconds = rival.ask(wishes)
            self._spent += seconds
            most = [0 if rival.drawn else len(draft.tokens) for draft in drafts]  # not to be cut
        chances = [rival.chances(w.lane, n) for w, n in zip(wishes, most, strict=True)]
        step = 0.0 if drafts is not None else rival.step
        return replace(self._cheapest(rival, chances, step, cost), drafts=drafts)

    def _cheapest(
        self, rival: Rival, chances: list[list[float]], step: float, cost: PassCost
    ) -> Plan:
        """The lengths that make an expected token cheapest. The likeliest guesses of all lanes come
        first, so each number of them is as good as it can be; all numbers are looked at, since a
        cost may have steps. step: seconds that each guess of the longest draft takes."""
        tokens, plain = self._tokens, cost(self._tokens)
        ranked = sorted(
            (-chance, place, lane)
            for lane, row in enumerate(chances)
            for place, chance in enumerate(row)
        )[: self._spare]
        best = Plan(rival, plain / tokens, [0] * len(chances))
        lengths, gained = list(best.lengths), 0.0
        for count, (chance, _, lane) in enumerate(ranked, 1):
            lengths[lane] += 1
            gained -= chance
            extra = cost(self._rows + count) - cost(self._rows) + step * max(lengths)
            price = (plain + extra) / (tokens + gained)
            if price < best.price and extra <= self.account.room:
                best = Plan(rival, price, list(lengths), extra)
        return best

    def _probe(self, rival: Rival, wishes: Sequence[Wish], cost: PassCost) -> Plan | None:
        """A few guesses of a source that is not thought to pay, where there is time for them."""
        lengths = [min(rival.most(wish), _PROBE) for wish in wishes]
        more = min(sum(lengths), self._spare)
        extra = cost(self._rows + more) - cost(self._rows) + rival.step * max(lengths)
        account = self.account
        if not more or extra > account.room_to_probe:
            return None
        account.probed += extra
        return Plan(rival, 0.0, lengths, extra)

    def _carry_out(self, plan: Plan, wishes: Sequence[Wish]) -> list[Draft]:
        """The drafts of a plan."""
        if plan.rival is None or not any(plan.lengths):
            return [Draft()] * len(wishes)
        if plan.drafts is not None:
            return [
                Draft(draft.tokens[:n]) for draft, n in zip(plan.drafts, plan.lengths, strict=True)
            ]
        asked = [Wish(w.lane, n) for w, n in zip(wishes, plan.lengths, strict=True) if n]
        drafts, seconds = plan.rival.ask(asked)
        self._spent += seconds
        found = iter(drafts)
        return [next(found) if n else Draft() for n in plan.lengths]

    def _choose_reach(
        self,
        rival: Rival,
        wishes: Sequence[Wish],
        drafts: Sequence[Draft],
        price: float,
        room: float,
    ) -> int:
        """How many look-ahead rows stand behind each anchor of the pass: as many as make a token
        cheapest, all in a probe, or none. price: of a token without them; room: seconds that they
        may take."""
        source, cost = rival.lookahead, self._cost
        assert source is not None and cost is not None, "there are look-ahead rows, and a price"
        lanes, guesses = len(wishes), [len(draft.tokens) for draft in drafts]
        fed = self._rows + sum(guesses)
        rates = [rival.chances(wish.lane, source.length) for wish in wishes]
        chances = [sum(places) / lanes for places in zip(*rates, strict=True)]
        extra, prices = [0.0], [price]
        for reach in range(1, source.length + 1):
            rows = sum(source.count_rows(n, reach) for n in guesses)
            extra.append(cost(fed + rows) - cost(fed))
            fits = lanes * (reach + source.count_rows(reach, reach)) <= self._spare
            allowed = fits and extra[reach] <= room
            prices.append(price_ahead(source, reach, chances, lanes, cost) if allowed else math.inf)
        best = prices.index(min(prices))
        if not best and extra[-1] <= min(room, self.account.room_to_probe):
            self.account.probed += extra[-1]
            return source.length
        return best

    def _book(self) -> None:
        """What the guesses of the last pass took and saved. A token is worth what it costs in a
        pass without guesses."""
        cost, rows, tokens = self._cost, self._rows, max(1, self._tokens)
        if cost is None or not self._fed:
            return
        accepted = sum(r.stats.accepted.total() - before for r, before in self._asked)
        spent = self._spent + cost(self._fed) - cost(rows)
        self.account.book(cost(rows), spent, accepted * cost(tokens) / tokens)
        self._asked, self._spent, self._fed = [], 0.0, 0


def find_lookahead(source: DraftSource | None) -> LookaheadSource | None:
    """The source whose look-ahead rows passes are to have: itself, or one that it chooses from."""
    if isinstance(source, LookaheadSource):
        return source
    rivals = source.rivals if isinstance(source, AutoSource) else []
    return next((r.lookahead for r in rivals if r.lookahead is not None), None)
