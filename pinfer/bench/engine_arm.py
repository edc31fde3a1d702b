"""Our own engine as an arm of a benchmark: scripted tokens through its real passes.

Only the sampler is another one: it draws as ever, and then takes what the script says. So planning,
scheduling, sampling and joining are all in the figures.
"""

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from torch import Tensor

from pbranch.errors import ModelError
from pinfer.bench.models import vocabulary
from pinfer.bench.timing import NOTHING, Span, now, since
from pinfer.bench.workload import Vocabulary, Workload, budget, script
from pinfer.engine import Engine
from pinfer.model_spec import Rules
from pinfer.models.load import Loaded
from pinfer.params import EngineLimits, Mode, SamplingParams
from pinfer.request.state import Lane, Path, Request, Status
from pinfer.sampling.sampler import Sampler
from pinfer.scheduling.batch import Batch, Choice
from pinfer.scheduling.scheduler import Scheduler

LIMITS = EngineLimits(max_prefix_rows=2**16)


@dataclass(frozen=True, slots=True)
class Step:
    """A pass after the prompt's: lanes drawn from, rows fed, whether branches were live; what the
    whole step took, and the forward alone."""

    width: int
    rows: int
    forked: bool
    took: Span
    forward: Span


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a workload. `tokens`: drawn in `decode`; `steps` where the arm has them."""

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


class Scripted(Sampler):
    """Draws from the logits, and then answers what each lane's script says."""

    def __init__(self, legal: Tensor) -> None:
        super().__init__(legal)
        self.scripts: dict[int, dict[Path, list[int]]] = {}
        self.width = 0  # lanes of the newest pass

    def __call__(self, logits: Tensor, lanes: Sequence[Lane]) -> list[Choice]:
        """One choice a lane; the draw is made, and thrown away."""
        super().__call__(logits, lanes)
        self.width = len(lanes)
        return [Choice(self.scripts[x.request.number][x.path][x.drawn], True) for x in lanes]


@dataclass(slots=True)
class Clocked:
    """A runner, and how long its passes took."""

    runner: Any
    took: Span = NOTHING

    def run(self, batch: Batch) -> Tensor:
        """As the runner does."""
        begin = now()
        logits = self.runner.run(batch)
        self.took = since(begin)
        return logits

    def release(self, request: Request, keep_prompt: bool = False) -> None:
        """As the runner does."""
        self.runner.release(request, keep_prompt)


class Wordless:
    """A tokenizer of ids without text: an engine that is fed ids asks for no more."""

    is_fast = True

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def encode(self, text: str, **_: Any) -> list[int]:
        """Any text is one token."""
        return [0]

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        """No token has text."""
        return ""

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        """Names of tokens."""
        return [str(i) for i in ids]


def make_engine(model: Any, path: str) -> Engine:
    """An engine for scripts; it takes `model` apart."""
    words = vocabulary(model)
    context = model.config.get_text_config().max_position_embeddings
    rules = Rules(words.markers, frozenset({words.end_of_text}), context)
    loaded = Loaded(model, Wordless(words.end_of_text + 1), rules)
    engine = Engine(loaded, limits=LIMITS, path=path, owned=True)
    return with_runner(engine, engine.runner, engine.scheduler.limits)


def with_runner(engine: Engine, runner: Any, limits: EngineLimits) -> Engine:
    """The same engine with a queue of its own, over another runner, under other limits."""
    other = copy.copy(engine)
    other.runner = Clocked(runner)  # type: ignore[assignment]
    other.scheduler = Scheduler(engine.rules, limits)
    other.sampler = Scripted(engine.sampler.legal)
    return other


@dataclass(slots=True)
class Own:
    """An engine that decodes a workload, in mode `parallel` or `serial`."""

    engine: Engine
    mode: Mode
    name: str
    words: Vocabulary
    seed: int = 0
    requests: list[Request] = field(default_factory=list)

    @property
    def wide(self) -> bool:
        """Whether branches are decoded side by side."""
        return self.mode == "parallel"

    def refusal(self, workload: Workload) -> str | None:
        """None: it decodes everything."""
        return None

    def run(self, workload: Workload) -> Sample:
        """Decode all requests of a workload at once."""
        engine = self.engine
        if not workload.warm:
            engine.reset()
        self.requests = add_requests(engine, workload, self.mode, self.words, self.seed)
        prefill, decode, steps = NOTHING, NOTHING, []
        while engine.scheduler.busy:
            forked = any(r.trunk.status is Status.JOINING for r in self.requests)
            passes, rows = self._counts()
            begin = now()
            engine.step()
            took = since(begin)
            more, fed = self._counts()
            if more == passes:
                prefill = prefill.plus(took)
                continue
            decode = decode.plus(took)
            forward = engine.runner.took  # type: ignore[attr-defined]
            width = engine.sampler.width  # type: ignore[attr-defined]
            steps.append(Step(width, fed - rows, forked, took, forward))
        tokens = sum(line.drawn for line in workload.lines)
        check_passes(self.requests, workload, self.mode, engine.scheduler.limits, len(steps))
        return Sample(prefill, decode, tokens, tuple(steps))

    def _counts(self) -> tuple[int, int]:
        requests = self.requests
        return sum(r.passes for r in requests), sum(r.rows for r in requests)


def add_requests(
    engine: Engine, workload: Workload, mode: Mode, words: Vocabulary, seed: int
) -> list[Request]:
    """Queue the requests of a workload, and hand their scripts to the sampler."""
    assert isinstance(engine.sampler, Scripted)
    prompt = workload.prompt_ids(words, seed)
    requests = []
    for i, line in enumerate(workload.lines):
        params = SamplingParams(max_new_tokens=budget(line), mode=mode, fork="always")
        request = engine.add({"token_ids": prompt}, params)
        rng = random.Random(f"{seed}|{workload.title}|{i}")
        engine.sampler.scripts[request.number] = script(line, words, rng)
        requests.append(request)
    return requests


def check_passes(
    requests: Sequence[Request], workload: Workload, mode: Mode, limits: EngineLimits, steps: int
) -> None:
    """ModelError where an engine took other passes than the workload's lines say. Limits on rows
    that cut a pass only make more of them."""
    for request, line in zip(requests, workload.lines, strict=True):
        expected = line.drawn if mode == "serial" else line.passes
        whole = limits.max_rows == LIMITS.max_rows
        wrong = request.passes != expected if whole else request.passes < expected
        if wrong or request.finish_reason != "stop" or request.limits:
            raise ModelError(
                f"{workload.name} {mode}: request {request.number} took {request.passes} passes "
                f"and ended by {request.finish_reason} {request.limits}; expected {expected}, stop"
            )
    if len(requests) == 1 and steps != requests[0].passes:
        raise ModelError(f"{workload.name} {mode}: {steps} steps for {requests[0].passes} passes")
