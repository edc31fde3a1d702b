"""Drives lanes in the dialect of arXiv 2503.20533, without training: titles first, then all bodies
side by side, then all of it again as plain text, and on (the paper's stages 1, 2 and 3).

What cannot be read as a block of two steps or more is decoded plainly from its first mark on, as if
there were no dialect. Host logic over lanes; no tensors.
"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from pbranch.format.grammar import LaneState
from pbranch.format.layout import Outline
from pbranch.format.paper_dialect import CLOSE, COLONS, MARK
from pinfer.dialects.paper_marks import Held, Paper
from pinfer.model_spec import Rules
from pinfer.request.fork_policy import promises_little
from pinfer.request.state import Block, Lane, Logprob, Request, Status
from pinfer.request.transitions import check_room, feed, finish, join_when_done, open_block

_COLON = re.compile("|".join(COLONS))
# what a text may end with and not be known to end: a part of a mark, a character not complete, and
# in a body the white space in front of a mark
_MAY_BE_A_MARK = re.compile(r"(?:\ufffd|#{1,3})?\Z")
_MAY_END_A_BODY = re.compile(r"\s*(?:\ufffd|#{1,3})?\Z")


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
    row: int  # position of the token that completed the mark
    used: int
    budget: int
    seen: set[int]
    before: str  # of the step being read: text behind the mark in the token that completed it
    entry: list[int] = field(default_factory=list)  # its other tokens
    steps: list[_Step] = field(default_factory=list)


class TrunkScript:
    """Of a request's trunk. outline: whether branches see the titles of all (`all`), or each but
    its own (`own`, the paper)."""

    title = colon = ""

    def __init__(self, paper: Paper, outline: Outline = "own") -> None:
        self.paper, self.outline, self.held = paper, outline, Held(paper)
        self.open: _Titles | None = None  # being read

    def take(self, lane: Lane, token: int, logprob: Logprob | None, rules: Rules) -> None:
        """A token was drawn for the trunk."""
        if self.open is not None:
            self._read(lane, self.open, token, rules)
            return
        request = lane.request
        if token in rules.end_of_text or token in request.params.stop_token_ids:
            self.held.push(token, logprob)
            self.held.settle(lane)
            finish(request, "stop")
            return
        self.held.push(token, logprob)
        feed(lane, token)
        lane.seen.add(token)
        lane.state = LaneState.TRUNK_FLAT
        text = self.held.text
        at = text.find(MARK)
        if at >= 0 and lane.budget > 0 and lane.position <= lane.last_position:
            self._open(lane, text, at)
        elif at < 0:
            self.held.settle_whole(lane, _MAY_BE_A_MARK)
        if lane.watch and lane.watch.found:
            finish(request, "stop")
        elif self.open is None:
            check_room(lane, rules)

    def close(self, lane: Lane, rules: Rules) -> None:
        """What is known to be text stays; an outline goes."""
        if self.open is None:
            self.held.settle(lane)

    def _open(self, lane: Lane, text: str, at: int) -> None:
        """A mark is complete: an outline follows."""
        lead = self.held.settle_text(lane, at)
        after = text[at + len(MARK) :]
        self.open = _Titles(
            start=lane.position - len(self.held.tokens),
            lead=lead,
            row=lane.position - 1,
            used=lane.used,
            budget=lane.budget,
            seen=set(lane.seen),
            before=after,
        )
        lane.state = LaneState.TRUNK_FLAT if after else LaneState.TITLE

    def _read(self, lane: Lane, outline: _Titles, token: int, rules: Rules) -> None:
        """A token of the outline."""
        params, steps = lane.request.params, outline.steps
        outline.entry.append(token)
        text = outline.before + self.paper.decode(outline.entry)
        colon = _COLON.search(text)
        title = text[: colon.start()] if colon else text
        if token in rules.end_of_text or token in params.stop_token_ids:
            self._give_up(lane, "its outline does not end")
        elif title.lstrip(" ").startswith(CLOSE):
            self._spawn(lane, outline, rules)
        elif MARK in title or "\n" in title:
            self._give_up(lane, "a title without a colon")
        elif len(outline.entry) - bool(colon) > params.max_topic_tokens:
            self._give_up(lane, "a title of more than max_topic_tokens")
        elif colon:
            steps.append(self._step(outline, colon))
            outline.before, outline.entry = "", []
            if len(steps) == params.max_topics:
                self._spawn(lane, outline, rules)
                if lane.script is self:  # else it was given up, and the limit changed nothing
                    lane.request.note("max_topics")
            else:
                self._go_on(lane, [token, *self.paper.omitted], LaneState.TITLE)
        else:
            self._go_on(lane, [token], LaneState.TRUNK_FLAT)

    def _go_on(self, lane: Lane, tokens: Sequence[int], state: LaneState) -> None:
        """Feed what stands in the outline, if there is room for it and a token more."""
        if lane.budget <= 0 or lane.position + len(tokens) > lane.last_position:
            self._give_up(lane, "no room for its outline")
            return
        for token in tokens:
            feed(lane, token)
        lane.state = state

    def _step(self, outline: _Titles, colon: re.Match[str]) -> _Step:
        """The step whose title has ended, its seams encoded anew."""
        whole, rest = self.paper.cut(outline.entry, max(0, colon.start() - len(outline.before)))
        before = self.paper.encode(outline.before[: colon.start()])
        tokens = [*before, *outline.entry[:whole], *rest, *self.paper.encode(colon[0])]
        return _Step(colon.string[: colon.start()], colon[0], tokens)

    def _give_up(self, lane: Lane, why: str) -> None:
        """Forget the outline; from its first mark on the text is decoded plainly, to the end."""
        request, outline = lane.request, self.open
        assert outline is not None
        request.fallback = f"block {lane.blocks + 1}: {why}"
        token = self.held.tokens[-1]
        self.held.settle(lane)
        lane.script, lane.state = None, LaneState.TRUNK_FLAT
        lane.used, lane.budget, lane.seen = outline.used, outline.budget, outline.seen
        request.left.append((lane, outline.row))
        lane.position = outline.row
        feed(lane, token)

    def _spawn(self, lane: Lane, outline: _Titles, rules: Rules) -> None:
        """Open a branch for each title, if there are two, and room for them."""
        request, params, n = lane.request, lane.request.params, len(outline.steps)
        if n < 2:
            self._give_up(lane, "one branch" if n else "no branch")
            return
        share, name = lane.budget // n, lane.budget_name
        if params.max_branch_tokens is not None and params.max_branch_tokens < share:
            share, name = params.max_branch_tokens, "max_branch_tokens"
        block = self._block(lane, outline)
        headers = [[*self.paper.mark, *step.tokens] for step in outline.steps]
        room = self._room(lane, outline, block, headers)
        if share < 1 or room < 1:
            self._give_up(lane, "no room for its branches")
            return
        self._leave(lane, outline)
        for i, (step, header) in enumerate(zip(outline.steps, headers, strict=True)):
            path = (*lane.path, (lane.blocks, i))
            child = Lane(request, path, lane, block.spawn + 1, 0, share, LaneState.BODY, name)
            child.last_position = block.spawn + len(header) + room + 1
            child.seen, child.watch = set(lane.seen), lane.watch and lane.watch.fresh()
            child.items, child.header = [(token, True) for token in header], len(header)
            child.script = BranchScript(self.paper, step.title, step.colon)
            block.lanes.append(child)
        block.in_order = promises_little(block, params, rules)
        open_block(lane, block)

    def _block(self, lane: Lane, outline: _Titles) -> Block:
        topics, gap, close = [s.tokens for s in outline.steps], self.paper.gap, self.paper.close
        if self.outline == "own":
            spawn = outline.start + len(outline.lead) - 1
            return Block(spawn, topics, gap=gap, close=close)
        spawn, start = lane.position - 1, outline.start
        return Block(spawn, topics, start=start, lead=outline.lead, gap=gap, close=close)

    def _room(
        self, lane: Lane, outline: _Titles, block: Block, headers: Sequence[Sequence[int]]
    ) -> int:
        """Tokens that each body may have, so that all fits into the context, and into the cached
        rows that were set aside: titles whose seams are encoded anew may have grown."""
        n, request = len(headers), lane.request
        fixed = sum(len(h) + len(block.gap) for h in headers) + len(block.close)
        again = outline.start + len(outline.lead) + fixed
        rows = len(request.prompt) + request.rows_per_token * request.params.max_new_tokens
        if max(again, block.spawn + 1 + fixed) + lane.budget > rows:
            return 0
        longest = max(map(len, headers))
        last = lane.last_position
        return min((last - again) // n, last - block.spawn - longest - 1)

    def _leave(self, lane: Lane, outline: _Titles) -> None:
        """Go back to in front of the outline, or where branches see it behind it."""
        self.held, self.open = Held(self.paper), None
        lane.seen, lane.state = outline.seen, LaneState.TRUNK_FLAT
        lane.watch = lane.watch and lane.watch.fresh()
        lane.items += [(token, True) for token in outline.lead]
        if self.outline == "own":
            lane.request.left.append((lane, outline.start))
            lane.position = outline.start
            for token in outline.lead:
                feed(lane, token)
        if lane.tail is not None:
            lane.tail.draws = False


class BranchScript:
    """Of a branch: it ends where the next mark stands, and white space in front of that goes."""

    def __init__(self, paper: Paper, title: str, colon: str) -> None:
        self.title, self.colon, self.held = title, colon, Held(paper)

    def take(self, lane: Lane, token: int, logprob: Logprob | None, rules: Rules) -> None:
        """A token was drawn for the branch."""
        request = lane.request
        ends = token in rules.end_of_text
        if ends or token in request.params.stop_token_ids:
            request.note("eos_in_branch" if ends else "stop_in_branch")
            self.close(lane, rules)
            return
        self.held.push(token, logprob)
        lane.seen.add(token)
        text = self.held.text
        at = text.find(MARK)
        if at >= 0:
            self._end(lane, len(text[:at].rstrip()), rules)
            return
        feed(lane, token)
        lane.state = LaneState.TRUNK_FLAT
        self.held.settle_whole(lane, _MAY_END_A_BODY)
        if lane.watch and lane.watch.found:
            request.note("stop_in_branch")
            self.close(lane, rules)
        else:
            check_room(lane, rules)

    def close(self, lane: Lane, rules: Rules) -> None:
        """The branch ends with what it has."""
        self._end(lane, len(self.held.text.rstrip()), rules)

    def _end(self, lane: Lane, at: int, rules: Rules) -> None:
        """The first `at` characters that are held are its last ones."""
        rest = self.held.settle_text(lane, at)
        lane.items += [(token, True) for token in rest]
        request = lane.request
        request.queue = deque(row for row in request.queue if row.lane is not lane)
        lane.status = Status.CLOSED
        request.live -= 1
        assert lane.parent is not None
        join_when_done(lane.parent, rules)


def fallback(request: Request) -> str | None:
    """Why branches that a dialect allows were not decoded side by side, in whole or in part."""
    if request.params.dialect == "native" or not request.params.may_branch:
        return None
    return request.fallback or (None if request.trunk.blocks else "no marks")
