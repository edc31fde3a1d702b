"""Drives lanes in the dialect of arXiv 2503.20533, without training: titles first, then all bodies
in parallel, then all of it again as plain text, and on (the paper's stages 1, 2 and 3).

What cannot be read as a block of two steps or more is decoded plainly from its first mark on, as if
there were no dialect. Host logic over lanes; no tensors.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pbranch.format.grammar import LaneState
from pbranch.format.layout import Outline
from pbranch.format.paper_dialect import CLOSE, COLONS, MARK
from pinfer.dialects.paper_branch import PaperBranch
from pinfer.dialects.paper_marks import PaperMarks, UncommittedTokens
from pinfer.model_spec import ModelSpec
from pinfer.params import SamplingParams
from pinfer.request.fork_policy import is_unprofitable
from pinfer.request.marker_controller import MarkerController
from pinfer.request.state import Header, Lane, LiveFork, Logprob, Status
from pinfer.request.transitions import (
    append,
    branch_share,
    check_room,
    finish,
    join,
    open_branches,
    rewind,
)

_COLON = re.compile("|".join(COLONS))
# what a text may end with and not be known to end: a part of a mark, a character not complete
_MAY_BE_A_MARK = re.compile(r"(?:\ufffd|#{1,3})?\Z")


@dataclass(slots=True)
class _Step:
    title: str
    colon: str
    tokens: list[int]  # of both


@dataclass(slots=True)
class _Titles:
    """A block's titles while they are drawn, and where plain decoding would go on instead."""

    start: int  # position of the token in which the first mark begins
    lead: list[int]  # text in front of the mark in that token
    mark_end: int  # position of the token that completed the mark
    used: int
    budget: int
    seen: set[int]
    before: str  # of the step being read: text behind the mark in the token that completed it
    entry: list[int] = field(default_factory=list)  # its other tokens
    steps: list[_Step] = field(default_factory=list)


class GaveUp(MarkerController):
    """Of a trunk whose outline could not be read: plain text from its first mark on."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def fallback(self, lane: Lane) -> str | None:
        """As `LaneController`."""
        return self.reason


class PaperTrunk:
    """Of a request's trunk. outline: whether branches see the titles of all (`all`), or each but
    its own (`own`, the paper)."""

    drafts = False  # a sampled token may turn out to be a mark
    schedule = None

    def __init__(self, marks: PaperMarks, outline: Outline = "own") -> None:
        self.marks, self.outline, self.held = marks, outline, UncommittedTokens(marks)
        self.titles: _Titles | None = None  # being read

    def kv_per_token(self, params: SamplingParams) -> int:
        """As `LaneController`."""
        return self.marks.kv_per_token

    def fallback(self, lane: Lane) -> str | None:
        """As `LaneController`."""
        return None if lane.forks else "no marks"

    def on_token(self, lane: Lane, token: int, logprob: Logprob | None, spec: ModelSpec) -> None:
        """As `LaneController`."""
        if self.titles is not None:
            self._read(lane, self.titles, token, spec)
            return
        request, budget = lane.request, lane.budget
        self.held.push(token, logprob)
        if token in spec.end_of_text or token in request.params.stop_token_ids:
            self.held.commit(lane)
            finish(request, "stop")
            return
        append(lane, token)
        lane.state.seen.add(token)
        lane.state.grammar = LaneState.TRUNK_FLAT
        text = self.held.text
        at = text.find(MARK)
        if at >= 0 and budget.tokens > 0 and lane.position <= budget.last_position:
            self._open(lane, text, at)
        elif at < 0:
            self.held.commit_whole_tokens(lane, _MAY_BE_A_MARK)
        if lane.state.stops and lane.state.stops.matched:
            finish(request, "stop")
        elif self.titles is None:
            check_room(lane, spec)

    def on_close(self, lane: Lane, spec: ModelSpec) -> None:
        """As `LaneController`: what is known to be text stays, an outline goes."""
        if self.titles is None:
            self.held.commit(lane)

    def on_branch_end(self, lane: Lane, branch: Lane, spec: ModelSpec) -> None:
        """As `LaneController`: after the last one, all of it is fed again as plain text."""
        if all(x.status is Status.CLOSED for x in lane.fork.lanes):
            join(lane, spec)
            check_room(lane, spec)

    def _open(self, lane: Lane, text: str, at: int) -> None:
        """A mark is complete: an outline follows."""
        lead = self.held.commit_text(lane, at)
        after = text[at + len(MARK) :]
        self.titles = _Titles(
            start=lane.position - len(self.held.tokens),
            lead=lead,
            mark_end=lane.position - 1,
            used=lane.budget.used,
            budget=lane.budget.tokens,
            seen=set(lane.state.seen),
            before=after,
        )
        lane.state.grammar = LaneState.TRUNK_FLAT if after else LaneState.TITLE

    def _read(self, lane: Lane, outline: _Titles, token: int, spec: ModelSpec) -> None:
        """A token of the outline."""
        params, steps = lane.request.params, outline.steps
        outline.entry.append(token)
        text = outline.before + self.marks.decode(outline.entry)
        colon = _COLON.search(text)
        title = text[: colon.start()] if colon else text
        if token in spec.end_of_text or token in params.stop_token_ids:
            self._give_up(lane, "its outline does not end")
        elif title.lstrip(" ").startswith(CLOSE):
            self._fork(lane, outline, spec)
        elif MARK in title or "\n" in title:
            self._give_up(lane, "a title without a colon")
        elif len(outline.entry) - bool(colon) > params.max_topic_tokens:
            self._give_up(lane, "a title of more than max_topic_tokens")
        elif colon:
            steps.append(self._step(outline, colon))
            outline.before, outline.entry = "", []
            if len(steps) == params.max_topics:
                self._fork(lane, outline, spec)
                if lane.controller is self:  # else it was given up, and the limit changed nothing
                    lane.request.note("max_topics")
            else:
                self._go_on(lane, [token, *self.marks.omitted], LaneState.TITLE)
        else:
            self._go_on(lane, [token], LaneState.TRUNK_FLAT)

    def _go_on(self, lane: Lane, tokens: Sequence[int], state: LaneState) -> None:
        """Feed what stands in the outline, if there is room for it and a token more."""
        budget = lane.budget
        if budget.tokens <= 0 or lane.position + len(tokens) > budget.last_position:
            self._give_up(lane, "no room for its outline")
            return
        for token in tokens:
            append(lane, token)
        lane.state.grammar = state

    def _step(self, outline: _Titles, colon: re.Match[str]) -> _Step:
        """The step whose title has ended, its seams encoded again."""
        whole, rest = self.marks.cut(outline.entry, max(0, colon.start() - len(outline.before)))
        before = self.marks.encode(outline.before[: colon.start()])
        tokens = [*before, *outline.entry[:whole], *rest, *self.marks.encode(colon[0])]
        return _Step(colon.string[: colon.start()], colon[0], tokens)

    def _give_up(self, lane: Lane, why: str) -> None:
        """Forget the outline; from its first mark on the text is decoded plainly, to the end."""
        outline = self.titles
        assert outline is not None
        token = self.held.tokens[-1]
        self.held.commit(lane)
        lane.controller = GaveUp(f"block {len(lane.forks) + 1}: {why}")
        lane.state.grammar, lane.state.seen = LaneState.TRUNK_FLAT, outline.seen
        lane.budget.used, lane.budget.tokens = outline.used, outline.budget
        rewind(lane, outline.mark_end)
        append(lane, token)

    def _fork(self, lane: Lane, outline: _Titles, spec: ModelSpec) -> None:
        """Open a branch for each title, if there are two, and room for them."""
        n = len(outline.steps)
        if n < 2:
            self._give_up(lane, "one branch" if n else "no branch")
            return
        share = branch_share(lane, n)
        fork = self._new_fork(lane, outline)
        headers = [[*self.marks.mark, *step.tokens] for step in outline.steps]
        room = self._room(lane, outline, fork, headers)
        if share[0] < 1 or room < 1:
            self._give_up(lane, "no room for its branches")
            return
        self._leave(lane, outline)
        fork.sequential = is_unprofitable(fork, lane.request.params, spec)
        controllers = [PaperBranch(self.marks) for _ in headers]
        open_branches(lane, fork, headers, 0, controllers, share)
        for child, step, header in zip(fork.lanes, outline.steps, headers, strict=True):
            child.budget.last_position = fork.spawn + len(header) + room + 1
            child.header = Header(len(header), step.title, step.title + step.colon)
            child.state.grammar = LaneState.BODY

    def _new_fork(self, lane: Lane, outline: _Titles) -> LiveFork:
        topics = [step.tokens for step in outline.steps]
        gap, close = self.marks.gap, self.marks.close
        if self.outline == "own":
            spawn = outline.start + len(outline.lead) - 1
            return LiveFork(spawn, topics, gap=gap, close=close)
        spawn, start = lane.position - 1, outline.start
        return LiveFork(spawn, topics, start=start, lead=outline.lead, gap=gap, close=close)

    def _room(
        self, lane: Lane, outline: _Titles, fork: LiveFork, headers: Sequence[Sequence[int]]
    ) -> int:
        """Tokens that each body may have, so that all fits into the context, and into the KV slots
        that were set aside: titles whose seams are encoded again may have grown."""
        n, request = len(headers), lane.request
        fixed = sum(len(h) + len(fork.gap) for h in headers) + len(fork.close)
        again = outline.start + len(outline.lead) + fixed
        slots = len(request.prompt) + self.marks.kv_per_token * request.params.max_new_tokens
        if max(again, fork.spawn + 1 + fixed) + lane.budget.tokens > slots:
            return 0
        longest = max(map(len, headers))
        last = lane.budget.last_position
        return min((last - again) // n, last - fork.spawn - longest - 1)

    def _leave(self, lane: Lane, outline: _Titles) -> None:
        """Go back to before the outline, or to where branches see it after it."""
        self.held, self.titles = UncommittedTokens(self.marks), None
        state = lane.state
        state.seen, state.grammar = outline.seen, LaneState.TRUNK_FLAT
        state.stops = state.stops and state.stops.for_new_segment()
        lane.items += [(token, True) for token in outline.lead]
        if self.outline == "own":
            rewind(lane, outline.start)
            for token in outline.lead:
                append(lane, token, sampled=False)
