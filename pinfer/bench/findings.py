"""What a benchmark says, field by field as `--json` prints it. Plain values, no arithmetic.

A finding has the fields of its workload; one that was refused has none with a time or a ratio.
Arms are named as in the reports; all times are CPU time of the process, unless a field says wall.
"""

from typing import Any, Required, TypedDict


class Ratio(TypedDict):
    """Median and quartiles of a quotient that is taken round by round."""

    median: float
    low: float
    high: float


class Check(TypedDict):
    """The comparison with the oracle."""

    refused: str | None  # why no speed may be printed
    draws: int  # sampled tokens that were compared
    largest_gap: float  # of a logit
    tokens_different: int  # greedy ones
    kv_rows: int  # slots in use, at most
    kv_formula: int | None  # the slots expected; None where some requests were not compared
    kv_reserved: int  # slots in use and spare, at most


class Passes(TypedDict):
    """Passes of a request by the order of its branches."""

    parallel: int
    serial: int


class ArmSeconds(TypedDict):
    """Medians of an arm: decoding by both clocks, and its prompt."""

    cpu: float
    wall: float
    prompt_cpu: float


class Times(TypedDict, total=False):
    """What most workloads have."""

    rounds: int
    seconds: dict[str, ArmSeconds]  # by arm
    # W1: arm -> tokens a pass -> ms. W6: arm and prompt -> ms. W8: arm and tokens a pass -> ms
    step_ms: dict[str, Any]


class Gains(Times, total=False):
    """W2, W3, W4: one request, in parallel, one branch at a time, and by peers."""

    parallel_gain: Ratio  # serial over parallel
    efficiency: float  # its median over the quotient of passes
    branch_gain: Ratio  # the same, while branches are live
    branch_ideal: float  # quotient of passes while branches are live
    engine_gain: Ratio  # HF generate over our serial
    total_gain: Ratio  # HF generate over our parallel
    peers: dict[str, Ratio]  # each over our parallel
    best_peer: str  # the fastest
    end_to_end_gain: Ratio  # serial over parallel, prompt included


class StepEfficiency(TypedDict, total=False):
    """W3, W4: where branches have unequal lengths."""

    of_measured: Ratio  # the gain as a share of what the times of the steps allow


class Roofline(TypedDict, total=False):
    """W1 to W4: a step against reading what it must read."""

    roofline_share: Ratio  # reading over a step of one token
    floor_ms: float  # reading


class StepTimes(Times, total=False):
    """W1: steps by their tokens."""

    step_gain: dict[int, Ratio]  # tokens a second of a step of n tokens, over one of one token


class RefillGain(Times, total=False):
    """W5: many requests, freed places refilled by the next request or not."""

    refill_gain: Ratio  # without over with refill
    fill: float  # mean length of a branch over the longest
    refill_ideal: float  # 1 / fill
    refill_passes: dict[str, int]  # by arm


class PromptSlowdown(Times, total=False):
    """W6: steps after a long prompt."""

    step_ratio: dict[str, Ratio]  # by arm: after the long prompt over after the short one


class HostShares(Times, total=False):
    """W8: forwards with hardly any arithmetic."""

    host_share: dict[str, Ratio]  # by path and tokens: our forward over transformers' bare one


class Finding(
    Gains,
    StepEfficiency,
    Roofline,
    StepTimes,
    RefillGain,
    PromptSlowdown,
    HostShares,
    total=False,
):
    """One workload of one model."""

    workload: Required[str]
    title: Required[str]
    prompt: Required[int]  # tokens
    passes: Passes
    ideal: float  # quotient of the passes
    check: Check
    skipped: dict[str, str]  # peer -> why it does not take part
