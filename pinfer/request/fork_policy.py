"""Whether a lane may fork, and whether a fork is worth decoding in parallel."""

from pinfer.model_spec import ModelSpec
from pinfer.params import SamplingParams
from pinfer.request.state import Lane, LiveFork

# Tokens from a fork to its join at the least: fork, topic, a word, spawn, branch, the word, end and
# join; and the end of the branch that holds them.
_SMALLEST_FORK = 8 + 1


def may_fork(lane: Lane, spec: ModelSpec, ahead: int = 0) -> bool:
    """Whether a fork is allowed as the lane's next token, after `ahead` more tokens."""
    params = lane.request.params
    return (
        spec.markers is not None
        and params.forks
        and len(lane.path) < params.max_depth
        and lane.position + ahead + _SMALLEST_FORK <= lane.budget.last_position
    )


def is_unprofitable(fork: LiveFork, params: SamplingParams, spec: ModelSpec) -> bool:
    """Whether decoding the branches in parallel would hardly save time, or where passes were not
    measured, hardly a pass. The outline is written by now: only their order is left to decide, so
    with measured passes it does not matter how long the branches will be."""
    if params.fork != "auto":
        return False
    if spec.cost is not None:
        return spec.cost.worth(0, len(fork.topics)) == 1
    expected = spec.branch_tokens
    short = expected is not None and expected < params.min_branch_tokens
    return len(fork.topics) == 1 or short
