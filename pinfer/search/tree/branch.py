"""What a tree search decodes, and the contract of what decodes it. Knows no model and no tokens.

A branch goes on where another one has ended, so it reads what lies on the way from the root. Its
path keys its random draws: whoever serves branches, and in whatever order, gets the same texts.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol

# proposals: a list of next thoughts; value: of one thought; vote: among all of a round; answer:
# what a path that is no whole answer comes to
Phase = Literal["thought", "proposals", "value", "vote", "answer"]


@dataclass(slots=True, eq=False, repr=False)
class Branch:
    """A text being decoded: `header`, and up to `tokens` sampled ones behind it (0: the header is
    all of it), until one of the `stop` strings or the model ends it. parent: None of the root,
    which is the prompt. number: its own among all branches of its parent. expected: a text behind
    the header, of which only the logprob is asked.

    Once it is `closed`, `text` is what was sampled, without the stop string; `ended`: whether the
    model ended its answer there; `logprob`: of `expected`.
    """

    parent: "Branch | None"
    number: int
    phase: Phase
    header: str
    tokens: int = 0
    stop: tuple[str, ...] = ()
    expected: str = ""
    text: str = ""
    ended: bool = False
    logprob: float | None = None
    closed: bool = False
    path: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.path = () if self.parent is None else (*self.parent.path, self.number)


def root_branch() -> Branch:
    """The prompt, which is read already."""
    return Branch(None, 0, "thought", "", closed=True)


class Branches(Protocol):
    """Decodes branches. It calls `TreeSearch.take` with each one that has closed."""

    def open(self, branch: Branch) -> None:
        """Decode a branch whose parent is closed."""

    def drop(self, branch: Branch) -> int:
        """A branch and all below it leave, closed or not; returns how many tokens they held."""
