"""The tree loop: thoughts, their evaluation, their choice (tree of thoughts, arXiv 2305.10601).

A round expands some nodes, rates their children and chooses among them. It is settled when all of
it is known, in the order of paths: when a branch has closed decides nothing but the time it takes.
"""

from collections.abc import Sequence

from pinfer.search.tasks.task import Task
from pinfer.search.tree.branch import Branch, Branches, root_branch
from pinfer.search.tree.node import Node
from pinfer.search.tree.ratings import Counts, Ratings
from pinfer.search.tree.settings import SearchSettings
from pinfer.search.tree.strategy import make_strategy


class TreeSearch:
    """One search. `start` opens its first branches, `take` is called with each one that closes,
    and `done` says when there is nothing more to open."""

    def __init__(self, task: Task, settings: SearchSettings, branches: Branches) -> None:
        """RequestError where the task's page lacks a text that the settings need."""
        check_task(task, settings)
        self.task, self.settings, self.branches = task, settings, branches
        self.root, self.counts = Node(root_branch()), Counts()
        self.ratings = Ratings(task, settings, self.root, branches, self._open, self.counts)
        self.strategy = make_strategy(settings, self.ratings.lowest)
        self.frontier: list[Node] = []  # expanded in this round
        self.best: Node | None = None
        self.answer: Branch | None = None  # what the best path comes to, where that is asked for
        self.done = False
        self._owners: dict[Branch, Node] = {}
        self._advancing = False

    def start(self) -> None:
        """The first round."""
        self._begin([self.root])
        self._advance()

    def take(self, branch: Branch) -> None:
        """A branch has closed: all that was waiting for it goes on."""
        branch.closed = True
        if branch.phase == "thought":
            self._read_thought(self._owners[branch])
        elif branch.phase == "proposals":
            self._read_proposals(self._owners[branch], branch)
        elif branch.phase == "value":
            self.ratings.read(self._owners[branch], branch)
        elif branch.phase == "answer":
            self.done = True
        if branch.phase in ("proposals", "value", "vote"):
            self.branches.drop(branch)  # it is read: its tokens are of no more use
        self._advance()

    @property
    def children(self) -> list[Node]:
        """Of the nodes expanded in this round, by their paths."""
        return sorted((c for n in self.frontier for c in n.children), key=lambda c: c.path)

    @property
    def chosen(self) -> list[Node]:
        """The thoughts of the answer, from the first to the last."""
        return self.best.lineage() if self.best is not None else []

    def texts(self) -> list[str]:
        """The thoughts of the answer, and what they come to, where that was asked for."""
        last = [] if self.answer is None else [self.answer.text]
        return [*(node.text for node in self.chosen), *last]

    def _advance(self) -> None:
        """Go on as far as it is known how. A branch that closes as soon as it opens calls `take`
        in here, and is seen by the next turn of the loop."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while not self.done and (self._rate() or self._guess() or self._settle()):
                pass
        finally:
            self._advancing = False

    def _begin(self, frontier: Sequence[Node]) -> None:
        self.counts.rounds += 1
        self.frontier = list(frontier)
        for node in frontier:
            node.expanded = True
            self._open_children(node)

    def _open_children(self, node: Node) -> None:
        """Open the thoughts under a node, or the branch that lists them."""
        if node.opened:
            return
        node.opened = True
        page, settings = self.task.page, self.settings
        if settings.generate == "propose":
            header, number = self.task.propose_header(settings.width), -1 - settings.evaluations
            node.proposals = Branch(node.branch, number, "proposals", header, page.propose_tokens)
            self._open(node.proposals, node)
            return
        header = self.task.thought_header(node.depth + 1)
        for i in range(settings.width):
            self._add_child(
                node, Branch(node.branch, i, "thought", header, page.thought_tokens, page.stop)
            )

    def _add_child(self, node: Node, branch: Branch) -> None:
        child = Node(branch, node)
        node.children.append(child)
        self._open(branch, child)

    def _open(self, branch: Branch, owner: Node) -> None:
        self._owners[branch] = owner
        self.branches.open(branch)

    def _read_thought(self, node: Node) -> None:
        ended = node.branch.ended
        node.state = self.task.state_of(node.texts())
        node.complete = self.task.is_final(node.text) if self.task.page.final else ended
        node.final = node.complete or ended or node.depth >= self.settings.depth

    def _read_proposals(self, node: Node, branch: Branch) -> None:
        """Each thought of a list becomes a branch of its own, which is fed and not sampled."""
        begin, end = self.task.thought_header(node.depth + 1), (*self.task.page.stop, "")[0]
        for i, text in enumerate(self.task.read_proposals(branch.text, self.settings.width)):
            given = Branch(node.branch, i, "thought", f"{begin} {text}{end}", text=text)
            self._add_child(node, given)

    def _rate(self) -> bool:
        """Open what rates the thoughts; whether there was anything to open."""
        if not (self.settings.overlap or self._all_written()):
            return False
        if self.settings.evaluate != "vote":
            return self.ratings.open(self.children)
        return self._all_written() and self.ratings.open_votes(self.children)

    def _guess(self) -> bool:
        """Expand a likely thought while ratings are still being written; whether there was one."""
        children = self.children
        if sum(node.opened for node in children) >= self.settings.early:
            return False
        firsts = self.ratings.firsts(children)
        likely = [node for node in firsts if not (node.final or node.opened)]
        if not likely:
            return False
        # of equal ones the first
        self._open_children(max(likely, key=lambda n: self.ratings.expected(n, children)))
        self.counts.guessed += 1
        return True

    def _all_written(self) -> bool:
        listed = all(node.proposals is None or node.proposals.closed for node in self.frontier)
        return listed and all(node.branch.closed for node in self.children)

    def _settle(self) -> bool:
        """Give values, choose, and begin the next round; False where something is still open."""
        children = self.children
        if self.answer or not (self._all_written() and self.ratings.complete(children)):
            return False
        self.ratings.settle(children)
        following = self.strategy.choose(children)
        self._prune(self.strategy.live())
        if following:
            self._begin(following)
        else:
            self._end()
        return True

    def _prune(self, live: Sequence[Node]) -> None:
        """All that is on no way to a live node leaves; what stands below one stays."""
        kept = {node for last in live for node in last.lineage()}
        nodes = [self.root]
        for node in nodes:  # which grows
            for child in node.children:
                if child in kept:
                    nodes += [] if child in live else [child]
                elif not child.dropped:
                    for gone in list(child.walk()):
                        self._close_early(gone)
                        gone.dropped = True
                    self.counts.freed += self.branches.drop(child.branch)

    def _close_early(self, node: Node) -> None:
        """Drop what was opened under a node that was not chosen after all."""
        if not node.opened or node.expanded:
            return
        self.counts.missed += 1
        listing = [node.proposals] if node.proposals and not node.proposals.closed else []
        for branch in [*listing, *(child.branch for child in node.children)]:
            self.counts.wasted += self.branches.drop(branch)
        node.children, node.opened, node.proposals = [], False, None

    def _end(self) -> None:
        """Choose the answer; where it is not whole, let it be finished."""
        self.frontier, self.best = [], self.strategy.best()
        self._prune([] if self.best is None else [self.best])
        if self.best is not None:
            self._close_early(self.best)
        if self.best is None or self.best.complete or not self.task.page.answer:
            self.done = True
            return
        page, number = self.task.page, -2 - self.settings.evaluations
        self.answer = Branch(
            self.best.branch, number, "answer", page.answer, page.answer_tokens, page.stop
        )
        self.branches.open(self.answer)


def check_task(task: Task, settings: SearchSettings) -> None:
    """RequestError where the task's page lacks a text that the settings need."""
    key = {"value": "value", "vote": "vote", "logprob": "judge"}[settings.evaluate]
    task.require(key, f"evaluate {settings.evaluate}")
    if settings.generate == "propose":
        task.require("propose", "generate propose")
