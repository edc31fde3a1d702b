"""The state of a request while it is decoded: its lanes, their forks, and the tokens to be fed.

A lane is the trunk or one branch. Plain state: what happens to it is in transitions.py. No tensors.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from pbranch.format.grammar import LaneState
from pinfer.params import SamplingParams
from pinfer.request.controller import LaneController
from pinfer.request.stats import RequestStats
from pinfer.request.stop_strings import StopMatcher

Path = tuple[tuple[int, int], ...]  # ((fork, branch), …) from the trunk down


def hash_tokens(tokens: Sequence[int]) -> int:
    """64 bits that tell token sequences apart, the same on every machine."""
    text = ",".join(map(str, tokens))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class Logprob(NamedTuple):
    """Of a token under the bare model, and (token, logprob) of the most likely ones, best first."""

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class Status(Enum):
    """Life of a lane."""

    WAITING = auto()  # for a place among the lanes decoded at once
    LIVE = auto()
    JOINING = auto()  # its branches are being decoded
    CLOSED = auto()


@dataclass(frozen=True, slots=True)
class Given:
    """A known token whose logprob is asked for; `index`: its place in the lane's items, prompt
    tokens counting backwards from -1."""

    token: int
    index: int


@dataclass(slots=True, eq=False, repr=False)
class QueuedToken:
    """One token to be fed. `home` is the lane whose cache segment holds it: the lane itself, or its
    hidden outline. `sampled`: the model's logits at it give the lane's next token; `given` asks for
    the logprob of what is known to follow it.

    A draft is a guess, the first, second … after what was sampled last (0: no draft); it is part of
    the text once the model has sampled the same. A scratch token
    is dropped from the cache after its pass; it sees the lane up to its `anchor`, and the scratch
    tokens of the same anchor before it. Nothing else sees it.
    """

    lane: "Lane"
    home: "Lane"
    token_id: int
    position: int
    sampled: bool = True
    joins: "LiveFork | None" = None  # from it on, the lane sees the tokens that this fork hid
    given: "Given | None" = None
    draft: int = 0
    anchor: "QueuedToken | None" = None

    @property
    def scratch(self) -> bool:
        """Whether it is dropped after its pass."""
        return self.anchor is not None


@dataclass(slots=True, eq=False, repr=False)
class LiveFork:
    """A fork being decoded: topics and branches; `spawn` is the position of its spawn token.

    `outline` holds an outline that the branches do not see (branches 0 … n-1 are lanes, the outline
    is branch -1). A dialect's fork may feed its branches again as text (`reencoded`): from `start`
    on, where that is not right after the spawn token, with `lead` before it, `gap` after each
    branch and `close` after the last.
    """

    spawn: int
    topics: list[list[int]]
    lanes: list["Lane"] = field(default_factory=list)
    outline: "Lane | None" = None
    opened: int = 0  # branches so far, pruned ones included
    sequential: bool = False  # not worth decoding side by side: one branch at a time
    joined: bool = False
    reencoded: bool = False
    start: int | None = None
    lead: list[int] = field(default_factory=list)
    gap: list[int] = field(default_factory=list)
    close: list[int] = field(default_factory=list)

    @property
    def hidden(self) -> list["Lane"]:
        """All whose tokens the lane sees after the fork, and did not see in it."""
        lanes = [] if self.reencoded else self.lanes
        return lanes if self.outline is None else [self.outline, *lanes]

    def tokens(self) -> Iterator[tuple[int, bool, Logprob | None]]:
        """(token, injected, logprob where asked for) of its branches and what stands between."""
        for lane in self.lanes:
            yield from lane.tokens()
            yield from ((token, True, None) for token in self.gap)
        yield from ((token, True, None) for token in self.close)

    def all_lanes(self) -> Iterator["Lane"]:
        """Its branches and all lanes below them, hidden outlines included."""
        for lane in self.lanes:
            yield lane
            for fork in lane.forks:
                yield from fork.all_lanes()
                yield from (fork.outline,) if fork.outline else ()


@dataclass(slots=True)
class Budget:
    """What a lane may still decode: `tokens` sampled in it and below it, `limit` being the name of
    what sets that; its last token may stand at `last_position`, so that all joins stay within the
    context. `used` were sampled in it and below it, `sampled` in it alone."""

    tokens: int
    last_position: int
    limit: str = "max_new_tokens"
    used: int = 0
    sampled: int = 0


@dataclass(slots=True)
class TextState:
    """What the next token of a lane depends on: its grammar state, the topics and the holder of the
    outline being written, the tokens that a repetition penalty sees (markers and injected ones
    exempt), and what looks for stop strings."""

    grammar: LaneState
    seen: set[int] = field(default_factory=set)
    stops: StopMatcher | None = None
    topics: list[list[int]] = field(default_factory=list)
    outline: "Lane | None" = None


class Header(NamedTuple):
    """How a branch begins: its first `length` items are injected. Of a dialect, `topic` is what the
    outline calls it and `text` what the header says; else both are read from the tokens. `scored`:
    whether the logprobs of its tokens, after the first, are asked for."""

    length: int = 0
    topic: str | None = None
    text: str | None = None
    scored: bool = False


@dataclass(slots=True, eq=False, repr=False)
class Lane:
    """One line of text being decoded, in the order `items`: (token, injected) pairs and forks."""

    request: "Request"
    path: Path
    parent: "Lane | None"
    controller: LaneController
    position: int  # of its next token
    budget: Budget
    state: TextState
    status: Status = Status.WAITING
    header: Header = field(default_factory=Header)
    items: list["tuple[int, bool] | LiveFork"] = field(default_factory=list)
    logprobs: dict[int, Logprob] = field(default_factory=dict)  # by index, see `Given`
    newest: QueuedToken | None = None

    @property
    def in_branch(self) -> bool:
        """Not the trunk."""
        return self.parent is not None

    @property
    def forks(self) -> list[LiveFork]:
        """Its forks, in order."""
        return [item for item in self.items if isinstance(item, LiveFork)]

    @property
    def fork(self) -> LiveFork:
        """The newest fork."""
        return next(i for i in reversed(self.items) if isinstance(i, LiveFork))

    def critical_path(self) -> int:
        """Sampled tokens that had to wait for each other."""
        longest = (max(c.critical_path() for c in f.lanes) for f in self.forks if f.lanes)
        return self.budget.sampled + sum(longest)

    def tokens(self) -> Iterator[tuple[int, bool, Logprob | None]]:
        """(token, injected, logprob where asked for) in text order, branches included."""
        for i, item in enumerate(self.items):
            if isinstance(item, LiveFork):
                yield from item.tokens()
            else:
                yield (*item, self.logprobs.get(i))

    def visible_tokens(self) -> set[int]:
        """Tokens that a repetition penalty looks at when the lane's next token is sampled."""
        outline = self.state.outline
        return self.state.seen | outline.state.seen if outline else self.state.seen


@dataclass(slots=True)
class PromptPrefix:
    """What a prompt is known by (`key`, see `hash_tokens`), how much of it is cached, and whose
    tokens it begins with: `cached` tokens in all, of which the first `shared` are those of
    `source`, and `matched` of them will be once it has fed them. `users`: unfinished requests whose
    source this one is."""

    key: int = 0
    cached: int = 0
    shared: int = 0
    matched: int = 0
    source: "Request | None" = None
    users: int = 0


@dataclass(slots=True, eq=False, repr=False)
class Request:
    """One prompt being answered. `queue`: tokens to feed, each after all that it sees; `effects`:
    what transitions have emitted and the scheduler has not yet applied."""

    number: int
    prompt: list[int]
    params: SamplingParams
    lanes: list[Lane] = field(default_factory=list)  # all that were opened, the trunk first
    outlines: list[Lane] = field(default_factory=list)  # hidden ones, see `LiveFork.outline`
    waiting: list[Lane] = field(default_factory=list)
    live: int = 0
    queue: deque[QueuedToken] = field(default_factory=deque)
    effects: list["Effect"] = field(default_factory=list)
    finish_reason: str | None = None
    limits: list[str] = field(default_factory=list)
    error: Exception | None = None
    prefix: PromptPrefix = field(default_factory=PromptPrefix)
    stats: RequestStats = field(default_factory=RequestStats)

    @property
    def trunk(self) -> Lane:
        """The lane that the prompt opens."""
        return self.lanes[0]

    @property
    def fallback(self) -> str | None:
        """Why branches that a dialect allows were not decoded in parallel, in whole or in part."""
        return self.trunk.controller.fallback(self.trunk)

    def note(self, limit: str) -> None:
        """Name a limit that changed the text."""
        if limit not in self.limits:
            self.limits.append(limit)


@dataclass(frozen=True, slots=True)
class Rewind:
    """The last `count` tokens of a lane leave: those queued are not fed, those cached dropped."""

    lane: Lane
    count: int


@dataclass(frozen=True, slots=True)
class Discard:
    """All tokens of these lanes leave."""

    lanes: tuple[Lane, ...]


# A token is appended to its lane: it is fed, unless its keys are cached already.
Effect = QueuedToken | Rewind | Discard
