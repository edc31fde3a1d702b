"""The state of a request while it is decoded: lanes, blocks, and rows waiting to be fed.

A lane is the trunk or one branch. Plain state: `transitions.py` changes it. No tensors.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple, Protocol

from pbranch.format.grammar import LaneState
from pinfer.model_spec import Rules
from pinfer.params import SamplingParams
from pinfer.request.stop_strings import StopWatch

Path = tuple[tuple[int, int], ...]  # ((block, branch), …) from the trunk down


class Logprob(NamedTuple):
    """Of a drawn token under the bare model, and (token, logprob) of the best ones, best first."""

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class Script(Protocol):
    """A dialect's hand in a lane: what drawn tokens mean where no markers say it."""

    title: str  # of a branch: what the outline calls it,
    colon: str  # and what stands behind that in its header

    def take(self, lane: "Lane", token: int, logprob: Logprob | None, rules: Rules) -> None:
        """A token was drawn for the lane."""

    def close(self, lane: "Lane", rules: Rules) -> None:
        """The lane ends here, well-formed."""


class Status(Enum):
    """Life of a lane."""

    WAITING = auto()  # for a place among the lanes decoded at once
    LIVE = auto()
    JOINING = auto()  # its branches are being decoded
    CLOSED = auto()


@dataclass(slots=True, eq=False)
class Row:
    """One token to be fed: its lane, its position, and whether the lane's next token is drawn
    from what the model says there. `home` holds the row: the lane, or its hidden outline."""

    lane: "Lane"
    home: "Lane"
    token: int
    position: int
    draws: bool = True
    joins: bool = False  # from it on, the lane sees the rows that its newest block kept from it


@dataclass(slots=True, eq=False)
class Block:
    """A fork's branches; `spawn` is the position of its spawn row; `outline` holds the rows of an
    outline that the branches do not see (branch 0 .. n-1 are lanes, the outline is branch -1)."""

    spawn: int
    topics: list[list[int]]
    lanes: list["Lane"] = field(default_factory=list)
    outline: "Lane | None" = None
    in_order: bool = False  # not worth a fork: one branch at a time
    joined: bool = False
    reencoded: bool = False  # its branches' text was fed again in the lane that it stands in
    start: int | None = None  # position of that text, where it is not right behind the spawn row
    lead: list[int] = field(default_factory=list)  # what is fed again in front of it
    gap: list[int] = field(default_factory=list)  # of a dialect: behind each branch
    close: list[int] = field(default_factory=list)  # of a dialect: behind the last one

    @property
    def hidden(self) -> list["Lane"]:
        """All whose rows the lane sees behind the block, and did not see in it."""
        lanes = [] if self.reencoded else self.lanes
        return lanes if self.outline is None else [self.outline, *lanes]

    def rows(self) -> Iterator[tuple[int, bool, Logprob | None]]:
        """(token, forced, logprob where asked for) of its branches and what stands between."""
        for lane in self.lanes:
            yield from lane.rows()
            yield from ((token, True, None) for token in self.gap)
        yield from ((token, True, None) for token in self.close)

    def all_lanes(self) -> Iterator["Lane"]:
        """Its branches and all that is below them, hidden outlines included."""
        for lane in self.lanes:
            yield lane
            for block in (i for i in lane.items if isinstance(i, Block)):
                yield from block.all_lanes()
                yield from (block.outline,) if block.outline else ()


@dataclass(slots=True, eq=False)
class Lane:
    """One line of text being decoded, in the order `items`: (token, forced) pairs and blocks."""

    request: "Request"
    path: Path
    parent: "Lane | None"
    position: int  # of the next row
    last_position: int  # that its last row may take, so that all joins stay within the context
    budget: int  # tokens that may still be drawn in it and below it
    state: LaneState
    budget_name: str = "max_new_tokens"
    status: Status = Status.WAITING
    items: list["tuple[int, bool] | Block"] = field(default_factory=list)
    header: int = 0  # leading items that are a branch's marker and topic
    topics: list[list[int]] = field(default_factory=list)  # of the outline being written
    outline: "Lane | None" = None  # holds the rows of that outline where branches do not see it
    logprobs: dict[int, "Logprob"] = field(default_factory=dict)  # by index in `items`
    seen: set[int] = field(default_factory=set)  # tokens it sees, markers and injected ones exempt
    watch: "StopWatch | None" = None  # where the request has stop strings
    script: Script | None = None  # where a dialect stands in for the markers
    used: int = 0  # tokens drawn in it and below it
    drawn: int = 0  # tokens drawn in it
    blocks: int = 0
    tail: Row | None = None  # the newest row
    segment: int = -1  # where the arena keeps its rows

    @property
    def in_branch(self) -> bool:
        """Not the trunk."""
        return self.parent is not None

    @property
    def block(self) -> Block:
        """The newest block."""
        return next(i for i in reversed(self.items) if isinstance(i, Block))

    def critical_path(self) -> int:
        """Drawn tokens that had to wait for one another."""
        blocks = (i for i in self.items if isinstance(i, Block))
        return self.drawn + sum(max(c.critical_path() for c in b.lanes) for b in blocks)

    def tokens(self) -> Iterator[tuple[int, bool]]:
        """(token, forced) in text order, branches included."""
        return ((token, forced) for token, forced, _ in self.rows())

    def rows(self) -> Iterator[tuple[int, bool, Logprob | None]]:
        """(token, forced, logprob where asked for) in text order, branches included."""
        for i, item in enumerate(self.items):
            if isinstance(item, Block):
                yield from item.rows()
            else:
                yield (*item, self.logprobs.get(i))

    def visible_tokens(self) -> set[int]:
        """Tokens that a repetition penalty looks at when the lane draws."""
        return self.seen | self.outline.seen if self.outline else self.seen


@dataclass(slots=True, eq=False)
class Request:
    """One prompt being answered. `queue`: rows to feed, in an order in which each row's
    visible rows come before it."""

    number: int
    prompt: list[int]
    params: SamplingParams
    trunk: Lane = None  # type: ignore[assignment]
    queue: deque[Row] = field(default_factory=deque)
    lanes: list[Lane] = field(default_factory=list)  # all that were opened, in order of opening
    outlines: list[Lane] = field(default_factory=list)  # hidden ones, see `Block.outline`
    waiting: list[Lane] = field(default_factory=list)
    live: int = 0
    finish_reason: str | None = None
    limits: list[str] = field(default_factory=list)
    interventions: int = 0
    prefilled: int = 0  # prompt rows fed, by it or by those whose rows it shares
    source: "Request | None" = None  # whose prompt begins alike, for `shared` rows
    shared: int = 0
    users: int = 0  # requests whose source it is
    left: list[tuple[Lane, int]] = field(default_factory=list)  # from the next pass on, lanes keep
    # so many rows from the first on: nobody sees those behind
    rows_left: int = 0  # that were in the cache and are not any more
    rows_per_token: int = 4  # cached for each drawn token, at most
    fallback: str | None = None  # why a dialect's block, and all behind it, was decoded plainly
    prefix: list[tuple[int, int]] = field(default_factory=list)  # (segment, rows) shared with it
    prefix_rows: int = 0
    passes: int = 0
    rows: int = 0
    widest: int = 0
    started: float = 0.0
    first_token: float = 0.0
    finished: float = 0.0

    def note(self, limit: str) -> None:
        """Name a limit that changed the text."""
        if limit not in self.limits:
            self.limits.append(limit)
