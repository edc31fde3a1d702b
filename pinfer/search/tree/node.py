"""A node of the tree: a thought, what it is worth, and the thoughts that follow it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pinfer.search.tree.branch import Branch


@dataclass(slots=True, eq=False, repr=False)
class Node:
    """A thought. `scores`: what each evaluation says, by its number, None: not readable; `value`:
    what it was chosen by, once its round is settled; `state`: see `Task.state_of`; `final`: no
    thought follows it; `complete`: it is the last one of a whole answer; `duplicate`: of a thought
    with a lower path; `dropped`: it was not chosen. `opened`: its children are being decoded, or
    what lists them (`proposals`); `expanded`: they are asked for, not only guessed to be."""

    branch: Branch
    parent: "Node | None" = None
    children: list["Node"] = field(default_factory=list)
    evaluations: list[Branch] = field(default_factory=list)
    scores: dict[int, float | None] = field(default_factory=dict)
    value: float | None = None
    state: str = ""
    final: bool = False
    complete: bool = False
    duplicate: bool = False
    dropped: bool = False
    opened: bool = False
    expanded: bool = False
    proposals: Branch | None = None

    @property
    def path(self) -> tuple[int, ...]:
        """Which child of which child, from the root down."""
        return self.branch.path

    @property
    def depth(self) -> int:
        """Thoughts from the root to this one."""
        return len(self.path)

    @property
    def text(self) -> str:
        """The thought, without what its branch begins with."""
        return self.branch.text

    def lineage(self) -> list["Node"]:
        """The nodes from the first thought to this one."""
        above = self.parent.lineage() if self.parent is not None else []
        return [*above, self] if self.parent is not None else above

    def texts(self) -> list[str]:
        """The thoughts from the first to this one."""
        return [node.text for node in self.lineage()]

    def walk(self) -> Iterator["Node"]:
        """It and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    def as_dict(self, best: Sequence["Node"] = ()) -> dict[str, Any]:
        """For JSON and pages; best: the nodes of the path that was chosen in the end."""
        row: dict[str, Any] = {"path": list(self.path), "text": self.text, "value": self.value}
        row |= {
            name: True
            for name in ("final", "complete", "duplicate", "dropped")
            if getattr(self, name)
        }
        if None in self.scores.values():
            row["unreadable"] = [e.text for e in self.evaluations if self.scores[e.number] is None]
        if self in best:
            row["chosen"] = True
        row["children"] = [child.as_dict(best) for child in self.children]
        return row
