"""T(B) as a small SVG: milliseconds of a step by the number of rows. Knows only numbers."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

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
