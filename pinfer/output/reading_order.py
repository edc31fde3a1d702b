"""Events as plain text in reading order: each branch as soon as all before it have ended."""

from dataclasses import dataclass, field

from pbranch.format.tree import SEPARATOR
from pinfer.output.events import BranchEnded, BranchStarted, Event, Joined, TokenEvent
from pinfer.request.state import Path


@dataclass(slots=True)
class _Block:
    branches: list["_Text"] = field(default_factory=list)
    joined: bool = False


@dataclass(slots=True)
class _Text:
    """What is known of a lane's text."""

    parts: list[str | _Block] = field(default_factory=list)
    separator: str = SEPARATOR
    ended: bool = False

    def known(self) -> tuple[str, bool]:
        """The text that no other branch's text can come before, and whether that is all of it."""
        text = ""
        for part in self.parts:
            if isinstance(part, str):
                text += part
                continue
            for i, branch in enumerate(part.branches):
                inner, ended = branch.known()
                text += branch.separator * (i > 0) + inner
                if not ended:
                    return text, False
            if not part.joined:
                return text, False
        return text, self.ended


class InOrder:
    """Turns events into pieces of text which, joined, are the answer's plain text: each branch as
    soon as all before it have ended."""

    def __init__(self) -> None:
        self._lanes: dict[Path, _Text] = {(): _Text()}
        self._given = 0

    def feed(self, event: Event) -> str:
        """The text that this event makes known."""
        if isinstance(event, TokenEvent):
            self._lanes[event.lane].parts.append(event.text)
        elif isinstance(event, BranchStarted):
            branch = self._lanes[event.lane] = _Text(separator=event.separator)
            self._block(event.lane[:-1], first=event.lane[-1][1] == 0).branches.append(branch)
        elif isinstance(event, BranchEnded):
            self._lanes[event.lane].ended = True
        elif isinstance(event, Joined):
            self._block(event.lane).joined = True
        text, _ = self._lanes[()].known()
        piece, self._given = text[self._given :], len(text)
        return piece

    def _block(self, lane: Path, first: bool = False) -> _Block:
        """The newest block of a lane; a new one for its first branch."""
        parts = self._lanes[lane].parts
        if first:
            parts.append(_Block())
        block = parts[-1]
        assert isinstance(block, _Block), "no text of a lane comes between its branches"
        return block
