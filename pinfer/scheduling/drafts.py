"""Guesses of lanes' next tokens, fed in the same pass as their newest ones and confirmed there."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pbranch.format.grammar import LaneState, next_state
from pinfer.drafting.auto import find_lookahead
from pinfer.drafting.draft import Draft, DraftSource, Follower, Proposal, Wish
from pinfer.drafting.lookahead import LookaheadSource
from pinfer.model_spec import ModelSpec
from pinfer.params import EngineLimits
from pinfer.request.fork_policy import may_fork
from pinfer.request.state import QueuedToken, Request, Status
from pinfer.scheduling.batch import Batch, SampleSite
from pinfer.scheduling.kv_bound import KVBound, keep_all


@dataclass(frozen=True, slots=True)
class Guesses:
    """A draft, and how many of its tokens the pass feeds. The first one that is not fed still
    counts where the token before it is sampled, see `Draft`."""

    draft: Draft
    fed: int


NO_GUESSES = Guesses(Draft(), 0)


class Drafter:
    """Asks a source before each pass, and tells it what it follows; without one, no guesses."""

    def __init__(
        self,
        source: DraftSource | None,
        spec: ModelSpec,
        limits: EngineLimits,
        bound: KVBound = keep_all,
    ) -> None:
        self.source, self.spec, self.bound = source, spec, bound
        self.lookahead = find_lookahead(source)
        self.followers: list[Follower] = []
        if isinstance(source, Follower):
            self.followers = source.followers()
        for follower in self.followers:
            follower.begin(spec, limits)

    def guess(self, tokens: Sequence[QueuedToken], rows: int) -> dict[QueuedToken, Guesses]:
        """Guesses behind those of a pass's tokens that are sampled; `rows`: what they may fill."""
        for follower in self.followers:
            follower.coming(tokens, rows)
        fed = Counter(token.home for token in tokens)
        asked = [
            (token, room)
            for token in tokens
            if (most := _room(token, self.spec)) > 0
            and (room := min(most, self.bound.room(token.home) - fed[token.home])) > 0
        ]
        if self.source is None or rows < 1 or not asked:
            return {}
        drafts = self.source.propose([Wish(token.lane, min(room, rows)) for token, room in asked])
        lengths = [
            min(room, _count_plain(token, draft, self.spec))
            for (token, room), draft in zip(asked, drafts, strict=True)
        ]
        return {
            token: Guesses(draft, fed)
            for (token, _), draft, fed in zip(asked, drafts, share(lengths, rows), strict=True)
        }

    def complete(self, batch: Batch, rows: int) -> Batch:
        """A pass as it will be fed: with look-ahead rows, in what guesses have left of `rows`."""
        if self.lookahead is not None:
            self.lookahead.clear()
            batch = add_lookahead(batch, self.lookahead, rows, self.spec)
        for follower in self.followers:
            follower.feeding(batch.tokens)
        return batch

    def note(self, rows: int, seconds: float) -> None:
        """It did, and took so long."""
        for follower in self.followers:
            follower.passed(rows, seconds)

    def forget(self, request: Request) -> None:
        """A request has ended."""
        if self.source is not None:
            self.source.forget(request)


def share(wanted: Sequence[int], rows: int) -> list[int]:
    """How many of its wanted rows each gets: all alike, but what one does not want goes to the
    others. So the fewer lanes are live, the longer their drafts."""
    shares, left = [0] * len(wanted), rows
    for done, i in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        shares[i] = min(wanted[i], left // (len(wanted) - done))
        left -= shares[i]
    return shares


def add_guesses(
    token: QueuedToken, guesses: Guesses, spec: ModelSpec
) -> Iterator[tuple[QueuedToken, SampleSite | None]]:
    """A token and the guesses behind it, each with the site at which what follows is sampled."""
    lane, draft = token.lane, guesses.draft
    state = lane.state.grammar
    needed = token.sampled or token.given is not None
    yield token, site_after(token, state, proposal=draft.proposal(0)) if needed else None
    guessed: set[int] = set()
    for ahead, token_id in enumerate(draft.tokens[: guesses.fed], 1):
        guessed.add(token_id)
        forkable = may_fork(lane, spec, ahead)
        state = next_state(state, None, in_branch=state.may_end, may_fork=forkable)
        guess = QueuedToken(lane, token.home, token_id, token.position + ahead, draft=ahead)
        yield guess, site_after(guess, state, frozenset(guessed), draft.proposal(ahead))


def site_after(
    token: QueuedToken,
    state: LaneState,
    guessed: frozenset[int] = frozenset(),
    proposal: Proposal | None = None,
) -> SampleSite:
    """Where the token after `token` is sampled; guessed: what stands between, seen by penalties;
    proposal: what was drafted for it."""
    lane, params = token.lane, token.lane.request.params
    seen: frozenset[int] = frozenset()
    if params.penalises:
        seen = guessed | lane.visible_tokens()
    given = None if token.given is None else token.given.token
    request, at = lane.request, token.position + 1
    key = request.prefix.key
    return SampleSite(request.number, params, lane.path, at, state, seen, given, proposal, key)


def add_lookahead(batch: Batch, source: LookaheadSource, rows: int, spec: ModelSpec) -> Batch:
    """A pass with the look-ahead rows of its lanes, those of a request behind its other tokens.
    rows: what guesses and look-ahead rows may fill together."""
    rows -= sum(token.draft > 0 for token in batch.tokens)
    lanes = [[token, *drafts] for token, drafts, _ in batch.by_lane(batch.sites)]
    wanted = [_look_ahead(fed, source, spec) for fed in lanes]
    added: dict[Request, list[QueuedToken]] = {}
    for tokens, most in zip(wanted, share(list(map(len, wanted)), max(0, rows)), strict=True):
        for token in tokens[:most]:
            added.setdefault(token.lane.request, []).append(token)
    for request, tokens in added.items():
        request.stats.fed += len(tokens)
        request.stats.dropped += len(tokens)
    return batch.with_scratch(added, source) if added else batch


def _look_ahead(
    fed: Sequence[QueuedToken], source: LookaheadSource, spec: ModelSpec
) -> list[QueuedToken]:
    """All look-ahead rows that a lane could use, the most wanted first. fed: its newest token, and
    the guesses behind it. With these they are no more than it may still sample: so many slots are
    set aside for it."""
    newest, found = fed[0], list[QueuedToken]()
    for anchor in source.choose_anchors(fed):
        length = min(source.reach, _room(newest, spec, ahead=anchor.draft + 1))
        for i in range(length):
            place = anchor.position + 1 + i
            row = QueuedToken(anchor.lane, anchor.home, i, place, sampled=False, anchor=anchor)
            found.append(row)
    return found[: max(0, newest.lane.budget.tokens - len(fed))]


def _room(token: QueuedToken, spec: ModelSpec, ahead: int = 0) -> int:
    """How many guesses may follow a token, once `ahead` more were sampled: none behind a marker,
    nor beyond what the lane may still sample."""
    lane = token.lane
    usable = token.sampled and lane.controller.drafts and lane.status is Status.LIVE
    if not usable or token is not lane.newest or spec.role(token.token_id) is not None:
        return 0
    return min(
        lane.request.params.draft_tokens,
        lane.budget.tokens - 1 - ahead,
        lane.budget.last_position - lane.in_branch - token.position - ahead,
    )


def _count_plain(token: QueuedToken, draft: Draft, spec: ModelSpec) -> int:
    """How many guesses stand before a marker, the end of a text and what a request stops at."""
    ends = spec.end_of_text | set(token.lane.request.params.stop_token_ids)
    for count, token_id in enumerate(draft.tokens):
        if spec.role(token_id) is not None or token_id in ends:
            return count
    return len(draft.tokens)
