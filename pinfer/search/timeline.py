"""What was served when: a span for each branch in each pass; sums by phase, a drawing over time."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pinfer.search.tree.branch import Branch, Phase

_LETTERS: dict[Phase, str] = {
    "thought": "T", "proposals": "P", "value": "V", "vote": "W", "answer": "A",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Span:
    """A branch while it is drafted for, or part of a pass. Seconds since the search began; waited:
    between the moment when it could have been served and the pass. rows: tokens fed, guesses
    included; drafted: guesses, of which `accepted` became text."""

    branch: Branch
    kind: Literal["draft", "verify"]
    begin: float
    end: float
    number: int = 0  # of the pass
    waited: float = 0.0
    rows: int = 0
    drafted: int = 0
    accepted: int = 0


@dataclass(slots=True)
class PhaseCounts:
    """Sums over the branches of a phase."""

    branches: int = 0
    passes: int = 0  # in which the phase had a part
    rows: int = 0
    drafted: int = 0
    accepted: int = 0
    waited: float = 0.0


@dataclass(slots=True)
class Timeline:
    """All spans, in the order of their passes."""

    spans: list[Span] = field(default_factory=list)

    def add(self, span: Span) -> None:
        """One more."""
        self.spans.append(span)

    @property
    def served(self) -> list[Span]:
        """Those in passes."""
        return [span for span in self.spans if span.kind == "verify"]

    @property
    def passes(self) -> int:
        """How many there were."""
        return len({span.number for span in self.served})

    def phases(self) -> dict[Phase, PhaseCounts]:
        """Sums by phase, in the order in which the phases came first."""
        found: dict[Phase, PhaseCounts] = {}
        for phase in dict.fromkeys(span.branch.phase for span in self.served):
            mine = [span for span in self.served if span.branch.phase == phase]
            found[phase] = PhaseCounts(
                branches=len({span.branch for span in mine}),
                passes=len({span.number for span in mine}),
                rows=sum(span.rows for span in mine),
                drafted=sum(span.drafted for span in mine),
                accepted=sum(span.accepted for span in mine),
                waited=sum(span.waited for span in mine),
            )
        return found

    def overlap(self) -> dict[str, float]:
        """mixed_passes: passes that served more than one phase; draft_seconds: of drafting, and
        hidden_seconds: of that, while the model ran a pass."""
        phases: dict[int, set[Phase]] = {}
        for span in self.served:
            phases.setdefault(span.number, set()).add(span.branch.phase)
        busy = sorted({(span.begin, span.end) for span in self.served})
        drafts = [span for span in self.spans if span.kind == "draft"]
        hidden = sum(_shared(d.begin, d.end, busy) for d in drafts)
        return {
            "mixed_passes": sum(len(x) > 1 for x in phases.values()),
            "draft_seconds": sum(d.end - d.begin for d in drafts),
            "hidden_seconds": hidden,
        }

    def draw(self, width: int = 72) -> str:
        """A line a branch, time from left to right: a letter while it is in a pass (T thought, V
        value, W vote, P proposals, A answer), a dot while it is drafted for."""
        if not self.spans:
            return ""
        end = max(span.end for span in self.spans) or 1.0
        lines: dict[Branch, list[str]] = {}
        for span in sorted(self.spans, key=lambda s: s.kind):  # passes over drafts
            line = lines.setdefault(span.branch, [" "] * width)
            mark = "·" if span.kind == "draft" else _LETTERS[span.branch.phase]
            first = min(width - 1, int(span.begin / end * width))
            last = max(first + 1, int(span.end / end * width))
            line[first:last] = mark * (min(last, width) - first)
        names = {branch: spell_path(branch.path) for branch in lines}
        longest = max(map(len, names.values()))
        ordered = sorted(lines, key=lambda b: min(s.begin for s in self.spans if s.branch is b))
        return "\n".join(f"{names[b]:>{longest}} {''.join(lines[b])}".rstrip() for b in ordered)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "passes": self.passes,
            "phases": {phase: asdict(counts) for phase, counts in self.phases().items()},
            **self.overlap(),
        }


def spell_path(path: Sequence[int]) -> str:
    """1.3 is the third thought under the first; what rates a thought has a letter behind it."""
    parts = [str(i + 1) if i >= 0 else f"r{-i}" for i in path]
    return ".".join(parts) or "root"


def _shared(begin: float, end: float, busy: Sequence[tuple[float, float]]) -> float:
    """Seconds of a span that lie in others, which do not meet."""
    return sum(max(0.0, min(end, b) - max(begin, a)) for a, b in busy)
