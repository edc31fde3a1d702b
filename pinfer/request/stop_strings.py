"""Text of a segment while its tokens come in, and the stop strings in it.

A character whose bytes are not all there yet is not text. Knows tokens and texts, no lanes.
"""

from collections.abc import Sequence

from pinfer.request.detokenizer import _INCOMPLETE, Decode, SegmentText


class StopWatch:
    """Looks for stop strings in the text of one segment; `found` once there is one."""

    def __init__(self, decode: Decode, stops: Sequence[str]) -> None:
        self._decode, self._stops = decode, stops
        self._segment = SegmentText(decode)
        self._searched = 0  # characters of `text` in which no stop begins
        self.found = False

    def fresh(self) -> "StopWatch":
        """The same for another segment."""
        return StopWatch(self._decode, self._stops)

    def push(self, token: int) -> None:
        """Add a token and look again."""
        segment = self._segment
        segment.push(token)
        text = segment.text[self._searched :] + segment.tail.rstrip(_INCOMPLETE)
        self.found = any(stop in text for stop in self._stops)
        longest = max(map(len, self._stops))
        self._searched = max(0, len(segment.text) - longest + 1)


def cut(text: str, stops: Sequence[str]) -> str:
    """`text` up to the first stop string in it."""
    starts = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(starts)] if starts else text


def settled(text: str, stops: Sequence[str]) -> int:
    """How many characters of `text` no stop string can still take away."""
    longest = max((len(stop) for stop in stops), default=1)
    for at in range(max(0, len(text) - longest + 1), len(text)):
        if any(stop.startswith(text[at:]) for stop in stops):
            return at
    return len(text)
