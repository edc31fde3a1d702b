"""Peers that decode the same workloads with the same weights: transformers, in three ways.

They sample what they like, as many tokens as the workload says: weights are random anyway.
The paper's way, a forward under a 4-D mask, is an engine of ours over the oracle's runner.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig
from transformers.generation.streamers import BaseStreamer

from pinfer.bench.engine_arm import Sample, Step
from pinfer.bench.models import row_bytes
from pinfer.bench.oracle import copy_cache
from pinfer.bench.timing import ZERO, Span, now, since
from pinfer.bench.workload import Vocabulary, Workload

MAX_CACHE_BYTES = 3 * 2**30  # of copied prompts that a batch may hold


class Arm(Protocol):
    """What is measured: an engine of ours, or a peer."""

    name: str

    @property
    def wide(self) -> bool:
        """Whether branches are decoded in parallel."""
        ...

    def refusal(self, workload: Workload) -> str | None:
        """Why it cannot decode a workload, in a few words; None where it can."""
        ...

    def run(self, workload: Workload) -> Sample:
        """Decode it once."""
        ...


class TokenTimes(BaseStreamer):
    """When `generate` had each token; the first is its prompt's."""

    def __init__(self) -> None:
        self.times: list[Span] = []

    def put(self, value: Tensor) -> None:
        """Note the time."""
        self.times.append(now())

    def end(self) -> None:
        """Nothing more comes."""

    def steps(self, width: int, forked: bool, first: int) -> list[Step]:
        """The passes between tokens, from the one after token `first` on."""
        pairs = zip(self.times[first:], self.times[first + 1 :], strict=False)
        spans = [Span(b.cpu - a.cpu, b.wall - a.wall) for a, b in pairs]
        return [Step(width, width, forked, span, span) for span in spans]


@dataclass(slots=True)
class PromptCaches:
    """A plain model, and its caches of prompts by their length, but for the last token."""

    model: Any
    words: Vocabulary
    seed: int = 0
    by_length: dict[int, tuple[Any, Span]] = field(default_factory=dict)

    @torch.inference_mode()
    def get(self, workload: Workload) -> tuple[Tensor, Any, Span]:
        """Token ids (1, prompt), a cache that may be extended, and what its prefill took."""
        ids = torch.tensor([workload.prompt_ids(self.words, self.seed)])
        if workload.prompt not in self.by_length:
            cache = DynamicCache(config=self.model.config)
            begin = now()
            self.model(ids[:, :-1], past_key_values=cache, logits_to_keep=1)
            self.by_length[workload.prompt] = cache, since(begin)
        cache, took = self.by_length[workload.prompt]
        return ids, copy_cache(cache, ids.shape[1] - 1), took

    def generate(self, ids: Tensor, cache: Any, count: int) -> tuple[Tensor, TokenTimes]:
        """`count` more tokens of each row; the cache holds all but the last token of `ids`."""
        arrivals = TokenTimes()
        config = GenerationConfig(
            max_new_tokens=count, do_sample=False, pad_token_id=0, use_cache=True
        )
        out = self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=cache,
            generation_config=config,
            streamer=arrivals,
        )
        made = out.shape[1] - ids.shape[1]
        assert made == count, f"generate made {made} tokens, asked for {count}"
        return out, arrivals


@dataclass(slots=True)
class GenerateArm:
    """`generate`, one token after another: what the field's users run."""

    prompts: PromptCaches
    name: str = "HF generate"
    wide: bool = False

    def refusal(self, workload: Workload) -> str | None:
        """One request at a time."""
        return "one request" if len(workload.lines) > 1 else None

    def run(self, workload: Workload) -> Sample:
        """As many tokens as the workload samples, all in one line."""
        ids, cache, prefill = self.prompts.get(workload)
        count = workload.line.sampled
        _, arrivals = self.prompts.generate(ids, cache, count + 1)
        begin, end = arrivals.times[1], arrivals.times[-1]
        took = Span(end.cpu - begin.cpu, end.wall - begin.wall)
        return Sample(prefill, took, count, tuple(arrivals.steps(1, False, 1)))


@dataclass(slots=True)
class BatchArm:
    """`generate` on a batch of the branches, their prefix copied into each row. Rows stay until the
    longest has ended. The trunk goes on after the first branch: it reads no other."""

    prompts: PromptCaches
    name: str = "HF batch"
    wide: bool = True

    def refusal(self, workload: Workload) -> str | None:
        """No nested forks, no requests in parallel, no more memory than MAX_CACHE_BYTES."""
        if len(workload.lines) > 1:
            return "one request"
        if workload.line.nested:
            return "no nested forks"
        rows = max((len(branches) for branches in workload.line.forks()), default=1)
        held = rows * (workload.prompt + workload.line.passes) * row_bytes(self.prompts.model)
        if held > MAX_CACHE_BYTES:
            return f"{held / 2**30:.1f} GiB of cache"
        return None

    def run(self, workload: Workload) -> Sample:
        """Trunk, branches as rows, trunk."""
        ids, cache, prefill = self.prompts.get(workload)
        decode, steps, first = ZERO, [], 1  # the first token is the prompt's
        for part in workload.line.parts:
            begin, width = now(), 1
            count = part if isinstance(part, int) else max(line.passes for line in part)
            if not count + first:
                continue
            if not isinstance(part, int):
                width = len(part)
                cache.batch_repeat_interleave(width)
                ids = ids.repeat(width, 1)
            ids, arrivals = self.prompts.generate(ids, cache, count + first)
            steps += arrivals.steps(width, width > 1, 1 if first else 0)
            if width > 1:
                ids = ids[:1]
                cache.batch_select_indices(torch.tensor([0]))
            if first:
                begin, first = arrivals.times[1], 0
            end = now()
            decode = decode.plus(Span(end.cpu - begin.cpu, end.wall - begin.wall))
        return Sample(prefill, decode, workload.line.sampled, tuple(steps))


@dataclass(slots=True)
class ForwardArm:
    """Bare forwards of `width` rows under a mask made in advance, for the time of the host."""

    prompts: PromptCaches
    width: int
    name: str = "HF forward"
    wide: bool = True

    def refusal(self, workload: Workload) -> str | None:
        """None: it looks at the prompt and the number of passes."""
        return None

    @torch.inference_mode()
    def run(self, workload: Workload) -> Sample:
        """A pass for each of the workload's."""
        ids, cache, prefill = self.prompts.get(workload)
        held, width, count = ids.shape[1] - 1, self.width, workload.line.passes
        last = held + width * count
        fed = torch.arange(last - held)
        mask = torch.ones(1, 1, width, last, dtype=torch.bool)
        mask[0, 0, :, held:] = fed % width == torch.arange(width)[:, None]
        tokens, steps = ids[:, :1].repeat(1, width), []
        for i in range(count):
            positions = torch.full((1, width), held + i)
            visible = mask[..., : held + width * (i + 1)] if width > 1 else None
            begin = now()
            self.prompts.model(
                tokens, position_ids=positions, attention_mask=visible, past_key_values=cache
            )
            took = since(begin)
            steps.append(Step(width, width, width > 1, took, took))
        spent = [step.took for step in steps]
        decode = Span(sum(s.cpu for s in spent), sum(s.wall for s in spent))
        return Sample(prefill, decode, width * count, tuple(steps))
