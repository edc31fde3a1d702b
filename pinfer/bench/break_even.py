"""Measures what passes cost here, by rows, through the engine's own runner, and prints from where
on a fork pays. Tokens are forced; what the model says is drawn from and thrown away."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from operator import itemgetter

import torch

from pbranch.errors import RequestError
from pbranch.format.markers import MarkerIds
from pinfer.bench.timing import each, interleave
from pinfer.cost.pass_cost import PassCost
from pinfer.cost.store import cost_key, save_cost
from pinfer.engine import Engine
from pinfer.model_spec import Rules
from pinfer.models.load import load
from pinfer.params import EngineLimits, SamplingParams
from pinfer.request.state import Lane
from pinfer.scheduling.batch import Choice
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
    cost = measure_cost(engine, prompt_tokens)
    print(json.dumps({**key, **asdict(cost)}) if as_json else cost_table(cost))
    print(f"stored in {save_cost(cost, key)}", file=sys.stderr)


def measure_cost(
    engine: Engine, prompt_tokens: int = 512, rows: Sequence[int] = ROWS, rounds: int = 15
) -> PassCost:
    """Seconds of an engine's step with so many branches behind a prompt: medians of `rounds`, in
    each of which every width has its turn, in random order.

    Process CPU time on a CPU with one thread, which other programs do not disturb; else wall time,
    waiting for the device. RequestError where the engine is busy, or the prompt does not fit.
    """
    passes = _WARM_UPS + rounds
    _check(engine, prompt_tokens, rows, passes)
    lines: dict[int, _Line] = {}
    try:
        for n in rows:
            lines[n] = _Line(engine, n, prompt_tokens, passes)
        arms = {str(n): line.seconds for n, line in lines.items()}
        found = interleave(arms, rounds, _WARM_UPS)
    finally:
        for line in lines.values():
            engine.runner.release(line.request)
    return PassCost.measured({n: each(found, itemgetter(str(n))).median for n in rows})


class _Line:
    """A request in the middle of a block of so many branches, which write on for ever."""

    def __init__(self, engine: Engine, branches: int, prompt_tokens: int, passes: int) -> None:
        self.engine = engine
        outline = [_MARKERS.fork, *[_MARKERS.topic, _WORD] * branches, _MARKERS.spawn]
        params = SamplingParams(
            max_new_tokens=len(outline) + branches * (passes + 2),
            fork="always",
            max_topics=branches,
        )
        rules = Rules(_MARKERS, frozenset(), engine.rules.context)
        self.scheduler = Scheduler(rules, EngineLimits(max_prefix_rows=0))
        self.request = self.scheduler.add([_WORD] * prompt_tokens, params)
        self.outline = iter(outline)
        while len(self.request.lanes) == 1 or self.request.waiting or self._feeds_headers():
            self.step()

    def _feeds_headers(self) -> bool:
        return len(self.request.queue) > self.request.live

    def seconds(self) -> float:
        """Of one more step."""
        begin = _now(self.engine)
        self.step()
        return _now(self.engine) - begin

    def step(self) -> None:
        """A pass, as the engine makes it."""
        batch = self.scheduler.schedule()
        self.engine.sampler(self.engine.runner.run(batch), batch.lanes)
        self.scheduler.commit(batch, [Choice(self._next(x), True) for x in batch.lanes])

    def _next(self, lane: Lane) -> int:
        return _WORD if lane.in_branch else next(self.outline)


def _check(engine: Engine, prompt_tokens: int, rows: Sequence[int], passes: int) -> None:
    if engine.scheduler.busy:
        raise RequestError("the engine has requests; passes are measured when it is idle")
    longest = prompt_tokens + 2 * max(rows) + passes + 8
    if longest > engine.rules.context:
        raise RequestError(
            f"{prompt_tokens} prompt tokens: measuring takes {longest} positions, the model's "
            f"context holds {engine.rules.context}"
        )
    cached = sum(prompt_tokens + n * (passes + 6) + 4 for n in rows)
    most = engine.scheduler.limits.max_kv_rows
    if most is not None and cached > most:
        raise RequestError(
            f"{prompt_tokens} prompt tokens: measuring takes {cached} cached rows; there is memory "
            f"for {most}"
        )


def _now(engine: Engine) -> float:
    if engine.runner.device.type == "cuda":
        torch.cuda.synchronize(engine.runner.device)
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
