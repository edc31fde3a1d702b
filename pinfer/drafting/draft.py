"""The contract of drafting: what a source is asked for before a pass, and what it answers.

A source decides how many passes an answer takes, never what it says: see `verification.verify`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from pinfer.model_spec import ModelSpec
from pinfer.params import EngineLimits
from pinfer.request.state import Lane, QueuedToken, Request


class Proposal(NamedTuple):
    """A drafted token, and the probabilities (vocabulary,) that it was drawn from."""

    token: int
    distribution: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """Guesses of what follows a lane's newest token, in order.

    distributions: (n, vocabulary) probabilities that each token was really drawn from, after
    temperature, top-k and all else, with noise of its own. None: nothing was drawn; the tokens are
    a function of what was known. There is no third case: an argmax is not a draw.

    A source that stops at a token because of what it is (a marker, one that it doubts) leaves that
    token in its draft. If it took it out, the others would no longer be distributed as they say.
    """

    tokens: Sequence[int] = ()
    distributions: Tensor | None = None

    def __post_init__(self) -> None:
        q, n = self.distributions, len(self.tokens)
        if q is None:
            return
        if q.ndim != 2 or len(q) != n:
            raise ValueError(f"a draft of {n} tokens: distributions {tuple(q.shape)}, not ({n}, V)")
        for i, token in enumerate(self.tokens):
            if not q[i, token] > 0:
                raise ValueError(f"a draft of token {token}, which its distribution never draws")

    def proposal(self, i: int) -> Proposal | None:
        """Guess `i` with its distribution; None where it has none, or there is no such guess."""
        if self.distributions is None or i >= len(self.tokens):
            return None
        return Proposal(self.tokens[i], self.distributions[i])


class Wish(NamedTuple):
    """A lane whose next tokens may be guessed, up to `most` of them."""

    lane: Lane
    most: int


class DraftSource(Protocol):
    """Guesses what lanes say next."""

    def propose(self, wishes: Sequence[Wish]) -> Sequence[Draft]:
        """A draft for each wish, in order; asked once before each pass."""

    def forget(self, request: Request) -> None:
        """A request has ended; what is known of its lanes may go."""


class Follower:
    """What a source may hear of besides: passes, and what becomes of the tokens that they feed. A
    source that wants to know derives from this class; a method that is not overridden does nothing.

    token_bytes: that it caches for each token of a request."""

    token_bytes = 0

    def begin(self, spec: ModelSpec, limits: EngineLimits) -> None:
        """An engine of this model and these limits asks from now on."""

    def coming(self, tokens: Sequence[QueuedToken], rows: int) -> None:
        """What the next pass feeds, and how many guesses it has rows for; before `propose`."""

    def feeding(self, tokens: Sequence[QueuedToken]) -> None:
        """All that the pass feeds, guesses included; after `propose`."""

    def passed(self, rows: int, seconds: float) -> None:
        """The pass fed so many tokens, guesses included, and took so long, sampling included;
        before anything sampled is handed to its lane."""

    def shared(self, lane: Lane, tokens: int) -> None:
        """The first tokens of its prompt are cached for a trunk already; no pass feeds them."""

    def truncated(self, lane: Lane, tokens: int) -> None:
        """The last tokens fed for a lane, or a hidden outline, have left."""

    def discarded(self, lane: Lane) -> None:
        """All tokens fed for a lane, or a hidden outline, have left."""

    def reset(self) -> None:
        """The engine begins anew: nothing of what it fed is left, whatever state that was in."""

    def check(self) -> None:
        """Raise AssertionError where an exception has left what it keeps inconsistent."""

    def followers(self) -> list["Follower"]:
        """Itself, and those that it stands for."""
        return [self]
