"""Drives the engine's parts over models with a vocabulary of letters and markers, so that random
weights fork, nest and join all the time."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch

from pbranch.format.grammar import legal_table
from pbranch.format.layout import Layout, LayoutOptions, build_layout
from pbranch.format.markers import MarkerIds
from pbranch.format.tree import Trace
from pbranch.format.visibility import dense_mask, layout_tensor
from pbranch.hf.additive_mask import additive_masks
from pinfer.attention import sdpa
from pinfer.attention.backend import get_backend
from pinfer.core import Core
from pinfer.drafting.draft import DraftSource
from pinfer.eviction.options import KVOptions
from pinfer.execution.runner import Runner
from pinfer.kv_cache.lanes import LaneCache
from pinfer.model_spec import ModelSpec
from pinfer.models.fast import FastModel, is_family
from pinfer.models.general import GeneralModel
from pinfer.output.generation import lane_trace
from pinfer.params import EngineLimits, SamplingParams
from pinfer.reference import Reference
from pinfer.request.state import Lane, LiveFork, Path, Request
from pinfer.request.stop_strings import StopMatcher
from pinfer.sampling.sampler import Sampler
from pinfer.scheduling.batch import Batch, Choice, SampleSite
from tests.conftest import build_model

LETTERS = "abcdefghijklmnop"
MARKERS = MarkerIds(fork=16, topic=17, spawn=18, branch=19, end=20, join=21)
END_OF_TEXT, KNOWN, SIZE = 22, 23, 32
# added to the logits, so that random weights write many short blocks and seldom stop
LEAN = {MARKERS.fork: 4.0, MARKERS.topic: 4.0, MARKERS.spawn: 4.0, MARKERS.end: 2.0}


class LetterTokenizer:
    """Just enough of a tokenizer for `build_model`."""

    bos_token_id, eos_token_id = None, END_OF_TEXT

    def __len__(self) -> int:
        return 10


def letters(ids: Sequence[int]) -> str:
    """Text of letter tokens."""
    return "".join(LETTERS[i] for i in ids)


class LetterCodec:
    """One token a letter, as `build_layout` asks for."""

    def encode(self, text: str) -> list[int]:
        return [LETTERS.index(c) for c in text]


class ExactNorm(torch.nn.Module):
    """RMS norm in the dtype it is given; transformers' own rounds to float32, and with it every
    sum that is taken in another order."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.variance_epsilon = getattr(norm, "variance_epsilon", None) or norm.eps
        shift = 1.0 if type(norm).__name__.startswith("Gemma") else 0.0
        self.weight = torch.nn.Parameter(norm.weight.data + shift)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (
            x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon) * self.weight
        )


def toy_model(
    kind: str, seed: int = 0, lean: dict[int, float] | None = None, **overrides: Any
) -> Any:
    """A random float64 model over the letters whose logits lean towards markers."""
    model = build_model(kind, LetterTokenizer(), seed=seed, vocab_size=SIZE, **overrides).double()
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child).__name__.endswith("RMSNorm"):
                setattr(parent, name, ExactNorm(child))
    bias = torch.zeros(SIZE, dtype=torch.float64)
    for token, value in (LEAN if lean is None else lean).items():
        bias[token] = value
    model.lm_head.bias = torch.nn.Parameter(bias)
    return model


def toy_spec(
    model: Any, options: LayoutOptions | None = None, context: int | None = None
) -> ModelSpec:
    """Rules of a toy model."""
    options = options or LayoutOptions()
    return ModelSpec(
        MARKERS,
        frozenset({END_OF_TEXT}),
        context or model.config.max_position_embeddings,
        options,
        branch_tokens=5.0,
    )


def pieces(*args: Any, **options: Any) -> torch.Tensor:
    """`sdpa`, which takes no pass for a small one."""
    with mock.patch.object(sdpa, "SINGLE_CALL_BELOW_BYTES", 0):
        return sdpa.attend(*args, **options)


@dataclass
class CheckedRunner:
    """A runner whose arena is checked after every pass, and whose logits are shown."""

    runner: Runner
    on_step: Callable[[Batch, torch.Tensor], None] | None = None
    most_rows: int = 0  # that the arena held

    @property
    def cache(self) -> LaneCache:
        return self.runner.cache

    def run(self, batch: Batch) -> torch.Tensor:
        logits = self.runner.run(batch)
        self.runner.cache.check()
        self.most_rows = max(self.most_rows, self.runner.arena.rows)
        if self.on_step:
            self.on_step(batch, logits)
        return logits


@dataclass
class Toy:
    """An engine without a tokenizer. Checks the arena after every step."""

    model: Any
    options: LayoutOptions | None = None
    limits: EngineLimits | None = None
    backend: str = "pieces"  # sdpa as in long contexts, however short they are here
    path: str = "fast"  # for the models that have one
    context: int | None = None
    on_step: Callable[[Batch, torch.Tensor], None] | None = None
    choose: Callable[[torch.Tensor, list[SampleSite]], list[Choice]] | None = None  # else a sampler
    source: DraftSource | None = None
    kv: KVOptions | None = None
    most_rows: int = 0  # that the arena held

    def core(self) -> Core:
        """The step loop, nothing queued."""
        self.spec = toy_spec(self.model, self.options, self.context)
        model = copy.deepcopy(self.model)
        fast = self.path == "fast" and is_family(model)
        forward = FastModel(model) if fast else GeneralModel(model)
        backend = pieces if self.backend == "pieces" else get_backend(self.backend)
        table = torch.from_numpy(legal_table(MARKERS, [END_OF_TEXT], SIZE, range(KNOWN)))
        sampler = self.choose or Sampler(table.to(forward.device))
        core = Core.build(
            forward, backend, self.spec, sampler, self.limits, kv=self.kv, source=self.source
        )
        core.runner = CheckedRunner(core.runner, self.on_step)
        return core

    def run(self, prompts: Sequence[Sequence[int]], params: Any) -> list[Request]:
        """Decode prompts as one batch; `params`: one for all, or one each."""
        params = params if isinstance(params, list) else [params] * len(prompts)
        core = self.core()
        requests = [
            core.scheduler.add(list(p), q, stops_of(q))
            for p, q in zip(prompts, params, strict=True)
        ]
        while core.busy:
            core.step()
            core.runner.runner.arena.check()
        for request in requests:
            if request.error is not None:
                raise request.error
        core.scheduler.prefixes.evict(0)
        self.most_rows = core.runner.most_rows
        assert core.runner.runner.arena.rows == 0, "rows are left in the arena"
        assert not core.runner.cache._homes, "lanes are left in the cache"
        return requests

    def tokens(self, prompts: Sequence[Sequence[int]], params: Any) -> list[list[int]]:
        """Generated tokens in text order."""
        return [[t for t, _, _ in r.trunk.tokens()] for r in self.run(prompts, params)]

    def trace(self, request: Request) -> Trace:
        """The tree of a finished request."""
        return lane_trace(request.trunk, self.spec, letters_only)


@dataclass
class Recorder:
    """An `on_step` that keeps the logits of every drawn row, by (request, path, position)."""

    def __post_init__(self) -> None:
        self.logits: dict[tuple[int, Path, int], torch.Tensor] = {}

    def __call__(self, batch: Batch, logits: torch.Tensor) -> None:
        for site, found in zip(batch.sites, logits, strict=True):
            self.logits[site.request, site.path, site.position - 1] = found


def scripted(scripts: dict[Path, list[int]]) -> Callable[..., list[Choice]]:
    """A `choose` that samples what each lane's script says, whatever the logits are."""
    left = {path: list(tokens) for path, tokens in scripts.items()}
    return lambda logits, sites: [Choice(left[site.path].pop(0), True) for site in sites]


def reference_tokens(
    model: Any,
    prompt: Sequence[int],
    params: SamplingParams,
    options: LayoutOptions | None = None,
    attention: str = "sdpa",
) -> list[int]:
    """What the reference decoder answers. sdpa: eager attention rounds to float32."""
    plain = copy.deepcopy(model)
    plain.set_attn_implementation(attention)
    decoder = Reference(
        plain, MARKERS, frozenset({END_OF_TEXT}), range(KNOWN), options or LayoutOptions()
    )
    return decoder.generate(prompt, params)


def request_layout(toy: Toy, request: Request) -> Layout:
    """The rows that training would make of a finished request's text."""
    codec: Any = LetterCodec()
    return build_layout(request.prompt, toy.trace(request), codec, MARKERS, options=toy.options)


def paths_of_rows(request: Request) -> list[Path]:
    """The lane of each row in text order, prompt first, the end of the text left out."""
    return [path for path, _ in rows_in_order(request)]


def rows_in_order(request: Request) -> list[tuple[Path, int]]:
    """(lane, token) of each row, as in `paths_of_rows`; re-encoded branches stand there twice."""
    written = [row for row in _walk(request.trunk) if row[1] != END_OF_TEXT]
    return [*(((), token) for token in request.prompt), *written]


def _walk(lane: Lane) -> Iterator[tuple[Path, int]]:
    for item in lane.items:
        if isinstance(item, LiveFork):
            for branch in item.lanes:
                yield from _walk(branch)
            if item.reencoded:
                yield from ((lane.path, t) for x in item.lanes for t, _, _ in x.tokens())
        else:
            yield lane.path, item[0]


@torch.inference_mode()
def full_logits(model: Any, layout: Layout) -> torch.Tensor:
    """Logits of all rows from one forward under an explicit mask, as in training."""
    tensor, positions = layout_tensor([layout]), torch.tensor([layout.position_ids])
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("sdpa")
    return plain(
        input_ids=torch.tensor([layout.token_ids]),
        position_ids=positions,
        attention_mask=additive_masks(dense_mask(tensor), positions, model.config, model.dtype),
        use_cache=False,
    ).logits[0]


def stops_of(params: SamplingParams) -> StopMatcher | None:
    """What looks for the stop strings of a request over letters."""
    return StopMatcher(letters_only, params.stop) if params.stop else None


def letters_only(ids: Sequence[int]) -> str:
    """Text of tokens; the end of a text has none."""
    return letters([i for i in ids if i < len(LETTERS)])


def greedy(**changes: Any) -> SamplingParams:
    """Greedy parameters of a short answer."""
    return SamplingParams(
        **{"max_new_tokens": 60, "max_topics": 4, "max_topic_tokens": 3, **changes}
    )
