"""Runs workloads on one model: first held against the oracle, then timed beside the peers.

A finding is a dictionary, as `--json` prints it. One that was refused holds no time at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import torch

from pbranch.errors import RequestError
from pinfer.bench import metrics
from pinfer.bench.engine_arm import LIMITS, EngineArm, Sample, make_core
from pinfer.bench.models import make_model, row_bytes, share_weights, vocabulary, weight_bytes
from pinfer.bench.oracle import Checked, Masked
from pinfer.bench.timing import Canary, interleave
from pinfer.bench.transformers_arms import Arm, Batch, Forward, Generate, Prompts
from pinfer.bench.workload import Workload, at_prompt, equal, loaded, skewed, staged, steps
from pinfer.execution.runner import Runner

WORKLOADS = ("W1", "W2", "W3", "W4", "W5", "W6", "W8")
Finding = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """What is measured, and how long. tokens: of a branch of W2, trunk: before a block and behind
    it, both halved for W4; long_prompt: W6's; minutes: of a workload's rounds."""

    shape: str | None = "0.5b"
    model: str | None = None
    trust_remote_code: bool = False
    dtype: str = "float32"
    path: str = "auto"
    prompt: int = 512
    long_prompt: int = 4096
    branches: tuple[int, ...] = (2, 4, 8)
    lengths: tuple[int, ...] = (160, 120, 80, 40)
    tokens: int = 100
    trunk: int = 50
    requests: int = 16
    rounds: int = 9
    warmups: int = 2
    minutes: float | None = None
    threads: int = 1
    seed: int = 0
    peers: bool = True


def check_names(names: Sequence[str]) -> None:
    """RequestError at the first that is no workload."""
    for name in names:
        if name not in WORKLOADS:
            raise RequestError(f"workload {name!r}: expected {', '.join(WORKLOADS)}")


class Suite:
    """A model, its engines and its peers. `others`: peers of a script's own, made from the plain
    model and the settings."""

    def __init__(
        self,
        settings: Settings,
        others: Sequence[Callable[[Any, Settings], Arm]] = (),
        canary: Canary | None = None,
    ) -> None:
        torch.set_num_threads(settings.threads)
        self.settings = settings
        model = make_model(
            settings.shape,
            settings.model,
            settings.dtype,
            settings.seed,
            settings.trust_remote_code,
        )
        self.words = vocabulary(model)
        self.sizes = {"weight_bytes": weight_bytes(model), "row_bytes": row_bytes(model)}
        self.plain = share_weights(model)
        self.plain.generation_config.eos_token_id = None  # `generate` goes on to the last token
        self.core = make_core(model, settings.path)
        self.parallel, self.serial = self._arm("parallel"), self._arm("serial")
        masked, name = Masked(self.plain), "HF 4-D mask"
        paper = EngineArm(
            self.core, "parallel", name, self.words, settings.seed, runner=masked, limits=LIMITS
        )
        prompts = Prompts(self.plain, self.words, settings.seed)
        self.prompts, self.peers = prompts, list[Arm]()
        if settings.peers:
            self.peers = [Generate(prompts), Batch(prompts), paper]
            self.peers += [make(self.plain, settings) for make in others]
        self.canary = canary or Canary()

    def _arm(self, mode: Any) -> EngineArm:
        return EngineArm(self.core, mode, f"own {mode}", self.words, self.settings.seed)

    def run(self, name: str) -> list[Finding]:
        """The findings of a workload of WORKLOADS; W2 has one for each number of branches."""
        s = self.settings
        if name == "W1":
            return [self.measure_steps(s.prompt)]
        if name == "W2":
            return [self.measure(equal(s.prompt, b, s.tokens, s.trunk)) for b in s.branches]
        if name == "W3":
            return [self.measure(skewed(s.prompt, s.lengths, s.trunk))]
        if name == "W4":
            return [self.measure(staged(s.prompt, s.tokens // 2, s.trunk // 2))]
        if name == "W5":
            return [self.measure_load(loaded(s.prompt, s.lengths, s.requests, s.trunk))]
        if name == "W6":
            return [self.measure_prefix(b) for b in s.branches if b > 2]
        assert name == "W8", f"{name} is none of {WORKLOADS}"
        return [self.measure_host()]

    def check(self, workload: Workload, arm: EngineArm) -> Finding:
        """One run of an engine against the oracle; "refused" says why no speed may be printed."""
        arm.loop.scheduler.reset()
        # of many requests the first and the last: the oracle takes them one by one
        several = len(workload.lines) > 1
        checked = Checked(
            arm.core.runner,
            Masked(self.plain),
            arm.core.sampler,
            {0, len(workload.lines) - 1} if several else None,
        )
        trial = replace(arm, runner=checked)
        trial.run(workload)
        trial.loop.scheduler.reset()
        expected = sum(line.rows for line in workload.lines) + workload.prompt
        return metrics.checked(checked, expected, exact=self.settings.dtype == "float32")

    def read_seconds(self, rows: int) -> float:
        """What reading the weights and so many cached rows takes at the canary's rate."""
        total = self.sizes["weight_bytes"] + self.sizes["row_bytes"] * rows
        return total / self.canary.rate

    def rounds(self, arms: dict[str, Callable[[], Sample]]) -> list[dict[str, Sample]]:
        """Interleaved, a look at the canary in each."""
        s = self.settings
        return interleave(arms, s.rounds, s.warmups, s.minutes, s.seed, self.canary.read)

    def measure(self, workload: Workload) -> Finding:
        """W2, W3, W4: one request, beside one branch at a time and beside the peers."""
        found = metrics.described(workload)
        found["check"] = self.check(workload, self.parallel)
        if found["check"]["refused"]:
            return found
        arms: dict[str, Callable[[], Sample]] = {
            own.name: bind(own, workload) for own in (self.parallel, self.serial)
        }
        found["skipped"] = {}
        for peer in self.peers:
            why = peer.refusal(workload)
            if why is None:
                arms[peer.name] = bind(peer, workload)
            else:
                found["skipped"][peer.name] = why
        widths = sorted({w for w in workload.line.widths() if w > 1})
        if len(widths) > 1:  # unequal lengths: what they cost follows from the steps' times
            for width in widths:
                arms[f"step {width}"] = bind(self.parallel, steps(workload.prompt, width))
        rounds = self.rounds(arms)
        found |= metrics.compared(rounds, workload, [p.name for p in self.peers])
        # the cache counted at half of what the serial run feeds
        floor = self.read_seconds(workload.prompt + workload.line.rows // 2)
        found |= metrics.against_reading(rounds, self.serial.name, floor)
        if len(widths) > 1:
            found |= metrics.against_steps(rounds, workload)
        return found

    def measure_steps(self, prompt: int) -> Finding:
        """W1: the time of a step by its width."""
        widths = sorted({1, *self.settings.branches})
        work = {width: steps(prompt, width) for width in widths}
        found: Finding = {"workload": "W1", "title": "time of a step", "prompt": prompt}
        found["check"] = self.check(work[widths[-1]], self.parallel)
        if found["check"]["refused"]:
            return found
        arms = {
            f"{arm.name} {width}": bind(arm, work[width])
            for arm in (self.parallel, *self.peers)
            for width in widths
            if (arm.wide or width == 1) and arm.refusal(work[width]) is None
        }
        rounds = self.rounds(arms)
        names = [arm.name for arm in (self.parallel, *self.peers)]
        found |= metrics.step_table(rounds, names, widths)
        floor = self.read_seconds(prompt + work[1].line.rows // 2)
        return found | metrics.against_reading(rounds, f"{self.parallel.name} 1", floor)

    def measure_load(self, workload: Workload) -> Finding:
        """W5: many requests, four rows a pass: freed rows refilled by the next request, or not."""
        rows = len(self.settings.lengths)
        found = metrics.described(workload)
        arms, used = {}, []
        for name, at_once in (("refill on", len(workload.lines)), ("refill off", 1)):
            limits = replace(self.core.scheduler.limits, max_rows=rows, max_requests=at_once)
            arm = replace(self.parallel, limits=limits, name=name)
            found["check"] = self.check(workload, arm)
            if found["check"]["refused"]:
                return found
            arms[name] = bind(arm, workload)
            used.append(arm)
        found |= metrics.refilled(self.rounds(arms), workload)
        for arm in used:  # the next workload's check counts rows
            arm.loop.scheduler.reset()
        return found

    def measure_prefix(self, branches: int) -> Finding:
        """W6: a step behind a long prompt against the same behind a short one."""
        s = self.settings
        short = steps(s.prompt, branches, warm=True)
        long = at_prompt(short, s.long_prompt)
        found = metrics.described(long)
        found["check"] = self.check(long, self.parallel)
        if found["check"]["refused"]:
            return found
        arms, found["skipped"] = {}, {}
        for arm in (self.parallel, *self.peers):
            for work in (short, long):
                if why := arm.refusal(work):
                    found["skipped"][f"{arm.name} {work.prompt}"] = why
                elif arm.wide:
                    arms[f"{arm.name} {work.prompt}"] = bind(arm, work)
        rounds = self.rounds(arms)
        names = [arm.name for arm in (self.parallel, *self.peers)]
        return found | metrics.lengthened(rounds, names, branches, s.prompt, s.long_prompt)

    def measure_host(self) -> Finding:
        """W8: forwards of both paths against transformers' bare forward, at 1 and at 8 rows."""
        s = self.settings
        found: Finding = {"workload": "W8", "title": "host time of a forward", "prompt": s.prompt}
        paths = {}
        for path in ("fast", "general"):
            core = make_core(share_weights(self.plain), path)
            paths[path] = EngineArm(core, "parallel", path, self.words, s.seed)
            found["check"] = self.check(steps(s.prompt, 8), paths[path])
            if found["check"]["refused"]:
                return found
        arms: dict[str, Callable[[], Sample]] = {}
        for width in (1, 8):
            work = steps(s.prompt, width)
            arms |= {f"{path} {width}": bind(own, work) for path, own in paths.items()}
            arms[f"HF forward {width}"] = bind(Forward(self.prompts, width), steps(s.prompt, 1))
        return found | metrics.host_times(self.rounds(arms), (1, 8))

    def machine(self) -> Finding:
        """What was measured with: for the head of a report."""
        facts = {name: version(name) for name in ("torch", "transformers")}
        assert isinstance(self.core.runner, Runner)
        path = type(self.core.runner.model).__name__
        return {**asdict(self.settings), **facts, "forward": path, **self.canary.report()}


def bind(arm: Arm, workload: Workload) -> Callable[[], Sample]:
    """A run without arguments."""
    return lambda: arm.run(workload)
