"""Measures what passes cost here, by rows, through the engine's own runner, and prints from where
on a fork pays. Tokens are forced; the model's logits are sampled from and thrown away."""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import repeat
from operator import itemgetter

import torch

from pbranch.errors import RequestError
from pbranch.format.markers import MarkerIds
from pinfer.bench.timing import each, interleave
from pinfer.core import Core
from pinfer.cost.pass_cost import PassCost
from pinfer.cost.store import cost_key, save_cost
from pinfer.engine import Engine
from pinfer.model_spec import ModelSpec
from pinfer.models.load import load
from pinfer.params import EngineLimits, SamplingParams
from pinfer.request.state import Path
from pinfer.sampling.scripted import ScriptedSampler
from pinfer.scheduling.scheduler import Scheduler

ROWS = (1, 2, 4, 8, 16)
_WARM_UPS = 2
_WORD = 6  # any token that is none of these
_MARKERS = MarkerIds(fork=0, topic=1, spawn=2, branch=3, end=4, join=5)


def report_cost(
    model: str | None = None,
    adapter: str | None = None,
    *,
    dtype: str | None = None,
    device: str | None = None,
    attention: str = "auto",
    path: str = "auto",
    trust_remote_code: bool = False,
    prompt_tokens: int = 512,
    as_json: bool = False,
) -> None:
    """Measure a model on this device, with as many threads as torch has now, store what its passes
    cost for `--fork auto`, and print it; the file's name goes to stderr."""
    loaded = load(model, adapter, dtype, device, trust_remote_code)
    key = cost_key(loaded.model, attention=attention, path=path)  # while the weights are whole
    engine = Engine(loaded, attention, path=path, owned=True)
    cost = measure_cost(engine.core, prompt_tokens)
    print(json.dumps({**key, **asdict(cost)}) if as_json else cost_table(cost))
    print(f"stored in {save_cost(cost, key)}", file=sys.stderr)


def measure_cost(
    core: Core, prompt_tokens: int = 512, rows: Sequence[int] = ROWS, rounds: int = 15
) -> PassCost:
    """Seconds of a step with so many branches after a prompt: medians of `rounds`, in each of which
    every width has its turn, in random order.

    Process CPU time on a CPU with one thread, which other programs do not disturb; else wall time,
    waiting for the device. RequestError where requests are being decoded, or the prompt does not
    fit.
    """
    passes = _WARM_UPS + rounds
    _check(core, prompt_tokens, rows, passes)
    forks: dict[int, _EndlessFork] = {}
    try:
        for n in rows:
            forks[n] = _EndlessFork(core, n, prompt_tokens, passes)
        arms = {str(n): fork.seconds for n, fork in forks.items()}
        timed = interleave(arms, rounds, _WARM_UPS)
    finally:
        for fork in forks.values():
            fork.core.scheduler.reset()
    return PassCost.measured({n: each(timed, itemgetter(str(n))).median for n in rows})


class _EndlessFork:
    """A request in the middle of a fork of so many branches, which write on for ever."""

    def __init__(self, core: Core, branches: int, prompt_tokens: int, passes: int) -> None:
        outline = [_MARKERS.fork, *[_MARKERS.topic, _WORD] * branches, _MARKERS.spawn]
        params = SamplingParams(
            max_new_tokens=len(outline) + branches * (passes + 2),
            fork="always",
            max_topics=branches,
        )
        spec = ModelSpec(_MARKERS, frozenset(), core.scheduler.spec.context)
        limits = EngineLimits(max_prefix_rows=0)
        sampler = ScriptedSampler(before=core.sampler)
        self.core = Core(Scheduler(spec, limits, core.runner.cache), core.runner, sampler)
        self.request = self.core.scheduler.add([_WORD] * prompt_tokens, params)
        scripts: dict[Path, Iterable[int]] = {((0, i),): repeat(_WORD) for i in range(branches)}
        sampler.add(self.request.number, {(): outline, **scripts})
        while len(self.request.lanes) == 1 or self.request.waiting or self._feeds_headers():
            self.core.step()

    def _feeds_headers(self) -> bool:
        return len(self.request.queue) > self.request.live

    def seconds(self) -> float:
        """Of one more step."""
        begin = _now()
        self.core.step()
        return _now() - begin


def _check(core: Core, prompt_tokens: int, rows: Sequence[int], passes: int) -> None:
    if core.busy:
        raise RequestError("the engine has requests; passes are measured when it is idle")
    longest = prompt_tokens + 2 * max(rows) + passes + 8
    if longest > core.scheduler.spec.context:
        raise RequestError(
            f"{prompt_tokens} prompt tokens: measuring takes {longest} positions, the model's "
            f"context holds {core.scheduler.spec.context}"
        )
    cached = sum(prompt_tokens + n * (passes + 6) + 4 for n in rows)
    most = core.scheduler.limits.max_kv_rows
    if most is not None and cached > most:
        raise RequestError(
            f"{prompt_tokens} prompt tokens: measuring takes {cached} cached rows; there is memory "
            f"for {most}"
        )


def _now() -> float:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def cost_table(cost: PassCost, topic_tokens: int = 4) -> str:
    """A line a measured width: milliseconds, tokens a second against one row, and from how many
    tokens a branch on a fork takes less time than the same text in one line."""
    lines = [f"{'rows':>4}  {'ms a pass':>9}  {'gain':>6}  a fork pays"]
    for n in cost.rows:
        least = cost.break_even(n, topic_tokens)
        pays = "never" if least is None else f"from {least} tokens a branch on"
        pays = "" if n == 1 else pays
        lines.append(f"{n:>4}  {1e3 * cost(n):>9.2f}  {cost.gain(n):>5.2f}x  {pays}".rstrip())
    return "\n".join([*lines, f"(topics of {topic_tokens} tokens)"])
