"""Which waiting branches start, and how many at once. Changes when a token is drawn, never which.

Decides by places, and where it was measured by what a pass costs. No tensors.
"""

from pinfer.model_spec import ModelSpec
from pinfer.request.state import Lane, Request, Status
from pinfer.request.transitions import start


def admit(request: Request, spec: ModelSpec, others: int = 0) -> None:
    """Let waiting branches in while there are places; their headers are fed.

    others: live lanes of other requests, whose rows are in the same passes. A branch always starts
    where the request has no live lane.
    """
    while ready := [lane for lane in request.waiting if _has_turn(lane)]:
        if request.live and not _places(request, len(ready), spec, others):
            break
        lane = min(ready, key=lambda x: x.path)
        request.waiting.remove(lane)
        start(lane, spec)


def _places(request: Request, ready: int, spec: ModelSpec, others: int) -> int:
    """How many of `ready` branches may start beside what is live."""
    params = request.params
    if params.width is not None:
        ready = max(0, min(ready, params.width - request.live))
    if spec.cost is None or params.fork == "always":
        return ready
    return spec.cost.worth(others + request.live, ready)


def _has_turn(lane: Lane) -> bool:
    """Whether a waiting branch may start: in a sequential fork, only once those before it ended."""
    fork = lane.parent.fork  # type: ignore[union-attr]
    if not fork.sequential:
        return True
    before = fork.lanes[: fork.lanes.index(lane)]
    return all(x.status is Status.CLOSED for x in before)
