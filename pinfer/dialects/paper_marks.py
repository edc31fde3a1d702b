"""The marks of arXiv 2503.20533 in a tokenizer, and tokens that may turn out to be one.

Marks are matched on text, as a tokenizer may cut them or merge them with their neighbours; a token
that a mark cuts is encoded anew up to there. What marks do to a lane is in `paper_controller.py`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pbranch.format.grammar import LaneState
from pbranch.format.paper_dialect import CLOSE, GAP, MARK, OMITTED
from pbranch.hf.segment_codec import SegmentCodec
from pinfer.request.state import Lane, Logprob

_DOTS = re.compile(r"\s*(?:\.\Z|\.\.|…|。。)")  # begins what stands for a body


@dataclass(frozen=True, slots=True)
class Paper:
    """The dialect in a tokenizer: its marks as tokens, each encoded by itself."""

    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    mark: list[int]
    omitted: list[int]  # what is fed behind a title: no body here, another mark
    gap: list[int]
    close: list[int]

    @classmethod
    def of(cls, codec: SegmentCodec) -> "Paper":
        """For a tokenizer's codec."""
        mark, gap, close = map(codec.encode, (MARK, GAP, CLOSE))
        omitted = [*codec.encode(OMITTED), *gap, *mark]
        return cls(codec.encode, codec.decode, mark, omitted, gap, [*mark, *close])

    @property
    def rows_per_token(self) -> int:
        """Cached rows for each drawn token at most: it may end a title, which is fed with what
        stands around it."""
        return 2 + max(len(self.omitted), len(self.mark) + len(self.gap) + len(self.close))

    def cut(self, tokens: Sequence[int], at: int) -> tuple[int, list[int]]:
        """How many whole tokens lie in the first `at` characters, and what else does, encoded."""
        text = self.decode(tokens)
        for n in range(len(tokens), -1, -1):
            head = self.decode(tokens[:n])
            if len(head) <= at and text.startswith(head):
                break
        return n, self.encode(text[len(head) : at])


def barred_tokens(tokenizer: Any, codec: SegmentCodec) -> dict[LaneState, list[int]]:
    """Of a vocabulary, what a state bars: another mark right behind one, and dots in the place of
    a body."""
    pieces = tokenizer.get_vocab()
    # most pieces hold neither, whatever letters a tokenizer writes bytes with
    some = [i for piece, i in pieces.items() if "#" in piece or "." in piece or not piece.isascii()]
    found: dict[LaneState, list[int]] = {LaneState.TITLE: [], LaneState.BODY: []}
    for token in some:
        text = codec.decode([token])
        if text.startswith(MARK[0]):
            found[LaneState.TITLE].append(token)
        if _DOTS.match(text):
            found[LaneState.BODY].append(token)
    return found


@dataclass(slots=True)
class Held:
    """The newest tokens of a lane, of which it is not known yet whether they are text."""

    paper: Paper
    tokens: list[int] = field(default_factory=list)
    scores: list[Logprob | None] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Of all of them."""
        return self.paper.decode(self.tokens)

    def push(self, token: int, score: Logprob | None) -> None:
        """One more; `score`: its logprob where the request asks for it."""
        self.tokens.append(token)
        self.scores.append(score)

    def settle(self, lane: Lane, count: int | None = None) -> None:
        """The first `count` tokens, or all, are text of the lane."""
        count = len(self.tokens) if count is None else count
        for token, score in zip(self.tokens[:count], self.scores, strict=False):
            if score is not None:
                lane.logprobs[len(lane.items)] = score
            lane.items.append((token, False))
            if lane.watch:
                lane.watch.push(token)
        del self.tokens[:count], self.scores[:count]

    def settle_whole(self, lane: Lane, open_end: re.Pattern[str]) -> None:
        """Tokens in front of where `open_end` finds the end of their text are text."""
        found = open_end.search(self.text)
        assert found is not None, "it matches the empty end of a text"
        self.settle(lane, self.paper.cut(self.tokens, found.start())[0])

    def settle_text(self, lane: Lane, at: int) -> list[int]:
        """The first `at` characters are text. Returns what of them is no whole token, encoded."""
        whole, rest = self.paper.cut(self.tokens, at)
        self.settle(lane, whole)
        return rest
