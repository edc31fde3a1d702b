"""A search as an HTML page: its tree, its phases, its timeline. One file, no script."""

from importlib.resources import files
from typing import Any

from jinja2 import Environment

from pinfer.search.run import SearchResult
from pinfer.search.timeline import Timeline, spell_path
from pinfer.search.tree.branch import Branch

_LEFT, _RIGHT = 90.0, 1000.0  # of the timeline, in units of its drawing


def write_page(result: SearchResult) -> str:
    """The page. What a model has written is escaped."""
    template = files("pinfer.search").joinpath("page.html").read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True).from_string(template)
    return page.render(
        result=result, phases=result.timeline.phases(), lanes=_lanes(result.timeline)
    )


def _lanes(timeline: Timeline) -> list[tuple[str, list[dict[str, Any]]]]:
    """A name and bars for each branch, in the order in which they began."""
    found: dict[Branch, list[dict[str, Any]]] = {}
    end = max((span.end for span in timeline.spans), default=0.0) or 1.0
    for span in sorted(timeline.spans, key=lambda s: s.begin):
        kind: str = span.branch.phase if span.kind == "verify" else "draft"
        bar = {
            "kind": "value-bar" if kind == "value" else kind,
            "x": round(_LEFT + (_RIGHT - _LEFT) * span.begin / end, 2),
            "width": round(max(0.5, (_RIGHT - _LEFT) * (span.end - span.begin) / end), 2),
        }
        found.setdefault(span.branch, []).append(bar)
    return [(spell_path(branch.path), bars) for branch, bars in found.items()]
