"""What a stream says while a request is decoded, and its plain text in reading order.

`lane` is a path: () is the trunk, ((block, branch), …) leads down to a branch.
"""

from dataclasses import dataclass

from pbranch.format.tree import SEPARATOR
from pinfer.output.generation import Generation
from pinfer.request.state import Path


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """More text of a lane; a branch's text begins with its topic."""

    lane: Path
    text: str


@dataclass(frozen=True, slots=True)
class BranchStarted:
    """A branch is being decoded from now on."""

    lane: Path
    topic: str
    separator: str = SEPARATOR  # in plain text, in front of a branch that is not the first


@dataclass(frozen=True, slots=True)
class BranchEnded:
    """A branch has all its text."""

    lane: Path


@dataclass(frozen=True, slots=True)
class Joined:
    """All branches of the lane's newest block have ended; the lane goes on."""

    lane: Path


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event: the whole answer."""

    generation: Generation


Event = TokenEvent | BranchStarted | BranchEnded | Joined | Finished
