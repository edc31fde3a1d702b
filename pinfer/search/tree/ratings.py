"""What thoughts are worth: opens what rates them, reads it, and gives each its value.

A value is a thought's own rating, or that of the thought with the lowest path of the same state.
Ratings are opened as soon as thoughts close, so some turn out not to be needed; those count for
nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pinfer.search.tasks.task import Task
from pinfer.search.tree.branch import Branch, Branches
from pinfer.search.tree.node import Node
from pinfer.search.tree.settings import SearchSettings


@dataclass(slots=True)
class Counts:
    """Of a search. unreadable: evaluations without a value, which count as the lowest one; cached:
    thoughts whose state was rated before; freed: tokens of what was not chosen, given back;
    guessed: thoughts expanded early, of which `missed` were not chosen; wasted: tokens below those,
    and of ratings that turned out not to be needed."""

    rounds: int = 0
    evaluations: int = 0
    unreadable: int = 0
    cached: int = 0
    duplicates: int = 0
    freed: int = 0
    guessed: int = 0
    missed: int = 0
    wasted: int = 0


class Ratings:
    """Of one search. open: decodes a branch that belongs to a node. In `votes` are those of the
    round; `lowest` is the least value that there is."""

    def __init__(
        self,
        task: Task,
        settings: SearchSettings,
        root: Node,
        branches: Branches,
        open: Callable[[Branch, Node], None],
        counts: Counts,
    ) -> None:
        self.task, self.settings, self.root = task, settings, root
        self.branches, self._open, self.counts = branches, open, counts
        self.lowest = task.page.lowest if settings.evaluate == "value" else 0.0
        self.votes: list[Branch] = []
        self._known: dict[str, float] = {}  # values by state

    def firsts(self, children: Sequence[Node]) -> list[Node]:
        """The thoughts that have closed, of each state the one with the lowest path."""
        found: dict[str, Node] = {}
        for node in children:
            if node.branch.closed:
                found.setdefault(node.state, node)
        return list(found.values())

    def open(self, children: Sequence[Node]) -> bool:
        """Open what rates the thoughts that have closed; whether there was anything to open."""
        needed = self._needed(children)
        for node in children:
            if node.evaluations and node not in needed:
                self._drop(node)
        opened = [node for node in needed if not node.evaluations]
        for node in opened:
            node.evaluations = [self._rating(node, k) for k in range(self.settings.evaluations)]
            self._open_all(node.evaluations, node)
        return bool(opened)

    def open_votes(self, children: Sequence[Node]) -> bool:
        """The same by votes among all thoughts of the round, once all have closed."""
        needed = self._needed(children)
        if self.votes or not needed:
            return False
        header = self.task.vote_header([node.texts() for node in needed])
        page, n = self.task.page, self.settings.evaluations
        for k in range(n):
            number = -3 - n - (self.counts.rounds * n + k)
            vote = Branch(self.root.branch, number, "vote", header, page.vote_tokens, page.stop)
            self.votes.append(vote)
        self._open_all(self.votes, self.root)
        return True

    def read(self, node: Node, branch: Branch) -> None:
        """A rating of a node has closed."""
        if branch.expected:
            score = None if branch.logprob is None else math.exp(branch.logprob)
        else:
            score = self.task.read_value(branch.text)
        node.scores[branch.number] = score

    def complete(self, children: Sequence[Node]) -> bool:
        """Whether every value is known, once all thoughts have closed."""
        if self.settings.evaluate == "vote":
            return all(vote.closed for vote in self.votes)
        return all(self._is_rated(node) for node in self._needed(children))

    def settle(self, children: Sequence[Node]) -> None:
        """Give each thought of a complete round its value."""
        needed = self._needed(children)
        votes = [self.task.read_vote(vote.text, len(needed)) for vote in self.votes]
        scores = [score for node in needed for score in node.scores.values()]
        self.counts.unreadable += [*scores, *votes].count(None)
        firsts = self.firsts(children)
        for node in children:
            if node not in firsts:
                node.duplicate, node.value = True, self.lowest
                self.counts.duplicates += 1
            elif node not in needed:
                node.value = self._known[node.state]
                self.counts.cached += 1
            elif self.settings.evaluate == "vote":
                node.value = float(votes.count(needed.index(node)))
            else:
                node.value = self._mean(node)
        self.votes = []
        if self.settings.cache and self.settings.evaluate != "vote":
            self._known |= {node.state: node.value for node in firsts if node.value is not None}

    def expected(self, node: Node, children: Sequence[Node]) -> float:
        """The value that a thought is likely to get: its own, else the mean of those known."""
        if node.state in self._known:
            return self._known[node.state]
        if self._is_rated(node):
            return self._mean(node)
        rated = [self._mean(other) for other in children if self._is_rated(other)]
        return sum(rated) / len(rated) if rated else self.lowest

    def _needed(self, children: Sequence[Node]) -> list[Node]:
        """The thoughts whose value is their own rating."""
        return [node for node in self.firsts(children) if node.state not in self._known]

    def _is_rated(self, node: Node) -> bool:
        return len(node.scores) == self.settings.evaluations

    def _mean(self, node: Node) -> float:
        scores = [self.lowest if x is None else x for _, x in sorted(node.scores.items())]
        return sum(scores) / len(scores)

    def _rating(self, node: Node, k: int) -> Branch:
        page, number = self.task.page, -1 - k
        if self.settings.evaluate == "logprob":
            return Branch(node.branch, number, "value", page.judge, expected=page.expected)
        return Branch(node.branch, number, "value", page.value, page.value_tokens, page.stop)

    def _open_all(self, branches: Sequence[Branch], node: Node) -> None:
        self.counts.evaluations += len(branches)
        for branch in branches:
            self._open(branch, node)

    def _drop(self, node: Node) -> None:
        """A thought turned out to need no rating of its own."""
        for branch in node.evaluations:
            if not branch.closed:
                self.counts.wasted += self.branches.drop(branch)
        node.evaluations, node.scores = [], {}
