"""T(B) as a small SVG: milliseconds of a step by the number of rows. Knows only numbers."""

from collections.abc import Mapping
from xml.sax.saxutils import escape

WIDTH, HEIGHT, EDGE = 640, 400, 56
COLOURS = ("#1f6f8b", "#c0562f", "#5b8a3c", "#7a5195", "#8a8a8a", "#b59b1d")


def draw(table: Mapping[str, Mapping[int, float]], title: str) -> str:
    """One line an arm; `table`: arm, rows, ms."""
    points = [(w, ms) for row in table.values() for w, ms in row.items()]
    widest, slowest = max(w for w, _ in points), max(ms for _, ms in points) * 1.05

    def x(width: float) -> float:
        return EDGE + (WIDTH - 3 * EDGE) * width / widest

    def y(ms: float) -> float:
        return HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * ms / slowest

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{EDGE}" y="24" font-size="14">{escape(title)}</text>',
        f'<path d="M{EDGE} {EDGE}V{HEIGHT - EDGE}H{WIDTH - 2 * EDGE}" fill="none" stroke="black"/>',
        f'<text x="{x(widest / 2):.0f}" y="{HEIGHT - 12}" text-anchor="middle">rows a step</text>',
        f'<text x="{EDGE}" y="{EDGE - 8}" text-anchor="middle">ms</text>',
    ]
    for width in sorted({w for w, _ in points}):
        parts.append(
            f'<text x="{x(width):.0f}" y="{HEIGHT - EDGE + 18}" text-anchor="middle">{width}</text>'
        )
    for ms in (slowest / 4, slowest / 2, slowest * 3 / 4, slowest):
        parts.append(
            f'<text x="{EDGE - 6}" y="{y(ms) + 4:.0f}" text-anchor="end">{ms:.1f}</text>'
            f'<path d="M{EDGE} {y(ms):.0f}H{WIDTH - 2 * EDGE}" stroke="#ddd"/>'
        )
    for (arm, row), colour in zip(table.items(), COLOURS * len(table), strict=False):
        spots = [(x(w), y(ms)) for w, ms in sorted(row.items())]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in spots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in spots]
        a, b = spots[-1]
        parts.append(f'<text x="{a + 8:.0f}" y="{b + 4:.0f}" fill="{colour}">{escape(arm)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
