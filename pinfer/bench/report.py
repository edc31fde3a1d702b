"""Findings as text for a terminal, in the order of what they prove, and as a chart."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from pinfer.bench.findings import Finding, Ratio

LEGEND = """\
serial, parallel   our engine: one branch at a time; one token of every live branch in each step
T(n)               CPU time of a decode step with n tokens; a prompt's prefill is not part of it
20 + 4 x 30 + 20   tokens before the block, branches x tokens (or 40/30/20/10), tokens after it
1.94 [1.85, 2.02]  median [quartiles] over the rounds; a ratio is computed once in every round
oracle             transformers' forward over all tokens so far, under one dense mask
HF generate        transformers, one sequence, one token after another
HF batch           transformers, a batch with a sequence for each branch, the prompt copied
HF 4-D mask        transformers, one sequence under a 4-D mask, one token of every live branch"""

# workload: its plain title, and what it measures
TITLES = {
    "W1": ("time of a step", "T(n) by the number of tokens n, one for each live branch"),
    "W2": ("equal branches", "one request whose branches have one length"),
    "W3": ("unequal branches", "one request whose steps get narrower as its branches end"),
    "W4": ("stages", "one request with three blocks, one of them with a block in a branch"),
    "W5": ("many requests", "places of ended branches are given to the next request, or stay idle"),
    "W6": ("long prompt", "a step after a long prompt against a step after a short one"),
    "W8": ("host time of a forward", "a model so small that the calls of operators are the cost"),
}


def head(machine: Mapping[str, Any]) -> str:
    """What was measured, and on how quiet a machine."""
    m = machine
    noisy = "; NOISY: trust ratios only" if m["noisy"] else ""
    model = m["model"] or f"{m['shape']}, random weights"
    return (
        f"{model} · {m['dtype']} · {m['forward']} · prompt of {m['prompt']} tokens · "
        f"{m['threads']} thread{'s' * (m['threads'] > 1)}\n"
        f"torch {m['torch']} · transformers {m['transformers']} · "
        f"memory read at {m['gb_per_second']:.1f} GB/s (spread {m['spread']:.0%}{noisy}) · "
        f"load {m['load'][0]:.1f} to {m['load'][1]:.1f} · "
        f"CPU time taken by the host {m['steal']:.1%}\n"
        "Ratios are of CPU time of the process, computed in every round: median [quartiles]"
    )


def lines(found: Finding) -> Iterator[str]:
    """One workload."""
    title, measures = TITLES[found["workload"]]
    # a title of W1 and W8 says no more than the plain one
    facts = dict.fromkeys((title, found["title"], f"prompt of {found['prompt']} tokens"))
    yield f"{found['workload']}  {' · '.join(facts)}"
    yield f"    {measures}"
    check = found["check"]
    if check["refused"]:
        yield _row("NO SPEED", check["refused"])
        return
    yield _row(
        "checked",
        f"{check['draws']} sampled tokens: logits within {check['largest_gap']:.1e} of the "
        f"oracle's, {check['tokens_different']} greedy tokens differ",
    )
    yield from _gains(found)
    yield from _tables(found)
    if formula := check["kv_formula"]:
        reserved = f"{check['kv_reserved']} reserved ({check['kv_reserved'] / formula:.2f} times)"
        yield _row("cache", f"{check['kv_rows']} KV slots in use, equal to the formula; {reserved}")
    for peer, why in found.get("skipped", {}).items():
        yield _row("skipped", f"{peer}: {why}")
    for name, times in found.get("seconds", {}).items():
        clocks = f"{times['cpu']:8.2f} CPU {times['wall']:8.2f} wall"
        yield _row("seconds", f"{name:<18}{clocks}   prefill {times['prompt_cpu']:.2f} CPU")


def _gains(found: Finding) -> Iterator[str]:
    if "parallel_gain" in found:
        passes = found["passes"]
        yield _row("passes", f"parallel {passes['parallel']}, serial {passes['serial']}")
        ideal = f"ideal by passes {found['ideal']:.2f}, gain / ideal {found['efficiency']:.2f}"
        yield _ratio("parallel_gain", found["parallel_gain"], f"serial / parallel; {ideal}")
        ideal = f"ideal by passes {found['branch_ideal']:.2f}"
        note = f"serial / parallel while branches are live; {ideal}"
        yield _ratio("branch_gain", found["branch_gain"], note)
    if "of_measured" in found:
        note = "parallel_gain / the gain that the times T(n) of this run allow"
        yield _ratio("of_measured", found["of_measured"], note)
    if "engine_gain" in found:
        yield _ratio("engine_gain", found["engine_gain"], "HF generate / serial")
        yield _ratio("total_gain", found["total_gain"], "HF generate / parallel")
    for name, gain in found.get("peers", {}).items():
        best = " (best peer)" if name == found["best_peer"] else ""
        yield _ratio("peer_gain", gain, f"{name} / parallel{best}")
    if "roofline_share" in found:
        note = f"time to read weights and cache once ({found['floor_ms']:.2f} ms) / T(1)"
        yield _ratio("roofline_share", found["roofline_share"], note)
    if "end_to_end_gain" in found:
        note = "serial / parallel, prefill included"
        yield _ratio("end_to_end", found["end_to_end_gain"], note)
    if "refill_gain" in found:
        by_arm = found["refill_passes"]
        counts = f"passes {by_arm['refill off']} / {by_arm['refill on']}"
        note = f"without refill / with refill, {counts}"
        ideal = f"{found['refill_ideal']:.2f} from the idle places of ended branches alone"
        yield _ratio("refill_gain", found["refill_gain"], f"{note}; {ideal}")


def _tables(found: Finding) -> Iterator[str]:
    for name, value in found.get("step_ms", {}).items():
        if isinstance(value, Mapping):
            cells = "".join(f"  T({n}) {ms:7.2f}" for n, ms in value.items())
            yield _row("ms per step", f"{name:<16}{cells}")
        else:
            yield _row("ms per step", f"{_of(found, name):<26}{value:8.2f}")
    for width, gain in found.get("step_gain", {}).items():
        note = f"{width} T(1) / T({width}): a token costs so many times less"
        yield _ratio("step gain", gain, note)
    for name, share in found.get("step_ratio", {}).items():
        note = f"{name}: its step after the long prompt / after the short one"
        yield _ratio("long / short", share, note)
    for name, share in found.get("host_share", {}).items():
        note = f"{_of(found, name)}: its forward / transformers' forward"
        yield _ratio("host share", share, note)


def _of(found: Finding, name: str) -> str:
    """An arm whose name ends with a number, and what that number counts."""
    arm, _, number = name.rpartition(" ")
    if found["workload"] == "W6":
        return f"{arm}, prompt {number}"
    return f"{arm}, {number} token{'s' * (number != '1')}"


def _row(label: str, text: str) -> str:
    return f"  {label:<15}{text}"


def _ratio(label: str, value: Ratio, note: str) -> str:
    quartiles = f"[{value['low']:.2f}, {value['high']:.2f}]"
    return _row(label, f"{value['median']:5.2f} {quartiles}  {note}")


WIDTH, HEIGHT, EDGE = 640, 400, 56
COLOURS = ("#1f6f8b", "#c0562f", "#5b8a3c", "#7a5195", "#8a8a8a", "#b59b1d")


def draw(table: Mapping[str, Mapping[int, float]], title: str) -> str:
    """One line for each arm; `table`: arm, tokens per step, ms."""
    widths = sorted({w for row in table.values() for w in row})
    slowest = 1.05 * max(ms for row in table.values() for ms in row.values())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{EDGE}" y="24" font-size="14">{escape(title)}</text>',
        *_axes(widths, slowest),
    ]
    for (arm, row), colour in zip(table.items(), COLOURS * len(table), strict=False):
        spots = [(_x(w, widths[-1]), _y(ms, slowest)) for w, ms in sorted(row.items())]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in spots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in spots]
        a, b = spots[-1]
        name = escape(arm)
        parts.append(f'<text x="{a + 8:.0f}" y="{b + 4:.0f}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axes(widths: Sequence[int], slowest: float) -> list[str]:
    bottom, right = HEIGHT - EDGE, WIDTH - 2 * EDGE
    middle = _x(widths[-1] / 2, widths[-1])
    parts = [
        f'<path d="M{EDGE} {EDGE}V{bottom}H{right}" fill="none" stroke="black"/>',
        f'<text x="{middle:.0f}" y="{HEIGHT - 12}" text-anchor="middle">tokens per step</text>',
        f'<text x="{EDGE}" y="{EDGE - 8}" text-anchor="middle">ms</text>',
    ]
    for width in widths:
        x = _x(width, widths[-1])
        parts.append(f'<text x="{x:.0f}" y="{bottom + 18}" text-anchor="middle">{width}</text>')
    for ms in (slowest * part / 4 for part in range(1, 5)):
        y = _y(ms, slowest)
        parts.append(f'<path d="M{EDGE} {y:.0f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{EDGE - 6}" y="{y + 4:.0f}" text-anchor="end">{ms:.1f}</text>')
    return parts


def _x(width: float, widest: float) -> float:
    return EDGE + (WIDTH - 3 * EDGE) * width / widest


def _y(ms: float, slowest: float) -> float:
    return HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * ms / slowest
