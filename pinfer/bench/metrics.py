"""What rounds say: the figures of each workload, from samples. Arithmetic only."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pinfer.bench.engine_arm import Sample
from pinfer.bench.oracle import Checked
from pinfer.bench.timing import each
from pinfer.bench.workload import Workload

Round = Mapping[str, Sample]
Rounds = Sequence[Round]
Value = Callable[[Round], float]
PARALLEL, SERIAL, HF = "own parallel", "own serial", "HF generate"


def decoding(name: str) -> Value:
    """CPU seconds of an arm behind the prompt."""
    return lambda r: r[name].decode.cpu


def whole(name: str) -> Value:
    """CPU seconds of an arm, prompt included."""
    return lambda r: r[name].prefill.cpu + r[name].decode.cpu


def branching(name: str) -> Value:
    """CPU seconds of an arm while branches were live."""
    return lambda r: r[name].branch_seconds()


def step(name: str, width: int, forward: bool = False) -> Value:
    """CPU seconds of an arm's step of `width` rows, or of its forward alone."""
    return lambda r: r[name].step_seconds(width, forward)


def ratio(rounds: Rounds, above: Value, below: Value, factor: float = 1.0) -> dict[str, float]:
    """Median and quartiles of a quotient that is taken round by round."""
    return each(rounds, lambda r: factor * above(r) / below(r)).as_dict()


def millis(rounds: Rounds, value: Value) -> float:
    """Median, in ms."""
    return 1000 * each(rounds, value).median


def described(workload: Workload) -> dict[str, Any]:
    """Its name, and what its first line says about passes."""
    line = workload.line
    return {
        "workload": workload.name,
        "title": workload.title,
        "prompt": workload.prompt,
        "passes": {"parallel": line.passes, "serial": line.drawn},
        "ideal": line.drawn / line.passes,
    }


def checked(check: Checked, kv_formula: int, exact: bool) -> dict[str, Any]:
    """What the comparison with the oracle found. kv_formula: prompt and fed tokens of all requests,
    which need not all be there at once where some were left out of the comparison."""
    refused, several = check.refusal(exact), check.follow is not None
    if refused is None and not several and check.most != kv_formula:
        refused = f"the cache held {check.most} rows, expected {kv_formula}"
    return {
        "refused": refused,
        "draws": check.draws,
        "largest_gap": check.gap,
        "tokens_different": check.different,
        "kv_rows": check.most,
        "kv_formula": None if several else kv_formula,
        "kv_reserved": check.reserved,
    }


def seconds(rounds: Rounds) -> dict[str, dict[str, float]]:
    """Of each arm, medians: decoding by both clocks, and its prompt."""
    return {
        name: {
            "cpu": each(rounds, decoding(name)).median,
            "wall": each(rounds, lambda r, n=name: r[n].decode.wall).median,  # type: ignore[misc]
            "prompt_cpu": each(rounds, lambda r, n=name: r[n].prefill.cpu).median,  # type: ignore[misc]
        }
        for name in rounds[0]
    }


def compared(rounds: Rounds, workload: Workload, peers: Sequence[str]) -> dict[str, Any]:
    """The gains of W2 to W4, in the order in which they are to be read."""
    line, own, alone = workload.line, decoding(PARALLEL), decoding(SERIAL)
    gain = ratio(rounds, alone, own)
    found: dict[str, Any] = {
        "parallel_gain": gain,
        "efficiency": gain["median"] / (line.drawn / line.passes),
        "branch_gain": ratio(rounds, branching(SERIAL), branching(PARALLEL)),
        "branch_ideal": branch_ideal(workload),
    }
    there = [name for name in peers if name in rounds[0]]
    if HF in there:
        found["engine_gain"] = ratio(rounds, decoding(HF), alone)
        found["total_gain"] = ratio(rounds, decoding(HF), own)
    if there:
        found["peers"] = {name: ratio(rounds, decoding(name), own) for name in there}
        found["best_peer"] = min(there, key=lambda name: found["peers"][name]["median"])
    found["end_to_end_gain"] = ratio(rounds, whole(SERIAL), whole(PARALLEL))
    return found | {"seconds": seconds(rounds), "rounds": len(rounds)}


def branch_ideal(workload: Workload) -> float:
    """The gain in passes while branches are live."""
    forks = workload.line.forks()
    drawn = sum(line.drawn for branches in forks for line in branches)
    return drawn / sum(max(line.passes for line in branches) for branches in forks)


def against_reading(rounds: Rounds, arm: str, floor: float) -> dict[str, Any]:
    """roofline_share: `floor`, the seconds that reading a step's bytes takes, over a step of one
    row."""
    return {"roofline_share": ratio(rounds, lambda r: floor, step(arm, 1)), "floor_ms": 1e3 * floor}


def against_steps(rounds: Rounds, workload: Workload) -> dict[str, Any]:
    """of_measured: the gain as a share of what the steps' own times allow, where passes become
    narrower as branches end. A step of one row is timed in the serial run, others beside it."""
    widths = workload.line.widths()

    def allowed(r: Round) -> float:
        alone = step(SERIAL, 1)(r)
        times = {w: step(f"step {w}", w)(r) for w in set(widths) if w > 1}
        return alone * sum(widths) / sum(times.get(w, alone) for w in widths)

    gain = ratio(rounds, lambda r: decoding(SERIAL)(r) / decoding(PARALLEL)(r), allowed)
    return {"of_measured": gain}


def step_table(rounds: Rounds, arms: Sequence[str], widths: Sequence[int]) -> dict[str, Any]:
    """W1: milliseconds of a step of each arm by width, and how much a wider one of ours gains."""
    table = {
        arm: {w: millis(rounds, step(f"{arm} {w}", w)) for w in widths if f"{arm} {w}" in rounds[0]}
        for arm in arms
    }
    alone = step(f"{PARALLEL} 1", 1)
    gains = {w: ratio(rounds, alone, step(f"{PARALLEL} {w}", w), factor=w) for w in widths}
    return {"step_ms": table, "step_gain": gains, "rounds": len(rounds)}


def refilled(rounds: Rounds, workload: Workload) -> dict[str, Any]:
    """W5: throughput with refill over without, beside 1 / fill."""
    lengths = [line.drawn for line in workload.line.forks()[0]]
    fill = sum(lengths) / (len(lengths) * max(lengths))
    on, off = decoding("refill on"), decoding("refill off")
    return {
        "refill_gain": ratio(rounds, off, on),
        "fill": fill,
        "refill_ideal": 1 / fill,
        "refill_passes": {name: len(sample.steps) for name, sample in rounds[0].items()},
        "seconds": seconds(rounds),
        "rounds": len(rounds),
    }


def lengthened(
    rounds: Rounds, arms: Sequence[str], width: int, short: int, long: int
) -> dict[str, Any]:
    """W6: a step behind the long prompt over one behind the short one, and both in ms."""
    found: dict[str, Any] = {"step_ms": {}, "step_ratio": {}, "rounds": len(rounds)}
    for arm in arms:
        names = [name for name in (f"{arm} {long}", f"{arm} {short}") if name in rounds[0]]
        for name in names:
            found["step_ms"][name] = millis(rounds, step(name, width))
        if len(names) == 2:
            above, below = (step(name, width) for name in names)
            found["step_ratio"][arm] = ratio(rounds, above, below)
    return found


def host_times(rounds: Rounds, widths: Sequence[int]) -> dict[str, Any]:
    """W8: forwards of both paths over transformers' bare one; whole steps for information."""
    found: dict[str, Any] = {"host_share": {}, "step_ms": {}, "rounds": len(rounds)}
    for width in widths:
        bare = step(f"HF forward {width}", width)
        for path in ("fast", "general"):
            name = f"{path} {width}"
            found["host_share"][name] = ratio(rounds, step(name, width, forward=True), bare)
        for name in (f"{arm} {width}" for arm in ("fast", "general", "HF forward")):
            found["step_ms"][name] = millis(rounds, step(name, width))
    return found
