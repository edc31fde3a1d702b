"""What a finished request becomes: text, tree, tokens and statistics."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pbranch.errors import BranchError
from pbranch.format.markers import Role
from pbranch.format.tagged_text import render
from pbranch.format.tree import (
    SEPARATOR,
    Fork,
    Trace,
    make_trace,
    plain_text,
    with_default_separators,
)
from pbranch.hf.segment_codec import SegmentCodec
from pinfer.eviction.trace import KVTrace
from pinfer.model_spec import NEUTRAL, ModelSpec
from pinfer.request.state import Lane, LiveFork, Logprob, Request
from pinfer.request.stop_strings import truncate_at_stop

# the keys of an answer's line: those of `Generation.as_dict`, and what the command adds; a prompt's
# line may hold others
ANSWER_KEYS = frozenset(
    """prompt_token_ids text tagged_text token_ids forced finish_reason stop_reason limits seed
    sampling stats fallback error logprobs prompt_logprobs sample settings""".split()
)


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of one request. passes: forward passes after the prompt's prefill; rows: tokens fed
    in them; critical_path_tokens: sampled tokens that had to wait for each other, so `passes` =
    critical_path_tokens - 1 where no limit on width or rows holds; blocks: forks;
    blocks_in_order: those decoded one branch at a time, as not worth doing in parallel;
    kv_rows: cached tokens at the end; prefix_rows: prompt tokens whose keys and values an earlier
    request had left; discarded_tokens: sampled, but no part of the text, as a dialect's outlines
    are; drafted: guessed tokens that passes were fed with, accepted: those that became text, and by
    place, the first after a sampled token, the second …; seconds are wall. kv: of a bounded cache,
    see `KVTrace`; `kv_rows` are then those of the layer that kept most."""

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
    drafted: int
    accepted: int
    accepted_by_position: list[int]
    prefill_seconds: float
    decode_seconds: float
    tokens_per_second: float
    kv: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer. `token_ids` are the generated tokens in text order, `forced` tells those that
    were injected; `logprobs` theirs, None where a token was injected or the request asked for none.
    `prompt_logprobs`, where asked for: of each prompt token, None for the first. `stop_reason`: the
    stop string or stop token id that ended the answer, None where something else did. `seed`: of
    its random draws, None in greedy decoding without one. `sampling`: what held, by name. `error`:
    what went wrong in the request, if anything did. `kv_trace`: the pages of a bounded cache."""

    prompt_token_ids: list[int]
    trace: Trace
    token_ids: list[int]
    forced: list[bool]
    logprobs: list[Logprob | None]
    finish_reason: str
    limits: list[str]
    stats: Stats
    fallback: str | None = None  # why a dialect's branches were not decoded in parallel
    prompt_logprobs: list[Logprob | None] | None = None
    stop_reason: str | int | None = None
    seed: int | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    kv_trace: KVTrace | None = None

    @property
    def text(self) -> str:
        """Plain text: what a reader wants."""
        return plain_text(self.trace)

    @property
    def tagged_text(self) -> str:
        """Native markers, parseable by pbranch to a trace with the same plain text."""
        return render(with_default_separators(self.trace))

    def as_dict(self) -> dict[str, Any]:
        """The object that `pinfer generate --json` prints, without the prompt's text."""
        row: dict[str, Any] = {
            "prompt_token_ids": self.prompt_token_ids,
            "text": self.text,
            "tagged_text": self.tagged_text,
            "token_ids": self.token_ids,
            "forced": self.forced,
            "finish_reason": self.finish_reason,
            "stop_reason": self.stop_reason,
            "limits": self.limits,
            "seed": self.seed,
            "sampling": self.sampling,
            "stats": asdict(self.stats),
        }
        if self.stats.kv is None:
            del row["stats"]["kv"]
        if self.fallback is not None:
            row["fallback"] = self.fallback
        if self.error is not None:
            row["error"] = self.error
        if any(self.logprobs):
            row["logprobs"] = [x and x._asdict() for x in self.logprobs]
        if self.prompt_logprobs is not None:
            row["prompt_logprobs"] = [x and x._asdict() for x in self.prompt_logprobs]
        return row


def make_generation(request: Request, spec: ModelSpec, codec: SegmentCodec) -> Generation:
    """The result of a finished request."""
    trunk, asked = request.trunk, request.params.prompt_logprobs is not None
    tokens = list(trunk.tokens())
    of_prompt = [trunk.logprobs.get(i) for i in range(-len(request.prompt), 0)]
    return Generation(
        prompt_token_ids=request.prompt,
        trace=lane_trace(request.trunk, spec, codec.decode),
        token_ids=[t for t, _, _ in tokens],
        forced=[f for _, f, _ in tokens],
        logprobs=[None if f else x for _, f, x in tokens],
        finish_reason=request.finish_reason or "error",
        limits=list(request.limits),
        stats=_stats(request, sum(not f for _, f, _ in tokens), len(tokens)),
        fallback=request.fallback,
        prompt_logprobs=of_prompt if asked else None,
        stop_reason=_stop_reason(request),
        seed=request.params.seed,
        sampling={name: getattr(request.params, name) for name in ("temperature", *NEUTRAL)},
        error=None if request.error is None else describe_error(request.error),
        kv_trace=request.stats.kv,
    )


def _stop_reason(request: Request) -> str | int | None:
    trunk = request.trunk
    if request.finish_reason != "stop":
        return None
    if trunk.state.stops and trunk.state.stops.matched:
        return trunk.state.stops.found
    token, _ = trunk.items[-1]  # type: ignore[misc]
    return token if token in request.params.stop_token_ids else None


def describe_error(error: Exception) -> str:
    """One line; a known error speaks for itself."""
    text = " ".join(str(error).split())
    return text if isinstance(error, BranchError) else f"{type(error).__name__}: {text}"


def lane_trace(lane: Lane, spec: ModelSpec, decode: Callable[[Sequence[int]], str]) -> Trace:
    """The tree of a lane's items; header and body are decoded apart, as they were encoded."""
    parts: list[str | Fork] = [header_text(lane, decode)]
    ends = spec.end_of_text | set(lane.request.params.stop_token_ids)
    text: list[int] = []
    in_outline = False
    for item in lane.items[lane.header.length :]:
        if isinstance(item, LiveFork):
            topics = tuple(topic_of(c, decode) for c in item.lanes)
            branches = tuple(lane_trace(c, spec, decode) for c in item.lanes)
            gap = decode(item.gap)
            parts += [decode(text), Fork(topics, branches, gap or SEPARATOR), gap]
            text, in_outline = [], False
            continue
        role = spec.role(item[0])
        if role is Role.FORK:
            parts.append(decode(text))
            text, in_outline = [], True
        elif role is None and not in_outline and item[0] not in ends:
            text.append(item[0])
    last = decode(text)
    if lane.state.stops and lane.state.stops.matched:
        last = truncate_at_stop(last, lane.request.params.stop)
    return make_trace(*parts, last)


def topic_of(lane: Lane, decode: Callable[[Sequence[int]], str]) -> str:
    """What the outline calls a branch, "" for a trunk."""
    header = lane.header
    if header.topic is not None:
        return header.topic
    return decode([token for token, _ in lane.items[1 : header.length]])  # type: ignore[misc]


def header_text(lane: Lane, decode: Callable[[Sequence[int]], str]) -> str:
    """The text with which a branch begins, "" for a trunk."""
    return topic_of(lane, decode) if lane.header.text is None else lane.header.text


def _stats(request: Request, sampled: int, total: int) -> Stats:
    forks = [fork for lane in request.lanes for fork in lane.forks]
    counted, prefix = request.stats, request.prefix
    accepted = counted.accepted
    first = counted.first_token or counted.finished
    cached = len(request.prompt) + counted.fed - counted.dropped
    decode_seconds = max(counted.finished - first, 0.0)
    return Stats(
        mode=request.params.mode or "parallel",
        prompt_tokens=len(request.prompt),
        generated_tokens=sampled,
        injected_tokens=total - sampled,
        discarded_tokens=sum(lane.budget.sampled for lane in request.lanes) - sampled,
        grammar_interventions=counted.interventions,
        passes=counted.passes,
        critical_path_tokens=request.trunk.critical_path(),
        rows=counted.fed,
        blocks=len(forks),
        blocks_in_order=sum(fork.sequential for fork in forks),
        branches=sum(len(fork.lanes) for fork in forks),
        max_width=counted.widest,
        max_depth=max(len(lane.path) for lane in request.lanes),
        kv_rows=counted.kv.slots if counted.kv else cached,
        prefix_rows=prefix.shared,
        drafted=counted.drafted,
        accepted=accepted.total(),
        accepted_by_position=[accepted[i] for i in range(1, max(accepted, default=0) + 1)],
        prefill_seconds=first - counted.started,
        decode_seconds=decode_seconds,
        tokens_per_second=sampled / decode_seconds if decode_seconds else 0.0,
        kv=None if counted.kv is None else counted.kv.as_dict(),
    )
