"""Refuses, at load time, a model that would decode branches wrongly, and chooses the path.

A short fork is driven through the engine's own passes; each branch must give the logits that the
model's plain forward gives for the same text in one line. Knows no particular architecture.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pbranch.errors import ModelError, RequestError
from pbranch.format.markers import MarkerIds
from pbranch.hf.load_model import context_length
from pinfer.attention.transformers_hook import hidden_window
from pinfer.attention.view import Backend
from pinfer.core import Core
from pinfer.execution.forward import Forward
from pinfer.execution.runner import Runner
from pinfer.kv_cache.arena import Arena
from pinfer.kv_cache.lanes import LaneCache
from pinfer.model_spec import ModelSpec
from pinfer.models.fast import FAMILY, FastModel, is_family
from pinfer.models.general import GeneralModel
from pinfer.models.linear import InPairs
from pinfer.models.module_bypass import Leaf, bypass_module_calls, restore_modules
from pinfer.params import EngineLimits, SamplingParams
from pinfer.request.state import Path
from pinfer.sampling.scripted import ScriptedSampler
from pinfer.scheduling.batch import SampleSite
from pinfer.scheduling.scheduler import Scheduler

log = logging.getLogger("pinfer")
_MARKERS = MarkerIds(fork=0, topic=1, spawn=2, branch=3, end=4, join=5)
_UNSERVED = "this architecture cannot be decoded here, neither with branches nor in mode linear"
_PROMPT, _BODIES = [11, 7, 9], ([10, 13], [15])
_TOPICS: tuple[list[int], ...] = ([12], [])


def choose_path(
    model: Any, backend: Backend, path: str = "auto", owned: bool = False
) -> tuple[FastModel | GeneralModel, int]:
    """The forward that decodes `model`, and the bytes that a cached token takes.

    `fast`: our own, over fused weights; ModelError where it knows not the architecture. `general`:
    transformers' own. `auto`: fast where the probe finds it equal, else general. A model that is
    `owned` by nobody else is taken apart: its layers cannot run by themselves any more.
    """
    if path not in ("auto", "fast", "general"):
        raise RequestError(f"path {path!r}: expected auto, fast or general")
    name = type(model).__name__
    if path == "fast" and not is_family(model):
        raise ModelError(f"{name}: no fast path; it serves {', '.join(FAMILY)}")
    plain = _plain_branches(model)
    if path != "general" and is_family(model):
        fast = FastModel(model, owned)
        try:
            return fast, probe(model, backend, fast, plain)
        except ModelError as e:
            if path == "fast":
                raise
            log.warning("path: general, as the fast one fails: %s", e)
            fast.give_back_weights(model)
    row_bytes = probe(model, backend, plain=plain)
    general = GeneralModel(model)
    if owned:
        general.replaced = _bypass_module_calls(model, general, backend, plain)
    return general, row_bytes


def _bypass_module_calls(
    model: Any, general: GeneralModel, backend: Backend, plain: list[Tensor]
) -> list[Leaf]:
    """Where the model's code takes it."""
    leaves = bypass_module_calls(model)
    try:
        _compare(model, general, backend, plain)
    except (ModelError, AttributeError, TypeError) as e:  # its code looks into its layers
        restore_modules(leaves)
        log.info("linear layers stay as they are: %s", e)
        return []
    return leaves


def make_batch_invariant(
    model: Any, forward: FastModel | GeneralModel, backend: Backend, cache_dtype: torch.dtype
) -> int:
    """Let a token's logits depend on nothing else that is in its pass or cached. Returns the bytes
    that a cached token takes in a cache of `cache_dtype`, which should be float64.

    A sum of products depends on their order. That of attention depends on what else is cached, so
    it is computed in float64: of the bits that bfloat16 keeps, another order changes one number in
    10^12. Products of rows and weights have one order but for single rows, see `InPairs`.
    ModelError where logits still differ on this machine.
    """
    _compute_in_pairs(forward)
    found = [
        _engine_logits(forward, backend, _MARKERS, cache_dtype, max_rows, _PROMPT * 8)
        for max_rows in (1, 512)
    ]
    (alone, arena), (together, _) = found
    if not all(map(torch.equal, alone, together)):
        raise ModelError(
            f"{type(model).__name__}: batch_invariant: on this machine a token's logits in "
            f"{str(model.dtype).removeprefix('torch.')} depend on how many are computed with it; "
            "expected float32, or a CPU that computes in bfloat16"
        )
    return _token_bytes(arena)


def _compute_in_pairs(forward: FastModel | GeneralModel) -> None:
    """Products of single rows, from now on."""
    if isinstance(forward, GeneralModel):
        for parent, name, child in forward.replaced:
            if isinstance(child, torch.nn.Linear):
                parent.__dict__[name] = InPairs(parent.__dict__[name])
        return
    forward.head = InPairs(forward.head)
    forward.decoder_layers = [
        replace(
            layer, qkv=InPairs(layer.qkv), out=InPairs(layer.out),
            gate_up=InPairs(layer.gate_up), down=InPairs(layer.down),
        )
        for layer in forward.decoder_layers
    ]  # fmt: skip


def probe(
    model: Any,
    backend: Backend,
    forward: Forward | None = None,
    plain: list[Tensor] | None = None,
) -> int:
    """Raise ModelError unless branches decode as they would alone, through `forward` or the
    general path. plain: the logits that they must have, where they are known. Leaves the
    model driven by transformers' own attention. Returns the bytes that a cached token takes."""
    before = model.config._attn_implementation
    try:
        plain = plain or _plain_branches(model)
        if forward is None:
            _refuse_hidden_window(model)
        return _compare(model, forward or GeneralModel(model), backend, plain)
    finally:
        model.set_attn_implementation(before)


def _refuse_hidden_window(model: Any) -> None:
    """ModelError on a window that is shorter than the model's context."""
    window = hidden_window(model)
    if window is not None and window < (context_length(model.config) or window + 1):
        raise ModelError(
            f"{type(model).__name__}: {_UNSERVED} (its layers are masked by a window of {window}, "
            "of which its attention is not told)"
        )


def _compare(model: Any, forward: Forward, backend: Backend, plain: list[Tensor]) -> int:
    """Raise ModelError unless branches have the logits `plain`; returns bytes of a cached token."""
    name = type(model).__name__
    try:
        branched, arena = _engine_logits(forward, backend, _MARKERS)
    except ModelError as e:
        raise ModelError(f"{name}: {_UNSERVED} ({e})") from e
    if any(keys is None for keys in arena.keys):
        raise ModelError(f"{name}: {_UNSERVED} (some layers keep no keys and values)")
    # the model's own dtype: under autocast a trainer turns its logits into float32
    half = model.dtype in (torch.bfloat16, torch.float16)
    for i, (expected, logits) in enumerate(zip(plain, branched, strict=True)):
        gap = (expected.double() - logits.double()).abs().max() / expected.double().abs().max()
        if not gap <= (0.15 if half else 1e-3):
            raise ModelError(
                f"{name}: {_UNSERVED} (branch {i + 1} of a probe differs from plain decoding by "
                f"{gap:.1e} of its logits)"
            )
    return _token_bytes(arena)


def _token_bytes(arena: Arena) -> int:
    """What a cached token takes."""
    pools = (pool for pool in (*arena.keys, *arena.values) if pool is not None)
    return sum(pool[0].nbytes for pool in pools)


def _plain_branches(model: Any) -> list[Tensor]:
    """Logits after each branch's last word, of its text in one line. ModelError where they are no
    numbers."""
    found = _plain_logits(model, [_line(_MARKERS, i) for i in range(len(_BODIES))])
    if not all(logits.isfinite().all() for logits in found):
        raise ModelError(f"{type(model).__name__}: its logits are NaN or infinite: {_why(model)}")
    return found


def _why(model: Any) -> str:
    """What makes a model's logits no numbers."""
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            return f"so are numbers in its weight {name}; expected a whole checkpoint"
    dtype = str(model.dtype).removeprefix("torch.")
    return f"its weights are finite, but overflow in {dtype}; expected another dtype"


def _line(m: MarkerIds, branch: int) -> list[int]:
    """What branch `branch` sees, up to its last word."""
    outline = [m.fork, *(t for topic in _TOPICS for t in (m.topic, *topic)), m.spawn]
    return [*_PROMPT, *outline, m.branch, *_TOPICS[branch], *_BODIES[branch]]


@torch.inference_mode()
def _plain_logits(model: Any, lines: list[list[int]]) -> list[Tensor]:
    """Logits (vocabulary,) after each line, of one forward: shorter lines are padded behind their
    last token, which sees nothing of that."""
    longest = max(map(len, lines))
    rows = [[*line, *[line[-1]] * (longest - len(line))] for line in lines]
    ids = torch.tensor(rows, device=model.get_input_embeddings().weight.device)
    logits = model(input_ids=ids, use_cache=False).logits
    return [logits[i, len(line) - 1] for i, line in enumerate(lines)]


def _engine_logits(
    model: Forward,
    backend: Backend,
    m: MarkerIds,
    cache_dtype: torch.dtype | None = None,
    max_rows: int = 512,
    prompt: Sequence[int] = _PROMPT,
) -> tuple[list[Tensor], Arena]:
    """Logits after each branch's last word, and the arena, from passes over a scripted fork."""
    outline = [m.fork, *(t for topic in _TOPICS for t in (m.topic, *topic)), m.spawn]
    scripts: dict[Path, list[int]] = {(): [*outline, 6]}
    scripts |= {((0, i),): [*body, m.end] for i, body in enumerate(_BODIES)}
    last: dict[Path, Tensor] = {}

    def keep(logits: Tensor, sites: Sequence[SampleSite]) -> None:
        last.update({site.path: row for site, row in zip(sites, logits, strict=True)})

    sampler = ScriptedSampler(before=keep)
    cache = LaneCache(Arena(model.layers, model.device, dtype=cache_dtype))
    runner, limits = Runner(model, backend, cache=cache), EngineLimits(max_rows=max_rows)
    scheduler = Scheduler(ModelSpec(m, frozenset(), 1024), limits, cache)
    core = Core(scheduler, runner, sampler)
    params = SamplingParams(max_new_tokens=len(outline) + 1 + sum(len(b) + 1 for b in _BODIES))
    request = scheduler.add(list(prompt), params)
    sampler.add(request.number, scripts)
    while core.busy:
        core.step()
    if request.error is not None:
        raise request.error
    return [last[((0, i),)] for i in range(len(_BODIES))], runner.arena
