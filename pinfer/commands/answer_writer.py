"""Decodes what the command line asks for and prints it: one prompt as a stream, or many as a batch.

Results go to `out` in input order. Ctrl-C ends between two passes, where everything is whole.
"""

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TextIO

from pbranch import console
from pbranch.errors import BranchError, DataError, RequestError
from pbranch.files.jsonl import LineFile, read_objects, to_json
from pinfer.commands.live_view import BranchView, printable
from pinfer.engine import Engine
from pinfer.output.events import BranchStarted, Event, Finished
from pinfer.output.generation import ANSWER_KEYS, Generation
from pinfer.output.reading_order import InOrder
from pinfer.params import SamplingParams, samples
from pinfer.request.state import Request

_SECONDS_A_FRAME = 0.08
WINDOW = 4096  # answers that wait for one before them, and with them the jobs begun


@dataclass(frozen=True, slots=True)
class Job:
    """One answer to be made: a line of the input, and the parameters of one sample of it.
    `settings` identifies all that decides about the answer, apart from the prompt."""

    line: dict[str, Any]
    params: SamplingParams
    settings: str
    where: str = ""

    @property
    def prompt(self) -> Any:
        """Text or messages, with the tools that the line names."""
        asked = self.line["messages"] if "messages" in self.line else self.line["prompt"]
        return {"messages": asked, "tools": tools} if (tools := self.line.get("tools")) else asked

    @property
    def given(self) -> dict[str, Any]:
        """What its answer's line repeats: all keys but those of an answer, which a line that was
        answered before may hold."""
        return {key: value for key, value in self.line.items() if key not in ANSWER_KEYS}


class Lines(Protocol):
    """(where it stands, the line): a list, or a file that every loop reads anew."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]: ...


@dataclass(frozen=True, slots=True)
class Jobs:
    """`n` jobs for each line, made anew by every loop."""

    lines: Lines
    params: SamplingParams
    n: int
    settings: dict[str, Any]

    def __len__(self) -> int:
        return len(self.lines) * self.n

    def __iter__(self) -> Iterator[Job]:
        for where, line in self.lines:
            for params in samples(self.params, self.n):
                yield Job(line, params, identify(params=params, **self.settings), where)


def identify(**settings: Any) -> str:
    """A short name of everything given, the same for equal values."""
    text = json.dumps(settings, sort_keys=True, default=asdict)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def stream_answer(engine: Engine, job: Job, out: TextIO, **rendering: Any) -> None:
    """Decode one prompt and print it as it grows. KeyboardInterrupt once what is there is out."""
    request = engine.add(job.prompt, job.params, **rendering)
    with console.interruptible() as asked:
        events = _follow(engine, request, asked)
        generation = _show(events, out) if out.isatty() else _write(events, out)
        _note(generation)
        if asked():
            raise KeyboardInterrupt
        if generation.error is not None:
            raise RequestError(f"the answer broke off: {generation.error}")


def _follow(engine: Engine, request: Request, asked: Callable[[], bool]) -> Iterator[Event]:
    for event in engine.follow(request):
        yield event
        if asked() and request.finish_reason is None:
            engine.abort(request)


def _write(events: Iterator[Event], out: TextIO) -> Generation:
    """Plain text in reading order, each branch as soon as those before it have ended."""
    order = InOrder()
    for event in events:
        if piece := order.feed(event):
            print(piece, end="", file=out, flush=True)
    print(file=out, flush=True)
    assert isinstance(event, Finished)
    return event.generation


def _show(events: Iterator[Event], out: TextIO) -> Generation:
    """One growing line a branch, and at the end the answer in reading order."""
    from rich.console import Console
    from rich.live import Live

    view, shown = BranchView(), 0.0
    with Live(
        view, console=Console(file=out), auto_refresh=False, transient=True, redirect_stdout=False
    ) as live:
        for event in events:
            view.feed(event)
            # a branch is seen, be it shorter than a frame
            if isinstance(event, BranchStarted) or time.monotonic() - shown > _SECONDS_A_FRAME:
                live.refresh()
                shown = time.monotonic()
    assert isinstance(event, Finished)
    print(printable(event.generation.text), file=out, flush=True)
    return event.generation


def answer_batch(
    engine: Engine,
    jobs: Jobs,
    open_output: Callable[[], AbstractContextManager[TextIO | LineFile]],
    as_json: bool,
    written: int = 0,
    **rendering: Any,
) -> None:
    """Decode all jobs as one batch, but the first `written`; each is written once those before it
    are. A job that the engine refuses gets an answer that says why, as does one in which something
    fails; RequestError at the end counts them. A single one that is refused raises before the
    output is opened."""
    batch = _Batch(engine, jobs, as_json, written, rendering)
    batch.fill()
    with (
        open_output() as out,
        console.interruptible() as asked,
        console.progress("decoding", len(jobs) - written if len(jobs) > 1 else 0) as advance,
    ):
        while True:
            for request, generation in engine.run(until=asked):
                batch.take(request, generation)
                batch.write(out)
                batch.fill()
                advance()
            batch.write(out)
            if asked() or not batch.fill():
                break
        if asked():
            print(f"{batch.written} of {len(jobs)} answers are written", file=sys.stderr)
            raise KeyboardInterrupt
    batch.report()


class _Batch:
    """Jobs on their way through an engine: so many are in it, and so many answers wait for those
    before them, however many jobs there are."""

    def __init__(
        self, engine: Engine, jobs: Jobs, as_json: bool, written: int, rendering: dict[str, Any]
    ) -> None:
        self.engine, self.total, self.rendering = engine, len(jobs), rendering
        self.as_json, self.written, self.begun = as_json, written, written
        self.todo = islice(jobs, written, None)
        self.most = 2 * engine.core.scheduler.limits.max_requests
        self.waiting: dict[int, tuple[int, Job]] = {}  # by request number: the job, and its place
        self.done: dict[int, str] = {}  # by place
        self.refused: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def fill(self) -> bool:
        """Hand in jobs while there is room; whether there was one."""
        before = self.begun
        while len(self.waiting) < self.most and self.begun - self.written < WINDOW:
            job = next(self.todo, None)
            if job is None:
                break
            place, self.begun = self.begun, self.begun + 1
            try:
                request = self.engine.add(job.prompt, job.params, **self.rendering)
                self.waiting[request.number] = place, job
            except BranchError as e:
                if self.total == 1:
                    raise
                reason = self._count("prompts refused", job, str(e))
                self.done[place] = _refusal(job, reason) if self.as_json else "\n"
        return self.begun > before

    def take(self, request: Request, generation: Generation) -> None:
        """An answer is there."""
        place, job = self.waiting.pop(request.number)
        if generation.error is not None:
            self._count("answers broke off", job, generation.error)
        self.done[place] = _line(job, generation) if self.as_json else generation.text + "\n"
        if not self.as_json:
            _note(generation)

    def write(self, out: TextIO | LineFile) -> None:
        """Write the answers that no other comes before."""
        while self.written in self.done:
            out.write(self.done.pop(self.written))
            self.written += 1
        if not isinstance(out, LineFile):
            out.flush()

    def report(self) -> None:
        """Raise RequestError where something went wrong, the worse first."""
        for what in ("answers broke off", "prompts refused"):
            if count := self.refused[what]:
                raise RequestError(f"{count} of {self.total} {what}, the first: {self.first[what]}")

    def _count(self, what: str, job: Job, reason: str) -> str:
        text = f"{job.where or 'the prompt'}: {reason}"
        self.refused[what] += 1
        self.first.setdefault(what, text)
        return text


def _line(job: Job, generation: Generation) -> str:
    row = {**job.given, **generation.as_dict(), "settings": job.settings}
    return to_json(row) + "\n"


def _refusal(job: Job, reason: str) -> str:
    row = {**job.given, "text": "", "finish_reason": "error", "error": reason}
    return to_json({**row, "settings": job.settings}) + "\n"


def _note(generation: Generation) -> None:
    stats = generation.stats
    limits = f", limits: {', '.join(generation.limits)}" if generation.limits else ""
    drafts = f", {stats.accepted} of {stats.drafted} guesses right" if stats.drafted else ""
    if generation.fallback is not None:
        limits += f", not side by side: {generation.fallback}"
    print(
        f"[{generation.finish_reason}{limits}] {stats.generated_tokens} tokens in {stats.passes} "
        f"passes{drafts}, {stats.branches} branches, {stats.decode_seconds:.2f} s",
        file=sys.stderr,
    )


def count_done(path: Path, jobs: Jobs) -> int:
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
        same = {key: row.get(key) for key in job.given} == job.given
        if not same or row.get("settings") != job.settings:
            what = "settings" if same else "prompt"
            raise DataError(
                f"{path}:{count + 1}: an answer to another {what}; --resume goes on with the same"
            )
        count += 1
    return count
