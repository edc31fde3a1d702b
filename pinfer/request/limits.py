"""What keeps a lane from more: limits by name."""

from pbranch.format.grammar import LaneState
from pbranch.format.markers import Role
from pinfer.model_spec import ModelSpec
from pinfer.params import SamplingParams
from pinfer.request.state import Lane


def most_new_tokens(params: SamplingParams, prompt_tokens: int, spec: ModelSpec) -> tuple[int, str]:
    """How many tokens a request may sample, and the limit that says so: in one lane no more than
    the context has room for. Branches share positions; what they may sample together with their
    trunk is as many as the context holds."""
    room = spec.context if params.may_branch else spec.context - prompt_tokens
    most = params.max_new_tokens
    return (most, "max_new_tokens") if most <= room else (room, "context")


def outline_limit(lane: Lane, token: int, spec: ModelSpec) -> str | None:
    """The limit that `token` would break in an outline, which is then closed instead."""
    params, topics, role = lane.request.params, lane.state.topics, spec.role(token)
    if role is Role.SPAWN or lane.state.grammar is LaneState.OPEN:
        return None
    if role is Role.TOPIC and len(topics) >= params.max_topics:
        return "max_topics"
    if role is None and len(topics[-1]) >= params.max_topic_tokens:
        return "max_topic_tokens"
    # after this token: spawn, then branch + topic + end of each, then the join
    lengths = [len(t) for t in topics]
    lengths = [*lengths, 1] if role is Role.TOPIC else [*lengths[:-1], lengths[-1] + 1]
    extent = spec.layout.extent([max(lengths) + 2] * len(lengths))
    join = lane.position + 1 + 1 + extent
    return "context" if join + lane.in_branch > lane.budget.last_position else None


def fork_limit(lane: Lane, wanted: int, spec: ModelSpec) -> str | None:
    """The limit that kept a lane from a fork, where that is the token that it wanted."""
    params, flat = lane.request.params, (LaneState.TRUNK_FLAT, LaneState.BRANCH_FLAT)
    if spec.role(wanted) is not Role.FORK or lane.state.grammar not in flat or not params.forks:
        return None
    return "max_depth" if len(lane.path) >= params.max_depth else "context"
