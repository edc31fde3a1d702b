"""Whether a lane may fork, and whether a fork is worth decoding side by side."""

from pinfer.model_spec import Rules
from pinfer.params import SamplingParams
from pinfer.request.state import Block, Lane

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
