"""Branches as lanes of an engine's request: a search node is a path of lanes in the one sequence.

A thought's lane closes and stays cached; children open under it later, and read it where it lies.
What is dropped gives its tokens back, by reference count. The request ends without a join.
"""

from collections.abc import Callable

from pbranch.errors import RequestError
from pbranch.format.grammar import LaneState
from pbranch.hf.segment_codec import SegmentCodec
from pinfer.model_spec import ModelSpec
from pinfer.params import SamplingParams
from pinfer.request.controller import Schedule
from pinfer.request.state import Lane, LiveFork, Logprob
from pinfer.request.stop_strings import StopMatcher, truncate_at_stop
from pinfer.request.transitions import append, end_branch, finish, open_branches, prune
from pinfer.search.tree.branch import Branch
from pinfer.search.tree.tree_search import TreeSearch


class LaneBranches:
    """`Branches` over the lanes of one request; also the controller of its trunk, the prompt.

    rows: cached tokens that the tree may hold at once; schedule: which branches each pass serves,
    None: all. `search` is set before the request is queued. The one token that is sampled behind
    the prompt is no text: in its place the tree begins.
    """

    drafts = False

    def __init__(self, codec: SegmentCodec, rows: int, schedule: Schedule | None = None) -> None:
        self.codec, self.rows, self.schedule = codec, rows, schedule
        self.search: TreeSearch
        self.spec: ModelSpec
        self.lanes: dict[Branch, Lane] = {}
        self.branches: dict[Lane, Branch] = {}
        self.opened: Callable[[Branch, Lane], None] = lambda branch, lane: None  # who wants to know
        self.held = 0  # tokens that the open and closed branches may come to hold

    def on_token(self, lane: Lane, token: int, logprob: Logprob | None, spec: ModelSpec) -> None:
        """As `LaneController`: the prompt is read."""
        self.spec = spec
        self.lanes[self.search.root.branch] = lane
        self.search.start()
        self._finish(lane)

    def on_branch_end(self, lane: Lane, branch: Lane, spec: ModelSpec) -> None:
        """As `LaneController`, for the trunk and for all lanes below it."""
        self.search.take(self.branches[branch])
        self._finish(lane)

    def on_close(self, lane: Lane, spec: ModelSpec) -> None:
        """As `LaneController`: a prompt has nothing to be closed."""

    def kv_per_token(self, params: SamplingParams) -> int:
        """As `LaneController`: the one token of the budget brings the whole tree."""
        return self.rows

    def fallback(self, lane: Lane) -> str | None:
        """As `LaneController`."""
        return None

    def open(self, branch: Branch) -> None:
        """As `Branches`."""
        assert branch.parent is not None
        parent = self.lanes[branch.parent]
        header = self.codec.encode(branch.header)
        expected = self.codec.encode(branch.expected)
        if not header:
            raise RequestError(f"a {branch.phase} begins with no token: {branch.header!r}")
        self.held += len(header) + len(expected) + branch.tokens
        if self.held > self.rows:
            raise RequestError(
                f"the search needs more than the {self.rows} cached tokens set aside for it"
            )
        fork = parent.fork if parent.forks else LiveFork(parent.position - 1, [])
        (lane,) = open_branches(
            parent,
            fork,
            [[*header, *expected]],
            self.spec.context - 1,
            [LaneOfSearch(branch, self)],
            share=(branch.tokens + bool(expected), f"{branch.phase}_tokens"),
            scored=bool(expected),
            first=branch.number,
        )
        lane.state.grammar = LaneState.TRUNK_FLAT  # markers are barred
        if branch.stop:
            lane.state.stops = StopMatcher(self.codec.decode, branch.stop)
        self.lanes[branch], self.branches[lane] = lane, branch
        self.opened(branch, lane)

    def drop(self, branch: Branch) -> int:
        """As `Branches`."""
        top = self.lanes[branch]
        gone = [top, *(lane for fork in top.forks for lane in fork.all_lanes())]
        prune(top)
        count = 0
        for lane in gone:
            left = self.branches.pop(lane)
            del self.lanes[left]
            self.held -= lane.header.length + left.tokens
            count += _count_tokens(lane)
        return count

    def _finish(self, lane: Lane) -> None:
        if self.search.done:
            finish(lane.request, "stop")


class LaneOfSearch:
    """The controller of one branch's lane: plain text up to a stop string, the model's end of a
    text, or as many tokens as it may have."""

    drafts = True
    schedule = None

    def __init__(self, branch: Branch, branches: LaneBranches) -> None:
        self.branch, self.branches = branch, branches
        self.tokens: list[int] = []

    def on_token(self, lane: Lane, token: int, logprob: Logprob | None, spec: ModelSpec) -> None:
        """As `LaneController`."""
        if self.branch.expected:  # it is scored; what follows it is not asked for
            self._close(lane, spec)
            return
        if token in spec.end_of_text:
            self.branch.ended = True
            self._close(lane, spec)
            return
        lane.items.append((token, False))
        lane.state.seen.add(token)
        self.tokens.append(token)
        stops = lane.state.stops
        if stops is not None:
            stops.push(token)
        room = lane.position + 1 + lane.in_branch <= lane.budget.last_position
        last = (stops is not None and stops.matched) or lane.budget.tokens <= 0 or not room
        append(lane, token, sampled=not last)
        if last:
            self._close(lane, spec)

    def on_close(self, lane: Lane, spec: ModelSpec) -> None:
        """As `LaneController`."""
        self._close(lane, spec)

    def on_branch_end(self, lane: Lane, branch: Lane, spec: ModelSpec) -> None:
        """As `LaneController`."""
        self.branches.on_branch_end(lane, branch, spec)

    def kv_per_token(self, params: SamplingParams) -> int:
        """As `LaneController`."""
        return 1

    def fallback(self, lane: Lane) -> str | None:
        """As `LaneController`."""
        return None

    def _close(self, lane: Lane, spec: ModelSpec) -> None:
        branch = self.branch
        if branch.tokens:
            branch.text = truncate_at_stop(self.branches.codec.decode(self.tokens), branch.stop)
        if branch.expected:
            first = lane.header.length - len(self.branches.codec.encode(branch.expected))
            found = [lane.logprobs.get(i) for i in range(first, lane.header.length)]
            scored = [x.logprob for x in found if x is not None]
            branch.logprob = sum(scored) if len(scored) == len(found) else None
        end_branch(lane, spec)


def _count_tokens(lane: Lane) -> int:
    """Of a lane itself, without what it reads."""
    begin = lane.parent.position if lane.parent is not None else 0
    return lane.position - begin
