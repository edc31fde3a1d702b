"""Which prompts are taken at all; which waiting branches start, and how many at once: that changes
when a token is drawn, never which.

Decides by places, and where it was measured by what a pass costs. No tensors.
"""

from collections.abc import Sequence

from pbranch.errors import RequestError
from pinfer.model_spec import ModelSpec
from pinfer.params import SamplingParams
from pinfer.request.state import Lane, Request, Status
from pinfer.request.transitions import start


def check_servable(prompt: Sequence[int], params: SamplingParams, spec: ModelSpec) -> None:
    """Raise RequestError on a prompt that the model can never answer so."""
    if not prompt:
        raise RequestError("the prompt is empty; an answer needs at least one token before it")
    if len(prompt) >= spec.context:
        raise RequestError(
            f"the prompt has {len(prompt)} tokens; the model's context holds "
            f"{spec.context}, and an answer needs room"
        )
    if params.forks and spec.markers is None:
        raise RequestError(
            f"mode {params.mode or 'parallel'} needs an adapter that knows the markers; use "
            "mode linear, or dialect paper"
        )


def admit(request: Request, spec: ModelSpec, others: int = 0) -> None:
    """Let waiting branches in while there are places; their headers are fed.

    others: live lanes of other requests, whose rows are in the same passes. A branch always starts
    where the request has no live lane.
    """
    while ready := _find_ready(request):
        for started, lane in enumerate(ready):
            if request.live and not _places(request, len(ready) - started, spec, others):
                return
            request.waiting.remove(lane)
            waiting = len(request.waiting)
            start(lane, spec)
            if lane.status is Status.CLOSED or len(request.waiting) != waiting:
                break  # there was no room for a token of it, and others may have their turn now


def _places(request: Request, ready: int, spec: ModelSpec, others: int) -> int:
    """How many of `ready` branches may start beside what is live."""
    params = request.params
    if params.width is not None:
        ready = max(0, min(ready, params.width - request.live))
    if spec.cost is None or params.fork == "always":
        return ready
    return spec.cost.worth(others + request.live, ready)


def _find_ready(request: Request) -> list[Lane]:
    """The waiting branches that may start, in order: of a sequential fork the first that has not
    ended."""
    forks = dict.fromkeys(lane.parent.fork for lane in request.waiting)  # type: ignore[union-attr]
    first = {fork: next(x for x in fork.lanes if x.status is not Status.CLOSED) for fork in forks}
    ready = [
        lane
        for lane in request.waiting
        if not (fork := lane.parent.fork).sequential or lane is first[fork]  # type: ignore[union-attr]
    ]
    return sorted(ready, key=lambda lane: lane.path)
