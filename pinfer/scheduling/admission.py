"""Which waiting branches start, and how many at once. Changes when a token is drawn, never which.

Decides by places, and where it was measured by what a pass costs. No tensors.
"""

from pinfer.model_spec import Rules
from pinfer.request.state import Lane, Request, Status
from pinfer.request.transitions import start


def admit(request: Request, rules: Rules, others: int = 0) -> None:
    """Let waiting branches in while there are places; their headers join the queue.

    others: live lanes of other requests, whose rows are in the same passes. A branch always starts
    where the request has no live lane.
    """
    while ready := [lane for lane in request.waiting if _has_turn(lane)]:
        if request.live and not _places(request, len(ready), rules, others):
            break
        lane = min(ready, key=lambda x: x.path)
        request.waiting.remove(lane)
        start(lane, rules)


def _places(request: Request, ready: int, rules: Rules, others: int) -> int:
    """How many of `ready` branches may start beside what is live."""
    params = request.params
    if params.width is not None:
        ready = max(0, min(ready, params.width - request.live))
    if rules.cost is None or params.fork == "always":
        return ready
    return rules.cost.worth(others + request.live, ready)


def _has_turn(lane: Lane) -> bool:
    """Whether a waiting branch may start: in a block in order, only once those before it ended."""
    block = lane.parent.block  # type: ignore[union-attr]
    before = block.lanes[: lane.path[-1][1]]
    return not block.in_order or all(x.status is Status.CLOSED for x in before)
