"""Events as plain text in reading order: each branch as soon as all before it have ended."""

from collections import deque
from dataclasses import dataclass, field

from pbranch.format.tree import SEPARATOR
from pinfer.output.events import BranchEnded, BranchStarted, Event, Joined, TokenEvent
from pinfer.request.state import Path


@dataclass(slots=True)
class _Block:
    """The branches of a block that are not being read yet; `read`: how many have been entered."""

    branches: deque["_Text"] = field(default_factory=deque)
    read: int = 0
    joined: bool = False


@dataclass(slots=True)
class _Text:
    """What is known of a lane's text and not yet given out."""

    parts: deque[str | _Block] = field(default_factory=deque)
    separator: str = SEPARATOR
    ended: bool = False


class InOrder:
    """Turns events into pieces of text which, joined, are the answer's plain text: each branch as
    soon as all before it have ended. Every piece is looked at once."""

    def __init__(self) -> None:
        trunk = _Text()
        self._lanes: dict[Path, _Text] = {(): trunk}
        self._blocks: dict[Path, _Block] = {}  # the newest one of a lane
        self._reading = [trunk]  # the lane whose text comes next, and those it lies in

    def feed(self, event: Event) -> str:
        """The text that this event makes known."""
        if isinstance(event, TokenEvent):
            self._lanes[event.lane].parts.append(event.text)
        elif isinstance(event, BranchStarted):
            parent = event.lane[:-1]
            if event.lane[-1][1] == 0:
                self._blocks[parent] = _Block()
                self._lanes[parent].parts.append(self._blocks[parent])
            branch = self._lanes[event.lane] = _Text(separator=event.separator)
            self._blocks[parent].branches.append(branch)
        elif isinstance(event, BranchEnded):
            self._lanes[event.lane].ended = True
        elif isinstance(event, Joined):
            self._blocks[event.lane].joined = True
        return "".join(self._read())

    def _read(self) -> list[str]:
        """Go on from where reading stopped, as far as the text is known."""
        pieces: list[str] = []
        while True:
            lane = self._reading[-1]
            part = lane.parts[0] if lane.parts else None
            if isinstance(part, str):
                pieces.append(part)
                lane.parts.popleft()
            elif part is None:
                if not lane.ended:
                    return pieces
                self._reading.pop()
            elif part.branches:
                branch = part.branches.popleft()
                pieces += [branch.separator] * (part.read > 0)
                part.read += 1
                self._reading.append(branch)
            elif part.joined:
                lane.parts.popleft()
            else:
                return pieces
