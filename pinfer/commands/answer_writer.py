"""Decodes what the command line asks for and prints it: one prompt as a stream, or many as a batch.

Results go to `out` in input order. Ctrl-C ends between two passes, where everything is whole.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from pbranch import console
from pbranch.errors import BranchError, DataError, RequestError
from pbranch.files.jsonl import LineFile, read_objects
from pinfer.commands.live_view import BranchView
from pinfer.engine import Engine
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
    output is opened."""
    done: dict[int, str] = {}
    waiting: dict[int, int] = {}  # request number -> job
    refused: list[str] = []
    broken: list[str] = []
    for i, job in enumerate(jobs[written:], written):
        try:
            waiting[engine.add(job.prompt, job.params, **rendering).number] = i
        except BranchError as e:
            if len(jobs) == 1:
                raise
            refused.append(f"{job.where or 'the prompt'}: {e}")
            done[i] = _refusal(job, refused[-1]) if as_json else "\n"
    with (
        open_output() as out,
        console.interruptible() as asked,
        console.progress("decoding", len(waiting) if len(jobs) > 1 else 0) as advance,
    ):
        for request, generation in engine.run(until=asked):
            i = waiting[request.number]
            if generation.error is not None:
                broken.append(f"{jobs[i].where or 'the prompt'}: {generation.error}")
            done[i] = _line(jobs[i], generation) if as_json else generation.text + "\n"
            if not as_json:
                _note(generation)
            written = _write_known(done, written, out)
            advance()
        written = _write_known(done, written, out)
        if asked():
            print(f"{written} of {len(jobs)} answers are written", file=sys.stderr)
            raise KeyboardInterrupt
    if broken:
        raise RequestError(
            f"{len(broken)} of {len(jobs)} answers broke off, the first: {broken[0]}"
        )
    if refused:
        raise RequestError(
            f"{len(refused)} of {len(jobs)} prompts refused, the first: {refused[0]}"
        )


def _write_known(done: dict[int, str], written: int, out: TextIO | LineFile) -> int:
    """Write the answers that no other comes before; returns how many are written now."""
    while written in done:
        out.write(done.pop(written))
        written += 1
    if not isinstance(out, LineFile):
        out.flush()
    return written


def _line(job: Job, generation: Generation) -> str:
    row = {**job.line, **generation.as_dict(), "settings": job.settings}
    return json.dumps(row, ensure_ascii=False) + "\n"


def _refusal(job: Job, reason: str) -> str:
    row = {**job.line, "text": "", "finish_reason": "error", "error": reason}
    return json.dumps({**row, "settings": job.settings}, ensure_ascii=False) + "\n"


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
