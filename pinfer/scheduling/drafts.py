"""Guesses of a lane's next tokens, fed in the same pass as its newest one and confirmed there."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from pbranch.format.grammar import LaneState, next_state
from pinfer.model_spec import ModelSpec
from pinfer.request.fork_policy import may_fork
from pinfer.request.state import Lane, QueuedToken, Status
from pinfer.scheduling.batch import SampleSite


class Drafter(Protocol):
    """Guesses what a lane says next."""

    def __call__(self, lane: Lane, most: int) -> Sequence[int]:
        """At most `most` tokens that may follow the lane's newest one."""


def draft_tokens(
    token: QueuedToken, drafter: Drafter, room: int, spec: ModelSpec
) -> Iterator[tuple[QueuedToken, SampleSite]]:
    """Guesses after a lane's newest token, with the sites that confirm what follows each. They stop
    before a marker, the end of a text, and what the lane may not reach."""
    lane = token.lane
    state = lane.state.grammar
    usable = lane.controller.drafts and lane.status is Status.LIVE and state is not LaneState.OPEN
    most = min(
        room,
        lane.budget.tokens - 1,
        lane.budget.last_position - lane.in_branch - token.position,
    )
    if not usable or most < 1 or token is not lane.newest:
        return
    barred = spec.end_of_text | set(lane.request.params.stop_token_ids)
    guessed: set[int] = set()
    for ahead, token_id in enumerate(list(drafter(lane, most))[:most], 1):
        if spec.role(token_id) is not None or token_id in barred:
            return
        position = token.position + ahead
        forkable = may_fork(lane, spec, ahead)
        state = next_state(state, None, in_branch=lane.in_branch, may_fork=forkable)
        guessed.add(token_id)
        draft = QueuedToken(lane, token.home, token_id, position, draft=True)
        yield draft, site_after(draft, state, frozenset(guessed))


def site_after(
    token: QueuedToken, state: LaneState, guessed: frozenset[int] = frozenset()
) -> SampleSite:
    """Where the token after `token` is sampled; guessed: what stands between, seen by penalties."""
    lane, params = token.lane, token.lane.request.params
    seen: frozenset[int] = frozenset()
    if params.repetition_penalty != 1:
        seen = guessed | lane.visible_tokens()
    given = None if token.given is None else token.given.token
    number = lane.request.number
    return SampleSite(number, params, lane.path, token.position + 1, state, seen, given)
