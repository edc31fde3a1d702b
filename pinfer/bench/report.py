"""Findings as text for a terminal, in the order of what they prove."""

from collections.abc import Iterator, Mapping
from typing import Any

Finding = dict[str, Any]


def head(machine: Mapping[str, Any]) -> str:
    """What was measured, and on how quiet a machine."""
    m = machine
    noisy = "; NOISY: believe ratios only" if m["noisy"] else ""
    model = m["model"] or f"{m['shape']}, random weights"
    return (
        f"{model} · {m['dtype']} · {m['forward']} · prompt {m['prompt']} · "
        f"{m['threads']} thread{'s' * (m['threads'] > 1)}\n"
        f"torch {m['torch']} · transformers {m['transformers']} · "
        f"read {m['gb_per_second']:.1f} GB/s (spread {m['spread']:.0%}{noisy}) · "
        f"load {m['load'][0]:.1f} to {m['load'][1]:.1f} · stolen {m['steal']:.1%}\n"
        "CPU time of the process, one ratio a round: median [quartiles]"
    )


def lines(found: Finding) -> Iterator[str]:
    """One workload."""
    yield f"{found['workload']}  {found['title']}, prompt {found['prompt']}"
    check = found["check"]
    if check["refused"]:
        yield f"  NO SPEED     {check['refused']}"
        return
    yield (
        f"  checked      {check['draws']} draws: logits within {check['largest_gap']:.1e} of the "
        f"oracle's, {check['tokens_different']} greedy tokens differ"
    )
    if "passes" in found and found["workload"] in ("W2", "W3", "W4"):
        passes = found["passes"]
        yield f"  passes       {passes['parallel']}, one branch at a time {passes['serial']}"
    yield from _gains(found)
    yield from _tables(found)
    if check["kv_formula"]:
        yield (
            f"  cache        {check['kv_rows']} rows in use = formula, {check['kv_reserved']} "
            f"reserved ({check['kv_reserved'] / check['kv_formula']:.2f})"
        )
    for peer, why in found.get("skipped", {}).items():
        yield f"  skipped      {peer}: {why}"
    for name, times in found.get("seconds", {}).items():
        yield (
            f"  seconds      {name:<14} {times['cpu']:8.2f} cpu {times['wall']:8.2f} wall"
            f"   prompt {times['prompt_cpu']:.2f}"
        )


def _gains(found: Finding) -> Iterator[str]:
    if "parallel_gain" in found:
        yield (
            f"  parallel_gain  {_q(found['parallel_gain'])}  own serial / own parallel; "
            f"ideal {found['ideal']:.2f}, efficiency {found['efficiency']:.2f}"
        )
        yield (
            f"  branch phase   {_q(found['branch_gain'])}  while branches are live; "
            f"ideal {found['branch_ideal']:.2f}"
        )
    if "of_measured" in found:
        yield f"  of_measured    {_q(found['of_measured'])}  of what the steps' times allow"
    if "engine_gain" in found:
        yield f"  engine_gain    {_q(found['engine_gain'])}  HF generate / own serial"
        yield f"  total_gain     {_q(found['total_gain'])}  HF generate / own parallel"
    if "best_peer" in found:
        for name, gain in found["peers"].items():
            best = " (best peer)" if name == found["best_peer"] else ""
            yield f"  against        {_q(gain)}  {name} / own parallel{best}"
    if "roofline_share" in found:
        yield (
            f"  roofline_share {_q(found['roofline_share'])}  of a step of one row: reading takes "
            f"{found['floor_ms']:.2f} ms"
        )
    if "end_to_end_gain" in found:
        yield f"  end to end     {_q(found['end_to_end_gain'])}  the same, prompt included"
    if "refill_gain" in found:
        passes = found["refill_passes"]
        yield (
            f"  refill_gain    {_q(found['refill_gain'])}  off / on; 1 / fill "
            f"{found['refill_ideal']:.2f}, passes {passes['refill off']} / {passes['refill on']}"
        )


def _tables(found: Finding) -> Iterator[str]:
    table = found.get("step_ms", {})
    for name, value in table.items():
        if isinstance(value, Mapping):
            cells = "".join(f"{w:>4}: {ms:7.2f}" for w, ms in value.items())
            yield f"  ms a step      {name:<14}{cells}"
        else:
            yield f"  ms a step      {name:<20}{value:8.2f}"
    for width, gain in found.get("step_gain", {}).items():
        yield f"  step gain      {_q(gain)}  {width} T(1) / T({width})"
    for name, share in found.get("step_ratio", {}).items():
        yield f"  long / short   {_q(share)}  {name}"
    for name, share in found.get("host_share", {}).items():
        yield f"  host share     {_q(share)}  {name}: its forward / HF's, of so many rows"


def _q(value: Mapping[str, float]) -> str:
    return f"{value['median']:6.2f} [{value['low']:.2f}, {value['high']:.2f}]"
