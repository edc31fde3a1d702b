"""A picture of a bounded cache: which page lived when, in how many layers. SVG, no dependencies."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from pinfer.eviction.trace import KVTrace, PageLife, Path

WIDTH, LEFT, TOP, TALLEST = 960, 150, 40, 6000


def draw_waterfall(trace: KVTrace) -> str:
    """One line a page, the trunk's first, each lane's oldest on top; time, which is the position of
    the token being decoded, runs to the right. A line is darkest where all layers keep the page."""
    pages = sorted(trace.pages, key=lambda page: (page.path, page.start))
    end = max([page.closed for page in pages], default=0) + trace.options.page
    begin = min([page.start for page in pages], default=0)
    line = min(8.0, TALLEST / max(1, len(pages)))
    scale = (WIDTH - LEFT - 10) / max(1, end - begin)
    height = TOP + line * len(pages) + 30
    title = (
        f"{trace.options.policy}: pages of {trace.options.page} tokens, "
        f"at most {trace.budget} tokens a lane"
    )
    body = [_text(10, 20, title)]
    lane: Path | None = None
    for row, page in enumerate(pages):
        y = TOP + row * line
        if page.path != lane:
            lane = page.path
            body.append(_text(10, y + 9, lane_name(lane)))
        for start, stop, share in lifetimes(page, trace.layers, end):
            x, width = LEFT + (start - begin) * scale, (stop - start) * scale
            body.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{line * 0.9:.2f}" '
                f'fill="#1f4e79" fill-opacity="{share:.2f}"/>'
            )
    body += [_text(LEFT, height - 8, f"token {begin}"), _text(WIDTH - 90, height - 8, f"{end}")]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'font-family="sans-serif" font-size="12">\n' + "\n".join(body) + "\n</svg>\n"
    )


def lifetimes(page: PageLife, layers: int, end: int) -> Iterator[tuple[int, int, float]]:
    """(from, to, share of the layers that keep the page), from its first token on."""
    gone = Counter(page.gone.values())
    left = layers
    for start, stop in pairwise([page.start, *sorted(gone), end]):
        left -= gone.get(start, 0)
        if stop > start and left:
            yield start, stop, left / layers


def lane_name(path: Path) -> str:
    """`trunk`, or the numbers of fork and branch from the trunk down."""
    return "trunk" if not path else "branch " + " / ".join(f"{f + 1}.{b + 1}" for f, b in path)


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}">{text}</text>'
