"""The branch format: markers, tree, tagged text, layout, visibility. All else builds on it."""

from pbranch.errors import BranchError
from pbranch.format.markers import FORMAT_VERSION, MARKERS, MarkerIds, Role
from pbranch.format.tagged_text import parse, render
from pbranch.format.tree import Fork, Segment, Trace, make_trace, plain_text

__all__ = [
    "FORMAT_VERSION",
    "MARKERS",
    "BranchError",
    "Fork",
    "MarkerIds",
    "Role",
    "Segment",
    "Trace",
    "make_trace",
    "parse",
    "plain_text",
    "render",
]
