"""Which key of a source row plays which role, and the `--map role=key` flags. Knows no files."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pbranch.errors import DataError

ROLES = ("messages", "system", "history", "prompt", "context", "completion", "reasoning", "answer",
         "id", "tools")  # fmt: skip


@dataclass(frozen=True, slots=True)
class FieldMap:
    """The key of each role, None where a source has none; `a.b` is the key `b` of what `a` holds.

    history: turns before the prompt; context: what follows the prompt (Alpaca's `input`);
    reasoning: what comes before the completion, which then holds it as `<think>…</think>`;
    tools: what the answer might have called.
    """

    messages: str | None = None
    system: str | None = None
    history: str | None = None
    prompt: str | None = None
    context: str | None = None
    completion: str | None = None
    reasoning: str | None = None
    answer: str | None = None
    id: str | None = None
    tools: str | None = None

    def __str__(self) -> str:
        return ", ".join(f"{role}={key}" for role, key in self.named())

    def named(self) -> list[tuple[str, str]]:
        """(role, key) of the roles that are played."""
        pairs = ((role, getattr(self, role)) for role in ROLES)
        return [(role, key) for role, key in pairs if key]

    @property
    def complete(self) -> bool:
        return bool(self.messages or (self.prompt and self.completion))

    def fits(self, row: dict[str, Any]) -> bool:
        """Whether `row` has the keys that every row needs."""
        needed = (self.messages,) if self.messages else (self.prompt, self.completion)
        return all(key and find_value(row, key) is not None for key in needed)

    def choose(self, row: dict[str, Any]) -> "FieldMap":
        """Itself: the same keys for every row."""
        return self


def parse_overrides(flags: Iterable[str]) -> dict[str, str]:
    """`role=key` flags as a mapping. Raises DataError on an unknown role."""
    overrides = {}
    for flag in flags:
        role, _, key = flag.partition("=")
        if role not in ROLES or not key:
            raise DataError(f"--map {flag}: expected role=key with role in {', '.join(ROLES)}")
        overrides[role] = key
    return overrides


def find_value(row: Any, key: str | None) -> Any:
    """What stands under `key`, a name or a path such as `choices[0].message`; None without one."""
    if not key or not isinstance(row, dict):
        return None
    if key in row:
        return row[key]
    value: Any = row
    for part in re.sub(r"\[(\d+)\]", r".\1", key).split("."):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return None
    return value
