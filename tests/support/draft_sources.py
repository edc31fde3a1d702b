"""Sources of drafts for tests: a function as a source, and what an earlier run has said."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from pinfer.drafting.draft import Draft, Wish
from pinfer.request.state import Lane, LiveFork, Path, Request


class Guessing:
    """Drafts what `guess` says of a lane, and of how many tokens are wanted at most."""

    def __init__(self, guess: Callable[[Lane, int], Sequence[int] | Draft]) -> None:
        self.guess, self.asked, self.forgotten = guess, 0, list[Request]()

    def propose(self, wishes: Sequence[Wish]) -> list[Draft]:
        self.asked += len(wishes)
        drafts = [self.guess(lane, most) for lane, most in wishes]
        return [x if isinstance(x, Draft) else Draft(x) for x in drafts]

    def forget(self, request: Request) -> None:
        self.forgotten.append(request)


def sampled_tokens(request: Request) -> dict[Path, list[int]]:
    """What was sampled in each lane of a finished request, in order."""
    return {
        lane.path: [i[0] for i in lane.items if not isinstance(i, LiveFork) and not i[1]]
        for lane in request.lanes
    }


def recalling(requests: Sequence[Request], wrong: float = 0.0, seed: int = 0) -> Guessing:
    """Drafts the tokens that an earlier run has sampled, or with probability `wrong` others."""
    known: dict[Any, Any] = {r.number: sampled_tokens(r) for r in requests}
    rng = random.Random(seed)

    def guess(lane: Lane, most: int) -> list[int]:
        at = lane.budget.sampled
        right = known[lane.request.number].get(lane.path, [])[at : at + most]
        return [rng.randrange(16) if rng.random() < wrong else t for t in right]

    return Guessing(guess)
