"""Answers that a command is asked for: jobs, made of lines and samples as they are needed, and what
an earlier run has done of them."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pbranch.errors import DataError
from pbranch.files.jsonl import read_objects
from pinfer.params import SamplingParams, samples

T = TypeVar("T", covariant=True)


class Rereadable(Protocol[T]):
    """A list, or what reads or makes its items anew in every loop, and holds none."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[T]: ...


@dataclass(frozen=True, slots=True)
class Job:
    """One answer to be made: a line of the input, and the parameters of one of its `n` samples.
    `settings` identifies all that decides about the answer, apart from the prompt."""

    line: dict[str, Any]
    params: SamplingParams
    settings: str
    where: str = ""
    sample: int = 0
    n: int = 1

    @property
    def name(self) -> str:
        """As messages call it."""
        return self.where or "the prompt"

    @property
    def prompt(self) -> Any:
        """Text or messages, with the tools that the line names."""
        asked = self.line["messages"] if "messages" in self.line else self.line["prompt"]
        return {"messages": asked, "tools": tools} if (tools := self.line.get("tools")) else asked


@dataclass(frozen=True, slots=True)
class Jobs:
    """`n` jobs for each of `lines`, (where it stands, the line), made anew by every loop."""

    lines: Rereadable[tuple[str, dict[str, Any]]]
    params: SamplingParams
    n: int
    settings: dict[str, Any]

    def __len__(self) -> int:
        return len(self.lines) * self.n

    def __iter__(self) -> Iterator[Job]:
        for where, line in self.lines:
            for i, params in enumerate(samples(self.params, self.n)):
                yield Job(line, params, identify(params=params, **self.settings), where, i, self.n)


def identify(**settings: Any) -> str:
    """A short name of everything given, the same for equal values."""
    text = json.dumps(settings, sort_keys=True, default=asdict)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def count_done(path: Path, jobs: Iterable[Job]) -> int:
    """How many answers an earlier run has written. DataError names a line that is not the answer
    to the job in its place, made with the same settings."""
    count = 0
    if not path.exists():
        return 0
    expected = iter(jobs)
    for row in read_objects(path):
        job = next(expected, None)
        if job is None:
            raise DataError(f"{path}:{count + 1}: more answers than prompts; give another --output")
        same = {key: row.get(key) for key in job.line} == job.line
        if not same or row.get("settings") != job.settings:
            what = "settings" if same else "prompt"
            raise DataError(
                f"{path}:{count + 1}: an answer to another {what}; --resume goes on with the same"
            )
        count += 1
    return count
