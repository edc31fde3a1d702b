"""Findings as text for a terminal, in the order of what they prove."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from pinfer.bench.findings import Finding, Ratio


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
        yield _row("NO SPEED", check["refused"])
        return
    yield _row(
        "checked",
        f"{check['draws']} draws: logits within {check['largest_gap']:.1e} of the oracle's, "
        f"{check['tokens_different']} greedy tokens differ",
    )
    yield from _gains(found)
    yield from _tables(found)
    if formula := check["kv_formula"]:
        reserved = f"{check['kv_reserved']} reserved ({check['kv_reserved'] / formula:.2f})"
        yield _row("cache", f"{check['kv_rows']} rows in use = formula, {reserved}")
    for peer, why in found.get("skipped", {}).items():
        yield _row("skipped", f"{peer}: {why}")
    for name, times in found.get("seconds", {}).items():
        clocks = f"{times['cpu']:8.2f} cpu {times['wall']:8.2f} wall"
        yield _row("seconds", f"{name:<18}{clocks}   prompt {times['prompt_cpu']:.2f}")


def _gains(found: Finding) -> Iterator[str]:
    if "parallel_gain" in found:
        passes = found["passes"]
        yield _row("passes", f"{passes['parallel']}, one branch at a time {passes['serial']}")
        ideal = f"ideal {found['ideal']:.2f}, efficiency {found['efficiency']:.2f}"
        yield _ratio("parallel_gain", found["parallel_gain"], f"own serial / own parallel; {ideal}")
        ideal = f"ideal {found['branch_ideal']:.2f}"
        yield _ratio("branch_gain", found["branch_gain"], f"while branches are live; {ideal}")
    if "of_measured" in found:
        yield _ratio("of_measured", found["of_measured"], "of what the steps' times allow")
    if "engine_gain" in found:
        yield _ratio("engine_gain", found["engine_gain"], "HF generate / own serial")
        yield _ratio("total_gain", found["total_gain"], "HF generate / own parallel")
    for name, gain in found.get("peers", {}).items():
        best = " (best peer)" if name == found["best_peer"] else ""
        yield _ratio("against", gain, f"{name} / own parallel{best}")
    if "roofline_share" in found:
        floor = f"of a step of one row: reading takes {found['floor_ms']:.2f} ms"
        yield _ratio("roofline_share", found["roofline_share"], floor)
    if "end_to_end_gain" in found:
        note = "own serial / own parallel, prompt included"
        yield _ratio("end_to_end", found["end_to_end_gain"], note)
    if "refill_gain" in found:
        by_arm = found["refill_passes"]
        counts = f"passes {by_arm['refill off']} / {by_arm['refill on']}"
        note = f"off / on; 1 / fill {found['refill_ideal']:.2f}, {counts}"
        yield _ratio("refill_gain", found["refill_gain"], note)


def _tables(found: Finding) -> Iterator[str]:
    for name, value in found.get("step_ms", {}).items():
        if isinstance(value, Mapping):
            cells = "".join(f"{w:>5}: {ms:7.2f}" for w, ms in value.items())
        else:
            cells = f"{value:8.2f}"
        yield _row("ms a step", f"{name:<18}{cells}")
    for width, gain in found.get("step_gain", {}).items():
        yield _ratio("step gain", gain, f"{width} T(1) / T({width})")
    for name, share in found.get("step_ratio", {}).items():
        yield _ratio("long / short", share, name)
    for name, share in found.get("host_share", {}).items():
        yield _ratio("host share", share, f"{name}: its forward / HF's, of so many rows")


def _row(label: str, text: str) -> str:
    return f"  {label:<15}{text}"


def _ratio(label: str, value: Ratio, note: str) -> str:
    quartiles = f"[{value['low']:.2f}, {value['high']:.2f}]"
    return _row(label, f"{value['median']:5.2f} {quartiles}  {note}")


WIDTH, HEIGHT, EDGE = 640, 400, 56
COLOURS = ("#1f6f8b", "#c0562f", "#5b8a3c", "#7a5195", "#8a8a8a", "#b59b1d")


def draw(table: Mapping[str, Mapping[int, float]], title: str) -> str:
    """One line an arm; `table`: arm, rows, ms."""
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
        f'<text x="{middle:.0f}" y="{HEIGHT - 12}" text-anchor="middle">rows a step</text>',
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
