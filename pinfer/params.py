"""What a caller can set: how tokens are drawn and limited, and what an engine may hold at once.

Limits that change the text stand in `SamplingParams` and are named in the result; those of
`EngineLimits`, and `max_width`, change only how work is cut into passes, never a token.
"""

from dataclasses import dataclass, fields
from typing import Literal

from pbranch.errors import RequestError

Mode = Literal["parallel", "serial", "linear"]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """One request's parameters. temperature 0: greedy. Counts are in tokens.

    mode: `parallel`; `serial`, the same tokens one branch at a time; `linear`, no fork allowed.
    grammar `off` lets the model choose freely: an illegal choice ends the answer with an error.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0
    sample: int = 0  # which of several samples of one prompt; part of the randomness key
    mode: Mode = "parallel"
    grammar: Literal["on", "off"] = "on"
    max_topics: int = 32
    max_topic_tokens: int = 32
    max_depth: int = 3
    max_branch_tokens: int | None = None
    max_width: int | None = None  # lanes of the request at once; siblings run in waves
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("parallel", "serial", "linear"):
            raise RequestError(f"mode {self.mode!r}: expected parallel, serial or linear")
        if self.grammar not in ("on", "off"):
            raise RequestError(f"grammar {self.grammar!r}: expected on or off")
        if not 0 <= self.temperature < float("inf"):
            raise RequestError(f"temperature {self.temperature}: expected 0 or more")
        _check_counts(self, ("seed", "sample"))
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise RequestError(f"timeout_s {self.timeout_s}: expected more than 0")

    @property
    def width(self) -> int | None:
        """Lanes at once, None without limit."""
        return 1 if self.mode == "serial" else self.max_width


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What an engine holds at once. max_rows: tokens fed in one pass; max_requests: decoded
    together; max_kv_rows: cached tokens of all requests, None for what memory gives."""

    max_rows: int = 512
    max_requests: int = 64
    max_kv_rows: int | None = None

    def __post_init__(self) -> None:
        _check_counts(self, ())


def _check_counts(values: SamplingParams | EngineLimits, signed: tuple[str, ...]) -> None:
    for field in fields(values):
        value = getattr(values, field.name)
        if isinstance(value, int) and field.name not in signed and value < 1:
            raise RequestError(f"{field.name} {value}: expected 1 or more")
