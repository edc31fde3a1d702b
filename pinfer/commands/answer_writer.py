"""Decodes what the command line asks for and prints it: one prompt as a stream, or many as a batch.

Results go to `out` in input order. Ctrl-C ends between two passes or within one; what there is by
then is printed.
"""

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import Any, TextIO

from pbranch import console
from pbranch.errors import BranchError, RequestError
from pbranch.files.jsonl import LineFile, to_json
from pinfer.commands.jobs import Job, Rereadable
from pinfer.commands.live_view import BranchView
from pinfer.engine import Engine
from pinfer.execution.runner import Runner
from pinfer.output.event_stream import EventStream
from pinfer.output.events import BranchStarted, Event, Finished
from pinfer.output.generation import Generation
from pinfer.output.reading_order import InOrder
from pinfer.request.state import Request

_SECONDS_A_FRAME = 0.08
WINDOW = 4096  # answers that wait for one before them, and with them the jobs begun


def stream_answer(engine: Engine, job: Job, out: TextIO, **rendering: Any) -> Generation:
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
        return generation


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


class _Answers:
    """Answers to jobs on their way out, in the order of the jobs: as JSON lines, or as text, where
    several are told apart by titles. Counts those in which something went wrong."""

    def __init__(self, total: int, as_json: bool, written: int) -> None:
        """written: of how many jobs the answers are there already."""
        self.total, self.as_json, self.written = total, as_json, written
        self._waiting: dict[int, str] = {}  # by the place of the job
        self._wrong: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, place: int, job: Job, generation: Generation) -> None:
        """The answer to the job in this place."""
        if generation.error is not None:
            self._count("answers broke off", f"{job.name}: {generation.error}")
        if self.as_json:
            self._waiting[place] = _line(job, generation.as_dict())
        else:
            self._waiting[place] = self._title(place, job, generation.seed) + generation.text + "\n"
            _note(generation)

    def add_refusal(self, place: int, job: Job, error: BranchError) -> None:
        """Why there is no answer to the job in this place."""
        reason = f"{job.name}: {error}"
        self._count("prompts refused", reason)
        if self.as_json:
            row = {"text": "", "finish_reason": "error", "error": reason, "seed": job.params.seed}
            self._waiting[place] = _line(job, row)
        else:
            self._waiting[place] = self._title(place, job, None) + f"error: {reason}\n"

    def write(self, out: TextIO | LineFile) -> None:
        """Write the answers that no other comes before."""
        shown = str if self.as_json else _filter_of(out)
        while self.written in self._waiting:
            out.write(shown(self._waiting.pop(self.written)))
            self.written += 1
        if not isinstance(out, LineFile):
            out.flush()

    def report(self) -> None:
        """Raise RequestError where something went wrong, the worse first."""
        for what in ("answers broke off", "prompts refused"):
            if count := self._wrong[what]:
                first = self._first[what]
                raise RequestError(f"{count} of {self.total} {what}, the first: {first}")

    def _title(self, place: int, job: Job, seed: int | None) -> str:
        if self.total == 1:
            return ""
        sample = f"sample {job.sample + 1}" if job.n > 1 else ""
        of = [job.where, sample, "" if seed is None else f"seed {seed}"]
        gap = "\n" if place else ""
        return f"{gap}[{place + 1}/{self.total}] {', '.join(filter(None, of))}\n"

    def _count(self, what: str, reason: str) -> None:
        self._wrong[what] += 1
        self._first.setdefault(what, reason)


def _line(job: Job, answer: dict[str, Any]) -> str:
    line = to_json({**job.line, **answer, "sample": job.sample, "settings": job.settings})
    # JSON allows control characters beyond ASCII, a terminal obeys them
    return re.sub(r"[\x7f-\x9f]", lambda c: f"\\u{ord(c[0]):04x}", line) + "\n"


class _Batch:
    """Jobs on their way through an engine: so many are in it, and so many answers wait for those
    before them, however many jobs there are."""

    def __init__(
        self, engine: Engine, jobs: Rereadable[Job], answers: _Answers, rendering: dict[str, Any]
    ) -> None:
        self.engine, self.answers, self.rendering = engine, answers, rendering
        self.begun = answers.written
        self.todo = islice(jobs, self.begun, None)
        self.most = 2 * engine.core.scheduler.limits.max_requests
        self.waiting: dict[int, tuple[int, Job, Request]] = {}  # by request number; place first

    def fill(self) -> bool:
        """Hand in jobs while there is room; whether there was one. A single one that is refused
        raises."""
        before = self.begun
        while len(self.waiting) < self.most and self.begun - self.answers.written < WINDOW:
            job = next(self.todo, None)
            if job is None:
                break
            place, self.begun = self.begun, self.begun + 1
            try:
                request = self.engine.add(job.prompt, job.params, **self.rendering)
                self.waiting[request.number] = place, job, request
            except BranchError as e:
                if self.answers.total == 1:
                    raise
                self.answers.add_refusal(place, job, e)
        return self.begun > before

    def run(self, asked: Callable[[], bool]) -> Iterator[None]:
        """As `Engine.run`, until it is asked to stop; each answer is added before the next step."""
        try:
            for request, generation in self.engine.run(until=asked):
                place, job, _ = self.waiting.pop(request.number)
                self.answers.add(place, job, generation)
                yield
        except KeyboardInterrupt:  # in a forward: the engine has aborted all requests
            pass

    def add_begun(self) -> None:
        """What the aborted requests have that had begun is their answer."""
        for place, job, request in self.waiting.values():
            if request.stats.started:
                self.answers.add(place, job, self.engine.generation(request))


def answer_batch(
    engine: Engine,
    jobs: Rereadable[Job],
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
    total = len(jobs)
    answers = _Answers(total, as_json, written)
    batch = _Batch(engine, jobs, answers, rendering)
    batch.fill()
    with (
        open_output() as out,
        _interruptible(engine) as asked,
        console.progress("decoding", total - written if total > 1 else 0) as advance,
    ):
        more = True
        while more:
            for _ in batch.run(asked):
                answers.write(out)
                batch.fill()
                advance()
            answers.write(out)
            more = not asked() and batch.fill()
        if asked():
            engine.reset()
            if not (as_json and isinstance(out, LineFile)):
                batch.add_begun()
                answers.write(out)
            if total > 1:
                print(f"{answers.written} of {total} answers are written", file=sys.stderr)
            raise KeyboardInterrupt
    answers.report()


def _note(generation: Generation) -> None:
    stats = generation.stats
    limits = f", limits: {', '.join(generation.limits)}" if generation.limits else ""
    drafts = f", {stats.accepted} of {stats.drafted} guesses right" if stats.drafted else ""
    kept = f", at most {stats.kv['most_kept']} tokens kept a lane" if stats.kv else ""
    if generation.fallback is not None:
        limits += f", not side by side: {generation.fallback}"
    print(
        f"[{generation.finish_reason}{limits}] {stats.generated_tokens} tokens in {stats.passes} "
        f"passes{drafts}{kept}, {stats.branches} branches, {stats.decode_seconds:.2f} s",
        file=sys.stderr,
    )
