"""The contract of what drives a lane: what a sampled token means, and what happens when lanes end.

The markers are one controller (`marker_controller.MARKERS`), the paper's marks another, tree search
a third. A controller changes lanes through the functions of transitions.py alone.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from pinfer.model_spec import ModelSpec
from pinfer.params import SamplingParams

if TYPE_CHECKING:
    from pinfer.request.state import Lane, Logprob


class Schedule(Protocol):
    """Serves branches in the order in which they came, or in another one."""

    def choose(self, rows: Sequence[int], live: int) -> Sequence[int]:
        """Which of the waiting branches are served, by their places; none: wait for more. rows: how
        many each would feed, the one that came first first; live: branches that are not yet at
        their end, waiting or not."""


class LaneController(Protocol):
    """Decides what becomes of the tokens that are sampled for a lane."""

    drafts: bool
    """Whether the lane's next tokens may be guessed: a sampled token that is ordinary text is
    appended as it is, or not at all."""

    @property
    def schedule(self) -> Schedule | None:
        """Of a trunk whose branches are never joined: which of them each pass serves. None: all."""

    def on_token(
        self, lane: "Lane", token: int, logprob: "Logprob | None", spec: ModelSpec
    ) -> None:
        """`token` was sampled for the lane, and is counted in its budget."""

    def on_close(self, lane: "Lane", spec: ModelSpec) -> None:
        """The lane must end here, with well-formed text."""

    def on_branch_end(self, lane: "Lane", branch: "Lane", spec: ModelSpec) -> None:
        """A branch of the lane's newest fork has ended: join, open another one, or neither."""

    def kv_per_token(self, params: SamplingParams) -> int:
        """KV slots that each token of the request's budget may bring, itself included, at most."""

    def fallback(self, lane: "Lane") -> str | None:
        """Why branches were allowed and not decoded in parallel; None where they were."""
