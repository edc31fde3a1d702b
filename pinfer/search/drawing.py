"""A tree as lines of text: while it grows, and when it is whole."""

from collections.abc import Iterator, Sequence

from pinfer.search.timeline import spell_path
from pinfer.search.tree.node import Node


def tree_lines(root: Node, chosen: Sequence[Node] = ()) -> Iterator[str]:
    """A line a thought: ● of the answer, ✗ not chosen, = a duplicate, … being written; its value in
    brackets."""
    for child in root.children:
        yield from _lines(child, chosen)


def _lines(node: Node, chosen: Sequence[Node]) -> Iterator[str]:
    mark = "●" if node in chosen else "=" if node.duplicate else "✗" if node.dropped else "·"
    if not node.branch.closed:
        mark = "…"
    value = "" if node.value is None else f" [{node.value:.3g}]"
    text = " ".join(node.text.split())
    yield f"{'  ' * (node.depth - 1)}{mark} {spell_path(node.path)}{value} {text}".rstrip()
    for child in node.children:
        yield from _lines(child, chosen)
