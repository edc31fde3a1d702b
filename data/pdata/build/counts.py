"""What became of the lines of a source, counted for people and machines. Knows no files."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pdata.record import Record, Rejection


@dataclass(slots=True)
class Counts:
    """Counts of a run; `in` = `out` + `rejected` always."""

    total: Counter[str] = field(default_factory=Counter)
    linear: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Record | Rejection) -> None:
        """Count one line."""
        self.total["in"] += 1
        if isinstance(outcome, Rejection):
            self.total["rejected"] += 1
            self.rejected[outcome.reason] += 1
            return
        self.total["out"] += 1
        self.total[outcome.meta["form"]] += 1
        if reason := outcome.meta.get("linear"):
            self.linear[str(reason)] += 1
        verdict = {True: "answer_ok", False: "answer_wrong", None: "answer_unknown"}
        self.total[verdict[outcome.answer_ok]] += 1

    def as_dict(self) -> dict[str, Any]:
        """By what is counted, with the reasons after it."""
        keys = ("in", "out", "rejected", "branches", "linear", "answer_ok", "answer_wrong",
                "answer_unknown")  # fmt: skip
        return {
            **{key: self.total[key] for key in keys},
            "linear_by_reason": dict(self.linear.most_common()),
            "rejected_by_reason": dict(self.rejected.most_common()),
        }
