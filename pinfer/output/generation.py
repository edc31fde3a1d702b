"""What a finished request becomes: text, tree, tokens and statistics."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pbranch.format.markers import Role
from pbranch.format.tagged_text import render
from pbranch.format.tree import SEPARATOR, Fork, Trace, make_trace, plain_text
from pbranch.hf.segment_codec import SegmentCodec
from pinfer.dialects.paper_controller import fallback
from pinfer.model_spec import Rules
from pinfer.request.state import Block, Lane, Logprob, Request
from pinfer.request.stop_strings import cut


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of one request. passes: forward passes after the prompt's prefill; rows: tokens fed
    in them; critical_path_tokens: drawn tokens that had to wait for one another, so
    `passes` = critical_path_tokens - 1 where no limit on width or rows holds; blocks_in_order:
    those decoded one branch at a time as not worth a fork; prefix_rows: prompt tokens whose keys
    and values an earlier request had left; discarded_tokens: drawn, but no part of the text, as
    a dialect's outlines are; seconds are wall."""

    mode: str
    prompt_tokens: int
    generated_tokens: int
    injected_tokens: int
    discarded_tokens: int
    grammar_interventions: int
    passes: int
    critical_path_tokens: int
    rows: int
    blocks: int
    blocks_in_order: int
    branches: int
    max_width: int
    max_depth: int
    kv_rows: int
    prefix_rows: int
    prefill_seconds: float
    decode_seconds: float
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer. `token_ids` are the generated rows in text order, `forced` those not drawn;
    `logprobs` theirs, None where a token was forced or the request asked for none."""

    prompt_token_ids: list[int]
    trace: Trace
    token_ids: list[int]
    forced: list[bool]
    logprobs: list[Logprob | None]
    finish_reason: str
    limits: list[str]
    stats: Stats
    fallback: str | None = None  # why a dialect's branches were not decoded side by side

    @property
    def text(self) -> str:
        """Plain text: what a reader wants."""
        return plain_text(self.trace)

    @property
    def tagged_text(self) -> str:
        """Native markers, parseable by pbranch."""
        return render(self.trace)

    def as_dict(self) -> dict[str, Any]:
        """The object that `pinfer generate --json` prints, without the prompt's text."""
        row = {
            "prompt_token_ids": self.prompt_token_ids,
            "text": self.text,
            "tagged_text": self.tagged_text,
            "token_ids": self.token_ids,
            "forced": self.forced,
            "finish_reason": self.finish_reason,
            "limits": self.limits,
            "stats": asdict(self.stats),
        }
        if self.fallback is not None:
            row["fallback"] = self.fallback
        if any(self.logprobs):
            row["logprobs"] = [x and x._asdict() for x in self.logprobs]
        return row


def make_generation(request: Request, rules: Rules, codec: SegmentCodec) -> Generation:
    """The result of a finished request."""
    rows = list(request.trunk.rows())
    return Generation(
        prompt_token_ids=request.prompt,
        trace=lane_trace(request.trunk, rules, codec.decode),
        token_ids=[t for t, _, _ in rows],
        forced=[f for _, f, _ in rows],
        logprobs=[x for _, _, x in rows],
        finish_reason=request.finish_reason or "error",
        limits=list(request.limits),
        stats=_stats(request, sum(not f for _, f, _ in rows), len(rows)),
        fallback=fallback(request),
    )


def lane_trace(lane: Lane, rules: Rules, decode: Callable[[Sequence[int]], str]) -> Trace:
    """The tree of a lane's items; header and body are decoded apart, as they were encoded."""
    parts: list[str | Fork] = [topic_of(lane, decode, colon=True)]
    ends = rules.end_of_text | set(lane.request.params.stop_token_ids)
    text: list[int] = []
    in_outline = False
    for item in lane.items[lane.header :]:
        if isinstance(item, Block):
            topics = tuple(topic_of(c, decode) for c in item.lanes)
            branches = tuple(lane_trace(c, rules, decode) for c in item.lanes)
            gap = decode(item.gap)
            parts += [decode(text), Fork(topics, branches, gap or SEPARATOR), gap]
            text, in_outline = [], False
            continue
        role = rules.role(item[0])
        if role is Role.FORK:
            parts.append(decode(text))
            text, in_outline = [], True
        elif role is None and not in_outline and item[0] not in ends:
            text.append(item[0])
    last = decode(text)
    if lane.watch and lane.watch.found:
        last = cut(last, lane.request.params.stop)
    return make_trace(*parts, last)


def topic_of(lane: Lane, decode: Callable[[Sequence[int]], str], colon: bool = False) -> str:
    """What the outline calls a branch, "" for a trunk; `colon`: with what its header has behind."""
    if lane.script is not None:
        return lane.script.title + lane.script.colon * colon
    return decode([token for token, _ in lane.items[1 : lane.header]])  # type: ignore[misc]


def _stats(request: Request, drawn: int, total: int) -> Stats:
    blocks = [i for lane in request.lanes for i in lane.items if isinstance(i, Block)]
    first = request.first_token or request.finished
    decode_seconds = max(request.finished - first, 0.0)
    return Stats(
        mode=request.params.mode,
        prompt_tokens=len(request.prompt),
        generated_tokens=drawn,
        injected_tokens=total - drawn,
        discarded_tokens=sum(lane.drawn for lane in request.lanes) - drawn,
        grammar_interventions=request.interventions,
        passes=request.passes,
        critical_path_tokens=request.trunk.critical_path(),
        rows=request.rows,
        blocks=len(blocks),
        blocks_in_order=sum(b.in_order for b in blocks),
        branches=sum(len(b.lanes) for b in blocks),
        max_width=request.widest,
        max_depth=max(len(lane.path) for lane in request.lanes),
        kv_rows=len(request.prompt) + request.rows - request.rows_left,
        prefix_rows=request.prefix_rows,
        prefill_seconds=first - request.started,
        decode_seconds=decode_seconds,
        tokens_per_second=drawn / decode_seconds if decode_seconds else 0.0,
    )
