"""Our own engine as an arm of a benchmark: scripted tokens through its real passes.

Only the sampler differs: it samples as ever, and then takes what the script says. So planning,
scheduling, sampling and joining are all in the figures.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from torch import Tensor

from pbranch.errors import ModelError
from pinfer.bench.models import vocabulary
from pinfer.bench.timing import ZERO, Span, now, since
from pinfer.bench.workload import Vocabulary, Workload, budget, script
from pinfer.core import Core
from pinfer.model_spec import ModelSpec
from pinfer.models.build import build_core
from pinfer.params import EngineLimits, Mode, SamplingParams
from pinfer.request.state import Request, Status
from pinfer.sampling.scripted import ScriptedSampler
from pinfer.scheduling.batch import Batch
from pinfer.scheduling.token_cache import TokenCache

LIMITS = EngineLimits(max_prefix_rows=2**16)


@dataclass(frozen=True, slots=True)
class Step:
    """A pass after the prompt's: tokens sampled, rows fed, whether branches were live; what the
    whole step took, and the forward alone."""

    width: int
    rows: int
    forked: bool
    took: Span
    forward: Span


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a workload. `tokens`: sampled in `decode`; `steps` where the arm has them."""

    prefill: Span
    decode: Span
    tokens: int
    steps: tuple[Step, ...] = ()

    def branch_seconds(self) -> float:
        """CPU seconds of the passes in which branches were live."""
        return sum(step.took.cpu for step in self.steps if step.forked)

    def step_seconds(self, width: int, forward: bool = False) -> float:
        """CPU seconds of a usual pass of `width` rows, or of its forward alone: the median."""
        usual = [
            s.forward.cpu if forward else s.took.cpu
            for s in self.steps
            if s.width == s.rows == width
        ]
        if not usual:
            raise ModelError(f"no pass of {width} rows was timed; expected some in every run")
        return median(usual)


@dataclass(slots=True)
class TimedRunner:
    """A runner, and how long its newest pass took."""

    runner: Any
    took: Span = ZERO

    @property
    def cache(self) -> TokenCache:
        """The runner's."""
        return self.runner.cache

    def run(self, batch: Batch) -> Tensor:
        """As the runner does."""
        begin = now()
        logits = self.runner.run(batch)
        self.took = since(begin)
        return logits


def make_core(model: Any, path: str) -> Core:
    """The step loop for scripts; it takes `model` apart."""
    words = vocabulary(model)
    context = model.config.get_text_config().max_position_embeddings
    spec = ModelSpec(words.markers, frozenset({words.end_of_text}), context)
    return build_core(
        model, spec, range(words.end_of_text + 1), limits=LIMITS, path=path, owned=True
    )


@dataclass(slots=True)
class EngineArm:
    """The step loop of our engine, decoding a workload in mode `parallel` or `serial`. runner: in
    the place of the core's own; limits: None for the core's own."""

    core: Core
    mode: Mode
    name: str
    words: Vocabulary
    seed: int = 0
    runner: Any = None
    limits: EngineLimits | None = None
    requests: list[Request] = field(default_factory=list)
    timed: TimedRunner = field(init=False)
    scripted: ScriptedSampler = field(init=False)
    loop: Core = field(init=False)

    def __post_init__(self) -> None:
        self.timed = TimedRunner(self.runner or self.core.runner)
        self.scripted = ScriptedSampler(before=self.core.sampler)
        self.loop = self.core.over(self.timed, self.scripted, self.limits)

    @property
    def wide(self) -> bool:
        """Whether branches are decoded in parallel."""
        return self.mode == "parallel"

    def refusal(self, workload: Workload) -> str | None:
        """None: it decodes everything."""
        return None

    def run(self, workload: Workload) -> Sample:
        """Decode all requests of a workload at once."""
        loop = self.loop
        if not workload.warm:
            loop.scheduler.reset()
        self.requests = self._add(workload)
        prefill, decode, steps = ZERO, ZERO, []
        while loop.busy:
            forked = any(r.trunk.status is Status.JOINING for r in self.requests)
            passes, rows = self._counts()
            begin = now()
            loop.step()
            took = since(begin)
            more, fed = self._counts()
            if more == passes:
                prefill = prefill.plus(took)
                continue
            decode = decode.plus(took)
            steps.append(Step(self.scripted.width, fed - rows, forked, took, self.timed.took))
        tokens = sum(line.sampled for line in workload.lines)
        check_passes(self.requests, workload, self.mode, loop.scheduler.limits, len(steps))
        return Sample(prefill, decode, tokens, tuple(steps))

    def _add(self, workload: Workload) -> list[Request]:
        """Queue the requests of a workload, and hand their scripts to the sampler."""
        prompt = workload.prompt_ids(self.words, self.seed)
        requests = []
        for i, line in enumerate(workload.lines):
            params = SamplingParams(max_new_tokens=budget(line), mode=self.mode, fork="always")
            request = self.loop.scheduler.add(prompt, params)
            rng = random.Random(f"{self.seed}|{workload.title}|{i}")
            self.scripted.add(request.number, script(line, self.words, rng))
            requests.append(request)
        return requests

    def _counts(self) -> tuple[int, int]:
        counted = [request.stats for request in self.requests]
        return sum(x.passes for x in counted), sum(x.fed for x in counted)


def check_passes(
    requests: Sequence[Request], workload: Workload, mode: Mode, limits: EngineLimits, steps: int
) -> None:
    """ModelError where an engine took other passes than the workload's lines say. Limits on rows
    that cut a pass only make more of them."""
    for request, line in zip(requests, workload.lines, strict=True):
        expected = line.sampled if mode == "serial" else line.passes
        whole = limits.max_rows == LIMITS.max_rows
        wrong = request.stats.passes != expected if whole else request.stats.passes < expected
        if wrong or request.finish_reason != "stop" or request.limits:
            raise ModelError(
                f"{workload.name} {mode}: request {request.number} took "
                f"{request.stats.passes} passes "
                f"and ended by {request.finish_reason} {request.limits}; expected {expected}, stop"
            )
    if len(requests) == 1 and steps != requests[0].stats.passes:
        raise ModelError(
            f"{workload.name} {mode}: {steps} steps for {requests[0].stats.passes} passes"
        )
