"""Drives the engine's parts over models with a vocabulary of letters and markers, so that random
weights fork, nest and join all the time."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pbranch.layout import LayoutOptions
from pbranch.markers import MarkerIds
from pbranch.stream import legal_table
from pbranch.tree import Trace
from pinfer.attention import get_backend
from pinfer.commit import Rules
from pinfer.lane import Request
from pinfer.params import EngineLimits, SamplingParams
from pinfer.result import lane_trace
from pinfer.runner import Runner
from pinfer.sampler import Sampler
from pinfer.scheduler import Scheduler
from tests.conftest import build_model

LETTERS = "abcdefghijklmnop"
MARKERS = MarkerIds(fork=16, topic=17, spawn=18, branch=19, end=20, join=21)
END_OF_TEXT, KNOWN, SIZE = 22, 23, 32


class LetterTokenizer:
    """Just enough of a tokenizer for `build_model`."""

    bos_token_id, eos_token_id = None, END_OF_TEXT

    def __len__(self) -> int:
        return 10


def letters(ids: Sequence[int]) -> str:
    """Text of letter tokens."""
    return "".join(LETTERS[i] for i in ids)


def toy_model(kind: str, seed: int = 0, **overrides: Any) -> Any:
    """A random model over the letters; its logits favour markers a little."""
    model = build_model(kind, LetterTokenizer(), seed=seed, vocab_size=SIZE, **overrides)
    return model.double()


def toy_rules(model: Any, options: LayoutOptions | None = None, context: int | None = None) -> Rules:
    """Rules of a toy model."""
    options = options or LayoutOptions()
    return Rules(
        MARKERS,
        frozenset({END_OF_TEXT}),
        context or model.config.max_position_embeddings,
        options.positions,
        options.outline,
    )


@dataclass
class Toy:
    """An engine without a tokenizer. Checks the arena after every step."""

    model: Any
    options: LayoutOptions | None = None
    limits: EngineLimits | None = None
    backend: str = "sdpa"
    context: int | None = None
    on_step: Callable[[Any, torch.Tensor], None] | None = None

    def run(self, prompts: Sequence[Sequence[int]], params: Any) -> list[Request]:
        """Decode prompts as one batch; `params`: one for all, or one each."""
        params = params if isinstance(params, list) else [params] * len(prompts)
        self.rules = toy_rules(self.model, self.options, self.context)
        runner = Runner(copy.deepcopy(self.model), get_backend(self.backend))
        scheduler = Scheduler(self.rules, self.limits or EngineLimits())
        table = legal_table(MARKERS, [END_OF_TEXT], SIZE, KNOWN)
        sampler = Sampler(torch.from_numpy(table))
        requests = [scheduler.add(list(p), q) for p, q in zip(prompts, params, strict=True)]
        while scheduler.busy:
            batch = scheduler.schedule()
            logits = runner.run(batch) if batch.rows else torch.zeros(0, SIZE)
            runner.arena.check()
            if self.on_step:
                self.on_step(batch, logits)
            for request in scheduler.commit(batch, sampler(logits, batch.lanes)):
                runner.release(request)
                runner.arena.check()
        assert runner.arena.rows == 0, "rows are left in the arena"
        return requests

    def tokens(self, prompts: Sequence[Sequence[int]], params: Any) -> list[list[int]]:
        """Generated tokens in text order."""
        return [[t for t, _ in r.trunk.tokens()] for r in self.run(prompts, params)]

    def trace(self, request: Request) -> Trace:
        """The tree of a finished request."""
        return lane_trace(request.trunk, self.rules, letters_only)


def letters_only(ids: Sequence[int]) -> str:
    """Text of tokens; the end of a text has none."""
    return letters([i for i in ids if i < len(LETTERS)])


def greedy(**changes: Any) -> SamplingParams:
    """Greedy parameters of a short answer."""
    return SamplingParams(**{"max_new_tokens": 60, "max_topics": 4, "max_topic_tokens": 3, **changes})
