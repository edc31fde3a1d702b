"""A task, scripts and service orders for tests of tree search: what is said is a function of the
branch alone."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pinfer.search.simulation import Costs, Line, SimulatedBranches
from pinfer.search.tasks.task import Task, TaskPage
from pinfer.search.tree.branch import Branch
from pinfer.search.tree.settings import SearchSettings
from pinfer.search.tree.tree_search import TreeSearch

PAGE = TaskPage(
    prompt="solve {problem}",
    thought="step {step}:",
    final="done",
    value="score:",
    judge="right?",
    vote="which?\n{candidates}\n",
    propose="list {count}:",
)
TASK = Task("toy", PAGE)


@dataclass
class RandomOrder:
    """Serves a random, not empty choice of those that wait, in a random order."""

    seed: int

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def choose(self, rows: Sequence[int], live: int) -> Sequence[int]:
        return self.rng.sample(range(len(rows)), self.rng.randint(min(1, len(rows)), len(rows)))


def random_script(seed: int, states: int = 50) -> Callable[[Branch], Line]:
    """Thoughts of `states` kinds, some of them final; ratings, some of them not readable."""

    def say(branch: Branch) -> Line:
        draws = random.Random(f"{seed}|{branch.path}|{branch.phase}")
        tokens = draws.randint(1, 9)
        if branch.phase == "thought":
            done = " done" if draws.random() < 0.15 else ""
            return Line(f"t{draws.randrange(states)}{done}", tokens)
        if branch.phase == "proposals":
            return Line("\n".join(f"- t{draws.randrange(9)}" for _ in range(4)), tokens)
        said = draws.choice(["7", "about 3.5", "9", "none", "0", "12"])
        return Line(said, tokens, logprob=-draws.random())

    return say


def valued(values: dict[tuple[int, ...], str], final: Sequence[tuple[int, ...]] = ()) -> Any:
    """A script of which each thought says its path, and each rating what `values` has for it."""

    def say(branch: Branch) -> Line:
        if branch.phase == "thought":
            done = " done" if branch.path in final else ""
            return Line("-".join(map(str, branch.path)) + done)
        return Line(values.get(branch.path[:-1], "0"))

    return say


def search_with(
    script: Any, schedule: Any, task: Task = TASK, costs: Costs | None = None, **settings: Any
) -> tuple[TreeSearch, SimulatedBranches]:
    """A search run to its end."""
    branches = SimulatedBranches(script, costs or Costs(), schedule)
    search = TreeSearch(task, SearchSettings(**settings), branches)
    branches.run(search)
    return search, branches


def page(**changes: Any) -> Task:
    """The task with another page."""
    return replace(TASK, page=replace(PAGE, **changes))


def tree_of(search: TreeSearch) -> Any:
    """All of a result that no schedule may change; values up to rounding."""
    return rounded(search.root.as_dict(search.chosen)), search.texts()


def rounded(row: Any) -> Any:
    """A node and those below it, values to nine places."""
    value = row["value"] if row["value"] is None else round(row["value"], 9)
    return {**row, "value": value, "children": [rounded(child) for child in row["children"]]}
