"""How a tree is searched: the settings of one search, checked."""

from dataclasses import dataclass
from typing import Literal

from pbranch.errors import RequestError

StrategyName = Literal["bfs", "dfs", "best"]
_CHOICES = {
    "strategy": ("bfs", "dfs", "best"),
    "generate": ("sample", "propose"),
    "evaluate": ("value", "vote", "logprob"),
    "select": ("greedy", "sample"),
}
_LEAST = {"width": 1, "keep": 1, "depth": 1, "evaluations": 1, "early": 0, "expansions": 1}


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """One search. Names in the words of tree of thoughts (arXiv 2305.10601).

    width: thoughts under a node; keep: nodes that go on after each round; depth: thoughts of a
    path, at most. strategy: `bfs`, the best `keep` of each level; `dfs`, one path at a time, the
    best child first, and back where a value is below `threshold`, until an answer is not;
    `best`, the best `keep` open nodes wherever they stand, until a whole answer is the best.
    expansions: of nodes in all, at most, in dfs and best.
    generate: `sample`, each thought by itself; `propose`, one branch lists them. evaluate: `value`,
    a branch under each thought rates it; `vote`, a branch that lists all thoughts of a round
    chooses one; `logprob`, the probability of the task's `expected` word. evaluations: branches
    that rate a thought, or vote. select: `greedy`, or `sample`, by value.
    overlap: evaluate a thought while others of its round are being written. early: thoughts that
    are expanded before their round is evaluated, at most. cache: a state that was rated in an
    earlier round is not rated again. seed: of `select`.
    """

    strategy: StrategyName = "bfs"
    width: int = 5
    keep: int = 2
    depth: int = 3
    generate: Literal["sample", "propose"] = "sample"
    evaluate: Literal["value", "vote", "logprob"] = "value"
    select: Literal["greedy", "sample"] = "greedy"
    evaluations: int = 1
    threshold: float = 0.0
    expansions: int = 32
    overlap: bool = True
    early: int = 0
    cache: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if (found := getattr(self, name)) not in choices:
                raise RequestError(f"{name} {found!r}: expected {', '.join(choices)}")
        for name, least in _LEAST.items():
            if (found := getattr(self, name)) < least:
                raise RequestError(f"{name} {found}: expected {least} or more")
        if self.evaluate == "vote" and self.early:
            raise RequestError("early expansion needs evaluate value or logprob: a vote comes last")
