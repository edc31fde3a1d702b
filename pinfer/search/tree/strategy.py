"""Strategies: which thoughts of a round go on, which leave, and when a search is at its end.

Pure functions of the values, in the order of paths: when a value came in decides nothing.
"""

import math
import random
from collections.abc import Sequence
from typing import Protocol

from pinfer.search.tree.node import Node
from pinfer.search.tree.settings import SearchSettings


class Strategy(Protocol):
    """Chooses after each round."""

    def choose(self, children: Sequence[Node]) -> list[Node]:
        """The nodes to expand next; none: the search is at its end. children: of the nodes expanded
        last, in the order of their paths, with values."""

    def live(self) -> list[Node]:
        """The nodes that may still be expanded, or be the answer. All that is on no way to one of
        them leaves."""

    def best(self) -> Node | None:
        """The node whose path is the answer, None where there is none."""


def rank(nodes: Sequence[Node], settings: SearchSettings, lowest: float, turn: int) -> list[Node]:
    """Nodes in the order in which they are chosen: the highest value first, the lower path of equal
    ones. select `sample`: drawn one after the other without replacement, with probabilities by how
    far values are above the lowest possible one (Gumbel noise, sorted)."""
    ordered = sorted(nodes, key=lambda node: (node.duplicate, -_value(node), node.path))
    if settings.select == "greedy":
        return ordered
    drawn: dict[Node, float] = {}
    for node in ordered:
        noise = random.Random(f"{settings.seed}|{turn}|{node.path}").random() or 0.5
        weight = 0.0 if node.duplicate else _value(node) - lowest
        drawn[node] = math.log(weight) - math.log(-math.log(noise)) if weight > 0 else -math.inf
    return sorted(ordered, key=lambda node: -drawn[node])


class BreadthFirst:
    """The best `keep` nodes of each level; whole answers stay among them until better ones come."""

    def __init__(self, settings: SearchSettings, lowest: float) -> None:
        self.settings, self.lowest, self.turn = settings, lowest, 0
        self.kept: list[Node] = []

    def choose(self, children: Sequence[Node]) -> list[Node]:
        """As `Strategy`."""
        self.turn += 1
        pool = [*(node for node in self.kept if node.final), *children]
        ranked = rank(pool, self.settings, self.lowest, self.turn)
        self.kept = [node for node in ranked if not node.duplicate][: self.settings.keep]
        return [node for node in self.kept if not node.final]

    def live(self) -> list[Node]:
        """As `Strategy`."""
        return self.kept

    def best(self) -> Node | None:
        """As `Strategy`."""
        return max(self.kept, key=_merit, default=None)


class DepthFirst:
    """One node at a time, the best child first. A child below the threshold is cut off. Ends at a
    whole answer that is not below it."""

    def __init__(self, settings: SearchSettings, lowest: float) -> None:
        self.settings, self.lowest, self.turn = settings, lowest, 0
        self.stack: list[Node] = []
        self.found: Node | None = None  # the best path that has come to an end
        self.current: list[Node] = []

    def choose(self, children: Sequence[Node]) -> list[Node]:
        """As `Strategy`."""
        self.turn += 1
        least = self.settings.threshold
        ranked = rank(children, self.settings, self.lowest, self.turn)
        ranked = [node for node in ranked if not node.duplicate]
        for node in (node for node in ranked if node.final):
            self.found = _better(node, self.found)
        self.stack += [n for n in reversed(ranked) if not n.final and _value(n) >= least]
        found = self.found
        reached = found is not None and found.complete and _value(found) >= least
        spent = self.turn >= self.settings.expansions
        self.current = [] if reached or spent or not self.stack else [self.stack.pop()]
        return self.current

    def live(self) -> list[Node]:
        """As `Strategy`."""
        return [*self.current, *self.stack, *([self.found] if self.found else [])]

    def best(self) -> Node | None:
        """As `Strategy`: where no path has come to its end, the best one that is open."""
        return self.found or max(self.stack, key=_merit, default=None)


class BestFirst:
    """The best `keep` open nodes, wherever in the tree they stand. Ends where a whole answer is
    better than all of them."""

    def __init__(self, settings: SearchSettings, lowest: float) -> None:
        self.settings, self.lowest, self.turn, self.spent = settings, lowest, 0, 1
        self.open: list[Node] = []
        self.found: Node | None = None
        self.current: list[Node] = []

    def choose(self, children: Sequence[Node]) -> list[Node]:
        """As `Strategy`."""
        self.turn += 1
        children = [node for node in children if not node.duplicate]
        for node in (node for node in children if node.final):
            self.found = _better(node, self.found)
        self.open += [node for node in children if not node.final]
        rivals = [*self.open, *([self.found] if self.found and self.found.complete else [])]
        ranked = rank(rivals, self.settings, self.lowest, self.turn)
        most = min(self.settings.keep, self.settings.expansions - self.spent)
        self.current = [] if ranked[:1] == [self.found] else ranked[:most]
        self.current = [node for node in self.current if node is not self.found]
        self.spent += len(self.current)
        self.open = [node for node in self.open if node not in self.current]
        return self.current

    def live(self) -> list[Node]:
        """As `Strategy`."""
        return [*self.current, *self.open, *([self.found] if self.found else [])]

    def best(self) -> Node | None:
        """As `Strategy`: where no path has come to its end, the best one that is open."""
        return self.found or max(self.open, key=_merit, default=None)


def make_strategy(settings: SearchSettings, lowest: float) -> Strategy:
    """The one that the settings name; lowest: the least value that there is."""
    if settings.strategy == "bfs":
        return BreadthFirst(settings, lowest)
    if settings.strategy == "dfs":
        return DepthFirst(settings, lowest)
    return BestFirst(settings, lowest)


def _value(node: Node) -> float:
    return -math.inf if node.value is None else node.value


def _merit(node: Node) -> tuple[bool, float]:
    """Of an answer: a whole one comes before any other."""
    return node.complete, _value(node)


def _better(node: Node, other: Node | None) -> Node:
    return node if other is None or _merit(node) > _merit(other) else other
