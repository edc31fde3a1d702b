"""Decodes what the command line asks for and prints it: one prompt as a stream, or many as a batch.

Results go to `out` in input order. Ctrl-C ends between two passes or within one; what there is by
then is printed.
"""

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from pbranch import console
from pbranch.errors import BranchError, DataError, RequestError
from pbranch.files.jsonl import LineFile, read_objects
from pinfer.commands.live_view import BranchView
from pinfer.engine import Engine
from pinfer.execution.runner import Runner
from pinfer.output.event_stream import EventStream
from pinfer.output.events import BranchStarted, Event, Finished
from pinfer.output.generation import Generation
from pinfer.output.reading_order import InOrder
from pinfer.params import SamplingParams
from pinfer.request.state import Request

_SECONDS_A_FRAME = 0.08


@dataclass(frozen=True, slots=True)
class Job:
    """One answer to be made: a line of the input, and the parameters of one sample of it.
    `settings` identifies all that decides about the answer, apart from the prompt."""

    line: dict[str, Any]
    params: SamplingParams
    settings: str
    where: str = ""
    sample: int = 0

    @property
    def prompt(self) -> Any:
        """Text or messages, with the tools that the line names."""
        asked = self.line["messages"] if "messages" in self.line else self.line["prompt"]
        return {"messages": asked, "tools": tools} if (tools := self.line.get("tools")) else asked


def identify(**settings: Any) -> str:
    """A short name of everything given, the same for equal values."""
    text = json.dumps(settings, sort_keys=True, default=asdict)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def stream_answer(engine: Engine, job: Job, out: TextIO, **rendering: Any) -> None:
    """Decode one prompt and print it as it grows. KeyboardInterrupt once what is there is out."""
    with _interruptible(engine) as asked:
        request = engine.add(job.prompt, job.params, **rendering)
        events = _follow(engine, request, asked)
        generation = _show(events, out) if _can_redraw(out) else _write(events, out)
        _note(generation)
        if asked():
            raise KeyboardInterrupt
        if generation.error is not None:
            raise RequestError(f"the answer broke off: {generation.error}")


@contextmanager
def _interruptible(engine: Engine) -> Iterator[console.Interrupt]:
    """As `console.interruptible`; a forward, which may take long, ends at once."""
    runner = engine.core.runner
    with console.interruptible() as asked:
        if not isinstance(runner, Runner):
            yield asked
            return
        runner.around = asked.at_once
        try:
            yield asked
        finally:
            runner.around = nullcontext


def _follow(engine: Engine, request: Request, asked: Callable[[], bool]) -> Iterator[Event]:
    """The events of the engine's only request; once asked to stop, those of what it has."""
    events = EventStream(request, engine.spec, engine.codec)
    while request.finish_reason is None and not asked():
        try:
            engine.step()
        except KeyboardInterrupt:  # in a forward: the engine has aborted the request
            break
        yield from events.advance()
    engine.abort(request)
    yield from events.advance()
    yield Finished(engine.generation(request))


def _can_redraw(out: TextIO) -> bool:
    """Whether lines can be shown that are replaced later."""
    return out.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def _write(events: Iterator[Event], out: TextIO) -> Generation:
    """Plain text in reading order, each branch as soon as those before it have ended."""
    order, shown = InOrder(), _filter_of(out)
    for event in events:
        if piece := order.feed(event):
            print(shown(piece), end="", file=out, flush=True)
    print(file=out, flush=True)
    assert isinstance(event, Finished)
    return event.generation


def _filter_of(out: TextIO | LineFile) -> Callable[[str], str]:
    """What makes of a text what is written: for a terminal, without control characters."""
    return console.printable if not isinstance(out, LineFile) and out.isatty() else str


def _show(events: Iterator[Event], out: TextIO) -> Generation:
    """One growing line a branch, and at the end the answer in reading order."""
    from rich.live import Live

    view, shown = BranchView(), 0.0
    with Live(
        view,
        console=console.rich_console(out),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as live:
        for event in events:
            view.feed(event)
            # a branch is seen, be it shorter than a frame
            if isinstance(event, BranchStarted) or time.monotonic() - shown > _SECONDS_A_FRAME:
                live.refresh()
                shown = time.monotonic()
    assert isinstance(event, Finished)
    print(console.printable(event.generation.text), file=out, flush=True)
    return event.generation


class _Writer:
    """Writes answers to jobs in the order of the jobs, each as soon as those before it are written:
    as JSON lines, or as text, where several are told apart by titles."""

    def __init__(
        self, jobs: Sequence[Job], out: TextIO | LineFile, as_json: bool, written: int
    ) -> None:
        """written: of how many the answers are there already."""
        self.jobs, self.out, self.as_json, self.written = jobs, out, as_json, written
        self._waiting: dict[int, str] = {}  # by job

    def add_answer(self, i: int, generation: Generation) -> None:
        """The answer to job i."""
        row = generation.as_dict() if self.as_json else {}
        self._add(i, row, generation.text, generation.seed)
        if not self.as_json:
            _note(generation)

    def add_refusal(self, i: int, reason: str) -> None:
        """Why there is no answer to job i."""
        seed = self.jobs[i].params.seed
        row = {"text": "", "finish_reason": "error", "error": reason, "seed": seed}
        self._add(i, row, f"error: {reason}", None)

    def _add(self, i: int, row: dict[str, Any], text: str, seed: int | None) -> None:
        job = self.jobs[i]
        if self.as_json:
            row = {**job.line, **row, "sample": job.sample, "settings": job.settings}
            line = json.dumps(row, ensure_ascii=False)
            # JSON allows control characters beyond ASCII, a terminal obeys them
            text = re.sub(r"[\x7f-\x9f]", lambda c: f"\\u{ord(c[0]):04x}", line)
        elif len(self.jobs) > 1:
            sample = f"sample {job.sample + 1}" if self.jobs[-1].sample else ""
            of = [job.where, sample, "" if seed is None else f"seed {seed}"]
            title = f"[{i + 1}/{len(self.jobs)}] {', '.join(filter(None, of))}"
            text = "\n" * (i > 0) + f"{title}\n{_filter_of(self.out)(text)}"
        else:
            text = _filter_of(self.out)(text)
        self._waiting[i] = text + "\n"
        while self.written in self._waiting:
            self.out.write(self._waiting.pop(self.written))
            self.written += 1
        if not isinstance(self.out, LineFile):
            self.out.flush()


def answer_batch(
    engine: Engine,
    jobs: Sequence[Job],
    open_output: Callable[[], AbstractContextManager[TextIO | LineFile]],
    as_json: bool,
    written: int = 0,
    **rendering: Any,
) -> None:
    """Decode all jobs as one batch, but the first `written`; each is written once those before it
    are. A job that the engine refuses gets an answer that says why, as does one in which something
    fails; RequestError at the end counts them. A single one that is refused raises before the
    output is opened.

    After Ctrl-C, what the answers that have begun have by then is written, unless `--resume` makes
    them whole later: that is, unless JSON goes to a file."""
    asked_for: dict[int, tuple[int, Request]] = {}  # by request number: (job, request)
    refused: dict[int, str] = {}
    broken: list[str] = []
    for i, job in enumerate(jobs[written:], written):
        try:
            request = engine.add(job.prompt, job.params, **rendering)
            asked_for[request.number] = i, request
        except BranchError as e:
            if len(jobs) == 1:
                raise
            refused[i] = f"{job.where or 'the prompt'}: {e}"
    with (
        open_output() as out,
        _interruptible(engine) as asked,
        console.progress("decoding", len(asked_for) if len(jobs) > 1 else 0) as advance,
    ):
        writer = _Writer(jobs, out, as_json, written)
        for i, reason in refused.items():
            writer.add_refusal(i, reason)
        for request, generation in _run(engine, asked):
            i, _ = asked_for.pop(request.number)
            if generation.error is not None:
                broken.append(f"{jobs[i].where or 'the prompt'}: {generation.error}")
            writer.add_answer(i, generation)
            advance()
        if asked():
            engine.reset()
            for i, request in asked_for.values():
                if request.stats.started and not (as_json and isinstance(out, LineFile)):
                    writer.add_answer(i, engine.generation(request))
            if len(jobs) > 1:
                print(f"{writer.written} of {len(jobs)} answers are written", file=sys.stderr)
            raise KeyboardInterrupt
    for what, those in (("answers broke off", broken), ("prompts refused", [*refused.values()])):
        if those:
            raise RequestError(f"{len(those)} of {len(jobs)} {what}, the first: {those[0]}")


def _run(engine: Engine, asked: Callable[[], bool]) -> Iterator[tuple[Request, Generation]]:
    """As `engine.run`, until it is asked to stop."""
    try:
        yield from engine.run(until=asked)
    except KeyboardInterrupt:  # in a forward: the engine has aborted all requests
        pass


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


def count_done(path: Path, jobs: Sequence[Job]) -> int:
    """How many answers an earlier run has written. DataError names a line that is not the answer
    to the job in its place, made with the same settings."""
    count = 0
    if not path.exists():
        return 0
    for row in read_objects(path):
        if count == len(jobs):
            raise DataError(f"{path}:{count + 1}: more answers than prompts; give another --output")
        job = jobs[count]
        same = {key: row.get(key) for key in job.line} == job.line
        if not same or row.get("settings") != job.settings:
            what = "settings" if same else "prompt"
            raise DataError(
                f"{path}:{count + 1}: an answer to another {what}; --resume goes on with the same"
            )
        count += 1
    return count
