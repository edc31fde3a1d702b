"""What a lane may still do, and what keeps it from more. Decides; `transitions.py` acts."""

from pbranch.format.grammar import LaneState
from pbranch.format.markers import Role
from pinfer.model_spec import Rules
from pinfer.request.state import Lane


def outline_limit(lane: Lane, token: int, rules: Rules) -> str | None:
    """The limit that `token` would break in an outline, which is then closed instead."""
    params, role = lane.request.params, rules.role(token)
    if role is Role.SPAWN or lane.state is LaneState.OPEN:
        return None
    if role is Role.TOPIC and len(lane.topics) >= params.max_topics:
        return "max_topics"
    if role is None and len(lane.topics[-1]) >= params.max_topic_tokens:
        return "max_topic_tokens"
    # after this token: spawn, then branch + topic + end of each, then the join
    lengths = [len(t) for t in lane.topics]
    lengths = [*lengths, 1] if role is Role.TOPIC else [*lengths[:-1], lengths[-1] + 1]
    extent = rules.layout.extent([max(lengths) + 2] * len(lengths))
    join = lane.position + 1 + 1 + extent
    return "context" if join + lane.in_branch > lane.last_position else None


def name_fork_limit(lane: Lane, wanted: int, rules: Rules) -> None:
    """Name the limit that kept a lane from the fork that it wanted."""
    params, flat = lane.request.params, (LaneState.TRUNK_FLAT, LaneState.BRANCH_FLAT)
    if rules.role(wanted) is Role.FORK and lane.state in flat and params.forks:
        lane.request.note("max_depth" if len(lane.path) >= params.max_depth else "context")
