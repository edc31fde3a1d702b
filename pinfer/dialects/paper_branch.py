"""One branch in the dialect of arXiv 2503.20533: plain text up to the next mark. Host logic."""

import re

from pbranch.format.grammar import LaneState
from pbranch.format.paper_dialect import MARK
from pinfer.dialects.paper_marks import PaperMarks, UncommittedTokens
from pinfer.model_spec import ModelSpec
from pinfer.params import SamplingParams
from pinfer.request.state import Discard, Lane, Logprob
from pinfer.request.transitions import append, check_room, end_branch

# what a body may end with and not be known to end: the white space before a mark, a part of one, a
# character not complete
_MAY_END_A_BODY = re.compile(r"\s*(?:\ufffd|#{1,3})?\Z")


class PaperBranch:
    """Of a branch: it ends where the next mark stands, and white space before that goes."""

    drafts = False
    schedule = None

    def __init__(self, marks: PaperMarks) -> None:
        self.held = UncommittedTokens(marks)

    def kv_per_token(self, params: SamplingParams) -> int:
        """As `LaneController`."""
        return self.held.marks.kv_per_token

    def fallback(self, lane: Lane) -> str | None:
        """As `LaneController`."""
        return None

    def on_token(self, lane: Lane, token: int, logprob: Logprob | None, spec: ModelSpec) -> None:
        """As `LaneController`."""
        request = lane.request
        ends = token in spec.end_of_text
        if ends or token in request.params.stop_token_ids:
            request.note("eos_in_branch" if ends else "stop_in_branch")
            self.on_close(lane, spec)
            return
        self.held.push(token, logprob)
        lane.state.seen.add(token)
        text = self.held.text
        at = text.find(MARK)
        if at >= 0:
            self._end(lane, len(text[:at].rstrip()), spec)
            return
        append(lane, token)
        lane.state.grammar = LaneState.TRUNK_FLAT
        self.held.commit_whole_tokens(lane, _MAY_END_A_BODY)
        if lane.state.stops and lane.state.stops.matched:
            request.note("stop_in_branch")
            self.on_close(lane, spec)
        else:
            check_room(lane, spec)

    def on_close(self, lane: Lane, spec: ModelSpec) -> None:
        """As `LaneController`: the branch ends with what it has."""
        self._end(lane, len(self.held.text.rstrip()), spec)

    def on_branch_end(self, lane: Lane, branch: Lane, spec: ModelSpec) -> None:
        """As `LaneController`: a branch of this dialect has none of its own."""

    def _end(self, lane: Lane, at: int, spec: ModelSpec) -> None:
        """The first `at` characters that are held are its last ones."""
        rest = self.held.commit_text(lane, at)
        lane.items += [(token, True) for token in rest]
        lane.request.effects.append(Discard((lane,)))
        end_branch(lane, spec)
