"""Lanes of a model that was trained on the markers: the grammar says what a sampled token means.

Every path leaves well-formed text: whatever stops a lane, what the grammar still wants is injected.
"""

from pbranch.format.grammar import LaneState, next_state
from pbranch.format.markers import Role
from pinfer.model_spec import ModelSpec
from pinfer.params import SamplingParams
from pinfer.request.fork_policy import is_unprofitable, may_fork
from pinfer.request.limits import outline_limit
from pinfer.request.state import Budget, Lane, LiveFork, Logprob, Status, TextState
from pinfer.request.transitions import (
    append,
    check_room,
    close,
    end_branch,
    finish,
    join,
    open_branches,
)


class MarkerController:
    """Lanes of a model that was trained on the markers: the grammar says what a token means."""

    drafts = True
    schedule = None

    def on_token(self, lane: Lane, token: int, logprob: Logprob | None, spec: ModelSpec) -> None:
        """As `LaneController`."""
        at = len(lane.items)
        _take(lane, token, spec)
        if logprob is not None and lane.items[at] == (token, False):
            lane.logprobs[at] = logprob

    def on_close(self, lane: Lane, spec: ModelSpec) -> None:
        """As `LaneController`."""
        if lane.state.grammar is LaneState.OPEN:
            push(lane, spec.id(Role.TOPIC), True, spec)
        if lane.state.grammar.in_outline:
            push(lane, spec.id(Role.SPAWN), True, spec)
            close(lane, spec)
        elif lane.in_branch:
            push(lane, spec.id(Role.END), True, spec)

    def on_branch_end(self, lane: Lane, branch: Lane, spec: ModelSpec) -> None:
        """As `LaneController`: the lane goes on after the last branch."""
        if all(x.status is Status.CLOSED for x in lane.fork.lanes):
            join(lane, spec)
            push(lane, spec.id(Role.JOIN), True, spec)
            check_room(lane, spec)

    def kv_per_token(self, params: SamplingParams) -> int:
        """A sampled token may bring three injected ones: a topic marker its branch, end and a share
        of the join; a topic's word its copy in the header. Where no fork is allowed, none."""
        return 4 if params.may_branch else 1

    def fallback(self, lane: Lane) -> str | None:
        """As `LaneController`."""
        return None


MARKERS = MarkerController()


def _take(lane: Lane, token: int, spec: ModelSpec) -> None:
    request, ends = lane.request, token in spec.end_of_text
    in_outline = lane.state.grammar.in_outline
    if (ends or token in request.params.stop_token_ids) and not in_outline:
        if not lane.in_branch:
            lane.items.append((token, False))
        stop_lane(lane, "eos_in_branch" if ends else "stop_in_branch", spec)
        return
    limit = outline_limit(lane, token, spec) if in_outline else None
    if limit:
        request.note(limit)
        push(lane, spec.id(Role.SPAWN), True, spec)
    else:
        push(lane, token, False, spec)
    if lane.state.stops and lane.state.stops.matched and lane.status is Status.LIVE:
        stop_lane(lane, "stop_in_branch", spec)
    elif lane.status is Status.LIVE and request.finish_reason is None:
        check_room(lane, spec)


def stop_lane(lane: Lane, limit: str, spec: ModelSpec) -> None:
    """The end of a text, or what the request stops at: ends the answer, or just the branch."""
    if lane.in_branch:
        lane.request.note(limit)
        push(lane, spec.id(Role.END), True, spec)
    else:
        finish(lane.request, "stop")


def push(lane: Lane, token: int, injected: bool, spec: ModelSpec) -> None:
    """Append a token to a live lane's text, and do what its role says."""
    role, state = spec.role(token), lane.state
    lane.items.append((token, injected))
    if role is Role.FORK and spec.layout.outline == "own":
        state.outline = _hidden_outline(lane)
    queued = append(lane, token, sampled=role not in (Role.SPAWN, Role.END))
    if role is Role.JOIN and not lane.fork.reencoded:
        queued.joins = lane.fork
    _note_text(lane, token, role, injected)
    forkable = may_fork(lane, spec)
    state.grammar = next_state(state.grammar, role, in_branch=lane.in_branch, may_fork=forkable)
    if role is Role.SPAWN:
        _spawn(lane, queued.position, spec)
    elif role is Role.END:
        end_branch(lane, spec)


def _note_text(lane: Lane, token: int, role: Role | None, injected: bool) -> None:
    """Keep what later tokens depend on: topics, stop strings, tokens seen."""
    state = lane.state
    if role is Role.FORK:
        state.topics = []
    elif role is Role.TOPIC:
        state.topics.append([])
    elif state.grammar.in_outline and role is None:
        state.topics[-1].append(token)
    elif role is None and state.stops:
        state.stops.push(token)
    if role is None and not injected:
        (state.outline or lane).state.seen.add(token)
    if role in (Role.FORK, Role.JOIN) and state.stops:
        state.stops = state.stops.for_new_segment()


def _spawn(lane: Lane, spawn: int, spec: ModelSpec) -> None:
    """Open the fork that the outline announces."""
    topics, outline = lane.state.topics, lane.state.outline
    lane.state.outline = None
    last = lane.budget.last_position - lane.in_branch - 1
    if spec.layout.in_order:
        last = spawn + (last - spawn) // len(topics)
    fork = LiveFork(spawn, topics, outline=outline)
    fork.sequential = is_unprofitable(fork, lane.request.params, spec)
    branch = spec.id(Role.BRANCH)
    headers = [[branch, *topic] for topic in topics]
    open_branches(lane, fork, headers, last, [MARKERS] * len(headers))
    for child in fork.lanes:
        ahead = child.header.length
        child.state.grammar = next_state(
            LaneState.BRANCH, None, in_branch=True, may_fork=may_fork(child, spec, ahead)
        )


def _hidden_outline(lane: Lane) -> Lane:
    """What holds the tokens of an outline that the branches are not to see."""
    path = (*lane.path, (len(lane.forks), -1))
    state, nothing = TextState(lane.state.grammar), Budget(0, 0)
    outline = Lane(lane.request, path, lane, MARKERS, 0, nothing, state, Status.CLOSED)
    lane.request.outlines.append(outline)
    return outline
