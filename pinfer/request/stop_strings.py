"""Stop strings in the text of one segment, while its tokens come in. Knows tokens and texts, no
lanes."""

from collections.abc import Callable, Sequence

from pbranch.hf.segment_codec import INCOMPLETE
from pinfer.params import SamplingParams
from pinfer.request.detokenizer import Decode, Detokenizer


class StopMatcher:
    """Looks for stop strings in the text of one segment, or asks a user's `stop_when`; `matched`
    once there is a stop."""

    def __init__(
        self,
        decode: Decode,
        stops: Sequence[str],
        stop_when: Callable[[str], bool] | None = None,
    ) -> None:
        self._decode, self._stops, self._stop_when = decode, stops, stop_when
        self._segment = Detokenizer(decode)
        self._searched = 0  # characters of `text` in which no stop begins
        self.matched = False
        self.found: str | None = None  # the stop string, where it was one

    def for_new_segment(self) -> "StopMatcher":
        """The same stops, nothing read yet."""
        return StopMatcher(self._decode, self._stops, self._stop_when)

    def push(self, token: int) -> None:
        """Add a token and look again."""
        segment = self._segment
        segment.push(token)
        text = segment.text[self._searched :] + segment.tail.rstrip(INCOMPLETE)
        found = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        self.matched, self.found = bool(found), min(found)[1] if found else None
        longest = max(map(len, self._stops), default=1)
        self._searched = max(0, len(segment.text) - longest + 1)
        if self._stop_when is not None and not self.matched:
            self.matched = self._stop_when(segment.text)


def make_stops(decode: Decode, params: SamplingParams) -> StopMatcher | None:
    """What looks for the stops of a request; None where it has none."""
    if not params.stop and params.stop_when is None:
        return None
    return StopMatcher(decode, params.stop, params.stop_when)


def truncate_at_stop(text: str, stops: Sequence[str]) -> str:
    """`text` up to the first stop string in it."""
    starts = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(starts)] if starts else text


def safe_length(text: str, stops: Sequence[str]) -> int:
    """How many characters of `text` no stop string can still take away."""
    longest = max((len(stop) for stop in stops), default=1)
    for at in range(max(0, len(text) - longest + 1), len(text)):
        if any(stop.startswith(text[at:]) for stop in stops):
            return at
    return len(text)
