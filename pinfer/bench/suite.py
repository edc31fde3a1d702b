"""Runs workloads on one model: first compared with the oracle, then timed next to the peers."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import torch

from pbranch.errors import RequestError
from pinfer.bench import metrics
from pinfer.bench.engine_arm import LIMITS, EngineArm, Sample, make_core
from pinfer.bench.findings import Check, Finding
from pinfer.bench.models import make_model, row_bytes, share_weights, vocabulary, weight_bytes
from pinfer.bench.oracle import CheckedRunner, MaskedRunner
from pinfer.bench.timing import BandwidthProbe, interleave
from pinfer.bench.transformers_arms import Arm, BatchArm, ForwardArm, GenerateArm, PromptCaches
from pinfer.bench.workload import Workload, at_prompt, equal, loaded, skewed, staged, steps
from pinfer.execution.runner import Runner
from pinfer.params import Mode

WORKLOADS = ("W1", "W2", "W3", "W4", "W5", "W6", "W8")
Runs = dict[str, Callable[[], Sample]]  # by the name of the arm


@dataclass(frozen=True, slots=True)
class Settings:
    """What is measured, and how long. tokens: of a branch of W2, trunk: before a block and after
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
        bandwidth: BandwidthProbe | None = None,
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
        self.engine_arms: list[EngineArm] = []  # all that share the core's cache
        self.parallel, self.serial = self._arm("parallel"), self._arm("serial")
        masked, name = MaskedRunner(self.plain), "HF 4-D mask"
        paper = EngineArm(
            self.core, "parallel", name, self.words, settings.seed, runner=masked, limits=LIMITS
        )
        prompts = PromptCaches(self.plain, self.words, settings.seed)
        self.prompts, self.peers = prompts, list[Arm]()
        if settings.peers:
            self.peers = [GenerateArm(prompts), BatchArm(prompts), paper]
            self.peers += [make(self.plain, settings) for make in others]
        self.bandwidth = bandwidth or BandwidthProbe()

    def _arm(self, mode: Mode, **changes: Any) -> EngineArm:
        """An arm over the core. changes: of the name or the limits."""
        arm = EngineArm(self.core, mode, f"own {mode}", self.words, self.settings.seed)
        self.engine_arms.append(replace(arm, **changes))
        return self.engine_arms[-1]

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

    def forget_prompts(self) -> None:
        """Empty the core's cache: each arm keeps prompts there for its own next requests."""
        for arm in self.engine_arms:
            arm.loop.scheduler.reset()

    def check(self, workload: Workload, arm: EngineArm) -> Check:
        """One run of an engine against the oracle; "refused" says why no speed may be printed."""
        self.forget_prompts()  # the cache is compared with what this run feeds
        # of many requests the first and the last: the oracle takes them one by one
        several = len(workload.lines) > 1
        checked = CheckedRunner(
            arm.core.runner,
            MaskedRunner(self.plain),
            arm.core.sampler,
            {0, len(workload.lines) - 1} if several else None,
        )
        trial = replace(arm, runner=checked)
        trial.run(workload)
        trial.loop.scheduler.reset()
        expected = sum(line.rows for line in workload.lines) + workload.prompt
        return metrics.summarize_check(checked, expected, exact=self.settings.dtype == "float32")

    def read_seconds(self, rows: int) -> float:
        """What reading the weights and so many cached rows takes at the measured bandwidth."""
        total = self.sizes["weight_bytes"] + self.sizes["row_bytes"] * rows
        return total / self.bandwidth.rate

    def rounds(self, arms: Runs) -> list[dict[str, Sample]]:
        """Interleaved; the bandwidth is measured in each."""
        s = self.settings
        return interleave(arms, s.rounds, s.warmups, s.minutes, s.seed, self.bandwidth.read)

    def measure(self, workload: Workload) -> Finding:
        """W2, W3, W4: one request, in parallel, one branch at a time, and by the peers."""
        finding = metrics.describe_workload(workload)
        finding["check"] = self.check(workload, self.parallel)
        if finding["check"]["refused"]:
            return finding
        arms: Runs = {arm.name: bind(arm, workload) for arm in (self.parallel, self.serial)}
        finding["skipped"] = {}
        for peer in self.peers:
            if why := peer.refusal(workload):
                finding["skipped"][peer.name] = why
            else:
                arms[peer.name] = bind(peer, workload)
        widths = sorted({w for w in workload.line.widths() if w > 1})
        if len(widths) > 1:  # unequal lengths: what they cost follows from the steps' times
            for width in widths:
                arms[f"step {width}"] = bind(self.parallel, steps(workload.prompt, width))
        rounds = self.rounds(arms)
        finding |= metrics.compute_gains(rounds, workload, [p.name for p in self.peers])
        # the cache counted at half of what the serial run feeds
        floor = self.read_seconds(workload.prompt + workload.line.rows // 2)
        finding |= metrics.compute_roofline_share(rounds, self.serial.name, floor)
        if len(widths) > 1:
            finding |= metrics.compute_step_efficiency(rounds, workload)
        return finding

    def measure_steps(self, prompt: int) -> Finding:
        """W1: the time of a step by its tokens."""
        widths = sorted({1, *self.settings.branches})
        work, tested = {w: steps(prompt, w) for w in widths}, (self.parallel, *self.peers)
        finding: Finding = {"workload": "W1", "title": "time of a step", "prompt": prompt}
        finding["check"] = self.check(work[widths[-1]], self.parallel)
        if finding["check"]["refused"]:
            return finding
        arms = {
            f"{arm.name} {width}": bind(arm, work[width])
            for arm in tested
            for width in widths
            if (arm.wide or width == 1) and arm.refusal(work[width]) is None
        }
        rounds = self.rounds(arms)
        finding |= metrics.compute_step_times(rounds, [arm.name for arm in tested], widths)
        floor = self.read_seconds(prompt + work[1].line.rows // 2)
        return finding | metrics.compute_roofline_share(rounds, f"{self.parallel.name} 1", floor)

    def measure_load(self, workload: Workload) -> Finding:
        """W5: many requests, few tokens a pass; the next request refills freed places, or not."""
        rows, arms = len(self.settings.lengths), {}
        finding = metrics.describe_workload(workload)
        for name, at_once in (("refill on", len(workload.lines)), ("refill off", 1)):
            limits = replace(self.core.scheduler.limits, max_rows=rows, max_requests=at_once)
            arm = self._arm("parallel", name=name, limits=limits)
            finding["check"] = self.check(workload, arm)
            if finding["check"]["refused"]:
                return finding
            arms[name] = bind(arm, workload)
        return finding | metrics.compute_refill_gain(self.rounds(arms), workload)

    def measure_prefix(self, branches: int) -> Finding:
        """W6: a step after a long prompt against the same after a short one."""
        s = self.settings
        short = steps(s.prompt, branches, warm=True)
        long = at_prompt(short, s.long_prompt)
        finding = metrics.describe_workload(long)
        finding["check"] = self.check(long, self.parallel)
        if finding["check"]["refused"]:
            return finding
        arms, finding["skipped"], tested = {}, {}, (self.parallel, *self.peers)
        for arm in tested:
            for work in (short, long):
                if why := arm.refusal(work):
                    finding["skipped"][f"{arm.name} {work.prompt}"] = why
                elif arm.wide:
                    arms[f"{arm.name} {work.prompt}"] = bind(arm, work)
        rounds = self.rounds(arms)
        names, lengths = [arm.name for arm in tested], (s.prompt, s.long_prompt)
        return finding | metrics.compute_prompt_slowdown(rounds, names, branches, *lengths)

    def measure_host(self) -> Finding:
        """W8: forwards of both paths against transformers' bare forward, with 1 and 8 tokens."""
        s = self.settings
        finding: Finding = {"workload": "W8", "title": "host time of a forward", "prompt": s.prompt}
        paths = {}
        for path in ("fast", "general"):
            core = make_core(share_weights(self.plain), path)
            paths[path] = EngineArm(core, "parallel", path, self.words, s.seed)
            finding["check"] = self.check(steps(s.prompt, 8), paths[path])
            if finding["check"]["refused"]:
                return finding
        arms: Runs = {}
        for width in (1, 8):
            work = steps(s.prompt, width)
            arms |= {f"{path} {width}": bind(arm, work) for path, arm in paths.items()}
            arms[f"HF forward {width}"] = bind(ForwardArm(self.prompts, width), steps(s.prompt, 1))
        return finding | metrics.compute_host_shares(self.rounds(arms), (1, 8))

    def machine(self) -> dict[str, Any]:
        """What was measured with: for the head of a report."""
        facts = {name: version(name) for name in ("torch", "transformers")}
        assert isinstance(self.core.runner, Runner)
        facts["forward"] = type(self.core.runner.model).__name__
        return {**asdict(self.settings), **facts, **self.bandwidth.report()}


def bind(arm: Arm, workload: Workload) -> Callable[[], Sample]:
    """A run without arguments."""
    return lambda: arm.run(workload)
