"""What a lane may still do, and what keeps it from more. Decides; `commit.py` acts."""

from pbranch.format.grammar import LaneState
from pbranch.format.markers import Role
from pinfer.lane import Block, Lane
from pinfer.params import SamplingParams
from pinfer.rules import Rules

# rows from a fork to its join at the least, and the end of the branch that holds them
_SMALLEST_BLOCK = 9


def may_fork(lane: Lane, rules: Rules, ahead: int = 0) -> bool:
    """Whether a fork is allowed as the lane's next token, behind `ahead` more rows."""
    params = lane.request.params
    return (
        rules.markers is not None
        and params.forks
        and len(lane.path) < params.max_depth
        and lane.position + ahead + _SMALLEST_BLOCK <= lane.last_position
    )


def promises_little(block: Block, params: SamplingParams, rules: Rules) -> bool:
    """Whether decoding the branches side by side would hardly save time, or where passes were
    not measured, hardly a pass. The outline is written by now: only their order is left to decide,
    so with measured passes it does not matter how long the branches will be."""
    if params.fork != "auto":
        return False
    if rules.cost is not None:
        return rules.cost.worth(0, len(block.topics)) == 1
    expected = rules.branch_tokens
    short = expected is not None and expected < params.min_branch_tokens
    return len(block.topics) == 1 or short


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
