"""The changes of a request, whatever drives its lanes: append, rewind, fork, prune, join, close.

Host logic over small values: no tensors, no model, no clock, no queue. Transitions change lanes and
emit effects, which the scheduler applies. What a token means is the controllers' matter, and which
waiting branches start is not decided here.
"""

from collections.abc import Sequence
from dataclasses import replace

from pbranch.format.grammar import LaneState, next_state
from pinfer.model_spec import ModelSpec
from pinfer.params import SamplingParams
from pinfer.request.controller import LaneController
from pinfer.request.fork_policy import may_fork
from pinfer.request.limits import most_new_tokens
from pinfer.request.state import (
    Budget,
    Discard,
    Given,
    Header,
    Lane,
    LiveFork,
    Logprob,
    PromptPrefix,
    QueuedToken,
    Request,
    Rewind,
    Status,
    TextState,
    hash_tokens,
)
from pinfer.request.stop_strings import StopMatcher


def open_request(
    number: int,
    prompt: list[int],
    params: SamplingParams,
    spec: ModelSpec,
    controller: LaneController,
    stops: StopMatcher | None = None,
) -> Request:
    """A request whose effects append its prompt. controller: of its trunk; stops: looks for its
    stop strings."""
    most, limit = most_new_tokens(params, len(prompt), spec)
    params = replace(params, max_new_tokens=most)
    request = Request(number, prompt, params, prefix=PromptPrefix(hash_tokens(prompt)))
    budget = Budget(most, last_position=spec.context - 1, limit=limit)
    state = TextState(LaneState.TRUNK_FLAT, set(prompt), stops)
    trunk = Lane(request, (), None, controller, 0, budget, state, Status.LIVE)
    request.lanes.append(trunk)
    request.live = 1
    for token in prompt:
        append(trunk, token)
    if params.prompt_logprobs is not None:
        _score(request, prompt, -len(prompt))
    trunk.state.grammar = next_state(
        LaneState.TRUNK, None, in_branch=False, may_fork=may_fork(trunk, spec)
    )
    return request


def accept(lane: Lane, token: int, spec: ModelSpec, logprob: Logprob | None = None) -> None:
    """Take the token sampled for `lane`, or what a limit puts in its place."""
    budget = lane.budget
    budget.sampled += 1
    budget.used += 1
    budget.tokens -= 1
    lane.controller.on_token(lane, token, logprob, spec)


def finish(request: Request, reason: str) -> None:
    """End a request; nothing more is fed."""
    request.finish_reason = reason
    request.waiting.clear()
    request.live = 0


def stop(request: Request, reason: str, limit: str, spec: ModelSpec) -> None:
    """End a request from outside (timeout, error): its text is closed, well-formed."""
    request.note(limit)
    close(request.trunk, spec)
    finish(request, reason)


def close(lane: Lane, spec: ModelSpec) -> None:
    """Inject what ends `lane` here: the rest of an outline, its branches, `end` in a branch."""
    if lane.status is Status.WAITING:
        if lane in lane.request.waiting:  # not where an exception came between
            lane.request.waiting.remove(lane)
        start(lane, spec)
    if lane.status is Status.JOINING:
        for child in [x for x in lane.fork.lanes if x.status is not Status.CLOSED]:
            close(child, spec)
    if lane.status is Status.CLOSED or lane.request.finish_reason is not None:
        return
    lane.controller.on_close(lane, spec)


def start(lane: Lane, spec: ModelSpec) -> None:
    """Let a branch in: its header is fed."""
    lane.status = Status.LIVE
    lane.request.live += 1
    header = [item[0] for item in lane.items[: lane.header.length]]  # type: ignore[index]
    for token in header:
        append(lane, token)
    if lane.header.scored:
        _score(lane.request, header, 0)
    check_room(lane, spec)


def _score(request: Request, tokens: Sequence[int], first: int) -> None:
    """Ask for the logprobs of the tokens that were just appended; `first`: the index of the first,
    which has none."""
    appended = [e for e in request.effects if isinstance(e, QueuedToken)][-len(tokens) :]
    for i in range(1, len(tokens)):
        appended[i - 1].given = Given(tokens[i], first + i)


def append(lane: Lane, token: int, sampled: bool = True) -> QueuedToken:
    """The lane goes on with a token. sampled: whether the next one is drawn from the model."""
    queued = QueuedToken(lane, lane.state.outline or lane, token, lane.position, sampled)
    lane.position += 1
    lane.request.effects.append(queued)
    return queued


def rewind(lane: Lane, position: int) -> None:
    """The lane's newest tokens, those from `position` on, leave. Between them stands no fork."""
    lane.request.effects.append(Rewind(lane, lane.position - position))
    lane.position = position


def end_branch(lane: Lane, spec: ModelSpec) -> None:
    """A branch is closed, and its parent told."""
    assert lane.parent is not None
    lane.request.live -= 1
    lane.status = Status.CLOSED
    lane.parent.controller.on_branch_end(lane.parent, lane, spec)


def branch_share(lane: Lane, branches: int) -> tuple[int, str]:
    """Tokens that each of so many branches may sample, and the limit that sets it."""
    share, limit = lane.budget.tokens // branches, lane.budget.limit
    most = lane.request.params.max_branch_tokens
    return (most, "max_branch_tokens") if most is not None and most < share else (share, limit)


def open_branches(
    lane: Lane,
    fork: LiveFork,
    headers: Sequence[Sequence[int]],
    last_position: int,
    controllers: Sequence[LaneController],
    share: tuple[int, str] | None = None,
    scored: bool = False,
    first: int | None = None,
) -> list[Lane]:
    """Branches of `fork` that begin with these headers; they wait for places, and the lane for
    them. The first call for a fork puts it into the lane's text; later ones add branches to it,
    even when the lane is closed.

    last_position: of a branch's last token. controllers: one each. share: tokens that each may
    sample, and the limit that says so; None: `branch_share`. scored: whether the logprobs of the
    headers' tokens are asked for. first: the number of the first branch, none that the fork has
    had; None: they are numbered as they are opened.
    """
    request = lane.request
    tokens, limit = share or branch_share(lane, len(headers))
    number = lane.forks.index(fork) if fork.opened else len(lane.forks)
    opened = []
    begin = fork.opened if first is None else first
    for branch, (header, controller) in enumerate(zip(headers, controllers, strict=True), begin):
        path = (*lane.path, (number, branch))
        stops = lane.state.stops and lane.state.stops.for_new_segment()
        child = Lane(
            request,
            path,
            lane,
            controller,
            fork.spawn + 1,
            Budget(tokens, last_position, limit),
            TextState(LaneState.BRANCH_FLAT, set(lane.state.seen), stops),
            header=Header(len(header), scored=scored),
            items=[(token, True) for token in header],
        )
        opened.append(child)
    # only now, so that an error before it leaves no fork without branches
    fork.lanes += opened
    if not fork.opened:
        lane.items.append(fork)
    fork.opened += len(opened)
    if lane.status is Status.LIVE:
        lane.status = Status.JOINING
        request.live -= 1
    request.lanes += opened
    request.waiting += opened
    return opened


def prune(lane: Lane) -> None:
    """A branch and all below it leave, text and cache; its parent is not told."""
    assert lane.parent is not None
    request = lane.request
    gone = [lane, *(x for fork in lane.forks for x in fork.all_lanes())]
    for x in gone:
        if x.status is Status.LIVE:
            request.live -= 1
        elif x.status is Status.WAITING:
            request.waiting.remove(x)
        x.status = Status.CLOSED
    lane.parent.fork.lanes.remove(lane)
    request.effects.append(Discard(tuple(gone)))


def join(lane: Lane, spec: ModelSpec) -> None:
    """Let a lane go on after its newest fork, whose branches have all ended."""
    fork, budget = lane.fork, lane.budget
    for hidden in fork.hidden:
        lane.state.seen |= hidden.state.seen
    used = sum(child.budget.used for child in fork.lanes)
    budget.used, budget.tokens = budget.used + used, budget.tokens - used
    if fork.close or spec.layout.join == "reencode":
        _reencode(lane, fork)
    else:
        extents = [child.position - 1 - fork.spawn for child in fork.lanes]
        lane.position = fork.spawn + 1 + spec.layout.extent(extents)
    fork.joined = True
    lane.status = Status.LIVE
    lane.request.live += 1


def _reencode(lane: Lane, fork: LiveFork) -> None:
    """Feed a fork's branches again as text of the lane, and forget their cached tokens."""
    fork.reencoded = True
    lane.request.effects.append(Discard(tuple(fork.all_lanes())))
    lane.position = fork.spawn + 1
    if fork.start is not None:
        rewind(lane, fork.start)
    tokens = [*fork.lead, *(token for token, _, _ in fork.tokens())]
    for number, token in enumerate(tokens):
        append(lane, token).joins = fork if number == 0 else None


def check_room(lane: Lane, spec: ModelSpec) -> None:
    """Stop a live lane for which no further token may be sampled."""
    limit = None
    if lane.budget.tokens <= 0:
        limit = lane.budget.limit
    elif lane.position + lane.in_branch > lane.budget.last_position:
        limit = "context"
    if limit is None:
        return
    lane.request.note(limit)
    close(lane, spec)
    if not lane.in_branch and lane.request.finish_reason is None:
        finish(lane.request, "length")
