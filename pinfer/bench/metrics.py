"""Turns samples into findings: the figures of each workload, round by round. Arithmetic only."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from pinfer.bench.engine_arm import Sample
from pinfer.bench.findings import (
    ArmSeconds,
    Check,
    Finding,
    Gains,
    HostShares,
    PromptSlowdown,
    Ratio,
    RefillGain,
    Roofline,
    StepEfficiency,
    StepTimes,
)
from pinfer.bench.oracle import CheckedRunner
from pinfer.bench.timing import Quartiles, each
from pinfer.bench.workload import Workload

Round = Mapping[str, Sample]
Rounds = Sequence[Round]
Value = Callable[[Round], float]
PARALLEL, SERIAL, HF = "own parallel", "own serial", "HF generate"


def get_decode_seconds(name: str) -> Value:
    """CPU seconds of an arm after the prompt."""
    return lambda r: r[name].decode.cpu


def get_total_seconds(name: str) -> Value:
    """CPU seconds of an arm, prompt included."""
    return lambda r: r[name].prefill.cpu + r[name].decode.cpu


def get_branch_seconds(name: str) -> Value:
    """CPU seconds of an arm while branches were live."""
    return lambda r: r[name].branch_seconds()


def get_step_seconds(name: str, width: int, forward: bool = False) -> Value:
    """CPU seconds of an arm's step of `width` tokens, or of its forward alone."""
    return lambda r: r[name].step_seconds(width, forward)


def compute_ratio(rounds: Rounds, above: Value, below: Value, factor: float = 1.0) -> Ratio:
    """Median and quartiles of a quotient that is taken round by round."""
    return as_ratio(each(rounds, lambda r: factor * above(r) / below(r)))


def as_ratio(q: Quartiles) -> Ratio:
    """For JSON."""
    return {"median": q.median, "low": q.low, "high": q.high}


def compute_ms(rounds: Rounds, value: Value) -> float:
    """The median of seconds, in ms."""
    return 1000 * each(rounds, value).median


def describe_workload(workload: Workload) -> Finding:
    """A finding with a workload's name, and what its first line says about passes."""
    line = workload.line
    return {
        "workload": workload.name,
        "title": workload.title,
        "prompt": workload.prompt,
        "passes": {"parallel": line.passes, "serial": line.sampled},
        "ideal": line.sampled / line.passes,
    }


def summarize_check(checked: CheckedRunner, kv_formula: int, exact: bool) -> Check:
    """The comparison with the oracle. kv_formula: prompt and fed tokens of all requests, which need
    not all be there at once where some were left out of the comparison."""
    refused, partial = checked.refusal(exact), checked.follow is not None
    if refused is None and not partial and checked.most_rows != kv_formula:
        refused = f"the cache held {checked.most_rows} rows, expected {kv_formula}"
    return {
        "refused": refused,
        "draws": checked.compared,
        "largest_gap": checked.largest_gap,
        "tokens_different": checked.different,
        "kv_rows": checked.most_rows,
        "kv_formula": None if partial else kv_formula,
        "kv_reserved": checked.most_reserved,
    }


def compute_seconds(rounds: Rounds) -> dict[str, ArmSeconds]:
    """The medians of each arm."""
    return {name: _arm_seconds([r[name] for r in rounds]) for name in rounds[0]}


def _arm_seconds(samples: Sequence[Sample]) -> ArmSeconds:
    return {
        "cpu": median(s.decode.cpu for s in samples),
        "wall": median(s.decode.wall for s in samples),
        "prompt_cpu": median(s.prefill.cpu for s in samples),
    }


def compute_gains(rounds: Rounds, workload: Workload, peers: Sequence[str]) -> Gains:
    """W2 to W4, in the order in which they are to be read."""
    line = workload.line
    parallel, serial = get_decode_seconds(PARALLEL), get_decode_seconds(SERIAL)
    gain = compute_ratio(rounds, serial, parallel)
    gains: Gains = {
        "parallel_gain": gain,
        "efficiency": gain["median"] / (line.sampled / line.passes),
        "branch_gain": compute_ratio(
            rounds, get_branch_seconds(SERIAL), get_branch_seconds(PARALLEL)
        ),
        "branch_ideal": compute_branch_ideal(workload),
    }
    timed = [name for name in peers if name in rounds[0]]
    if HF in timed:
        gains["engine_gain"] = compute_ratio(rounds, get_decode_seconds(HF), serial)
        gains["total_gain"] = compute_ratio(rounds, get_decode_seconds(HF), parallel)
    if timed:
        ratios = {n: compute_ratio(rounds, get_decode_seconds(n), parallel) for n in timed}
        gains["peers"] = ratios
        gains["best_peer"] = min(timed, key=lambda name: ratios[name]["median"])
    gains["end_to_end_gain"] = compute_ratio(
        rounds, get_total_seconds(SERIAL), get_total_seconds(PARALLEL)
    )
    gains["seconds"], gains["rounds"] = compute_seconds(rounds), len(rounds)
    return gains


def compute_branch_ideal(workload: Workload) -> float:
    """The gain in passes while branches are live."""
    forks = workload.line.forks()
    sampled = sum(line.sampled for branches in forks for line in branches)
    return sampled / sum(max(line.passes for line in branches) for branches in forks)


def compute_roofline_share(rounds: Rounds, arm: str, floor: float) -> Roofline:
    """`floor`, the seconds that reading a step's bytes takes, over a step of one token."""
    share = compute_ratio(rounds, lambda r: floor, get_step_seconds(arm, 1))
    return {"roofline_share": share, "floor_ms": 1e3 * floor}


def compute_step_efficiency(rounds: Rounds, workload: Workload) -> StepEfficiency:
    """The gain as a share of what the steps' times allow, where passes become narrower as branches
    end. A step of one token is timed in the serial run, others in runs next to it."""
    widths = workload.line.widths()

    def allowed(r: Round) -> float:
        one = get_step_seconds(SERIAL, 1)(r)
        times = {w: get_step_seconds(f"step {w}", w)(r) for w in set(widths) if w > 1}
        return one * sum(widths) / sum(times.get(w, one) for w in widths)

    parallel, serial = get_decode_seconds(PARALLEL), get_decode_seconds(SERIAL)
    return {"of_measured": compute_ratio(rounds, lambda r: serial(r) / parallel(r), allowed)}


def compute_step_times(rounds: Rounds, arms: Sequence[str], widths: Sequence[int]) -> StepTimes:
    """W1: milliseconds of a step of each arm by width, and how much a wider one of ours gains."""

    def seconds(arm: str, width: int) -> Value:
        return get_step_seconds(f"{arm} {width}", width)

    def timed(arm: str, width: int) -> bool:
        return f"{arm} {width}" in rounds[0]

    return {
        "step_ms": {
            arm: {w: compute_ms(rounds, seconds(arm, w)) for w in widths if timed(arm, w)}
            for arm in arms
        },
        "step_gain": {
            w: compute_ratio(rounds, seconds(PARALLEL, 1), seconds(PARALLEL, w), factor=w)
            for w in widths
        },
        "rounds": len(rounds),
    }


def compute_refill_gain(rounds: Rounds, workload: Workload) -> RefillGain:
    """W5: throughput with refill over without, next to 1 / fill."""
    lengths = [line.sampled for line in workload.line.forks()[0]]
    fill = sum(lengths) / (len(lengths) * max(lengths))
    on, off = get_decode_seconds("refill on"), get_decode_seconds("refill off")
    return {
        "refill_gain": compute_ratio(rounds, off, on),
        "fill": fill,
        "refill_ideal": 1 / fill,
        "refill_passes": {name: len(sample.steps) for name, sample in rounds[0].items()},
        "seconds": compute_seconds(rounds),
        "rounds": len(rounds),
    }


def compute_prompt_slowdown(
    rounds: Rounds, arms: Sequence[str], width: int, short: int, long: int
) -> PromptSlowdown:
    """W6: a step after the long prompt over one after the short one, and both in ms."""
    finding: PromptSlowdown = {"step_ms": {}, "step_ratio": {}, "rounds": len(rounds)}
    for arm in arms:
        names = [name for name in (f"{arm} {long}", f"{arm} {short}") if name in rounds[0]]
        for name in names:
            finding["step_ms"][name] = compute_ms(rounds, get_step_seconds(name, width))
        if len(names) == 2:
            above, below = (get_step_seconds(name, width) for name in names)
            finding["step_ratio"][arm] = compute_ratio(rounds, above, below)
    return finding


def compute_host_shares(rounds: Rounds, widths: Sequence[int]) -> HostShares:
    """W8: forwards of both paths over transformers' bare one; whole steps for information."""
    finding: HostShares = {"host_share": {}, "step_ms": {}, "rounds": len(rounds)}
    for width in widths:
        bare = get_step_seconds(f"HF forward {width}", width)
        for path in ("fast", "general"):
            name = f"{path} {width}"
            forward = get_step_seconds(name, width, forward=True)
            finding["host_share"][name] = compute_ratio(rounds, forward, bare)
        for name in (f"{arm} {width}" for arm in ("fast", "general", "HF forward")):
            finding["step_ms"][name] = compute_ms(rounds, get_step_seconds(name, width))
    return finding
