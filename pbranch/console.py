"""What the command lines share: exit codes, one-line errors, text that cannot steer a terminal.

0 done, 1 a known error (one line on stderr), 2 usage, 130 interrupted. Imports nothing heavy.
"""

import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from pbranch.errors import BranchError

LONGEST_MESSAGE = 2000  # characters of an error: what it quotes may be a whole file
# control characters but tab and line feed, marks that reverse the order of what follows, and
# halves of surrogate pairs, which are no characters
_STEERING = dict.fromkeys(
    [c for c in (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A),
               *range(0xD800, 0xE000))
     if chr(c) not in "\t\n"],
    "\N{REPLACEMENT CHARACTER}",
)  # fmt: skip
_MOVES = re.compile(r"\n*(?:\x1b\[A)+")  # to the line of another progress bar, and no text
_STYLE = re.compile(r"(\x1b\[[0-9;?]*[A-Za-z]|\r)")  # what rich writes: colours, cursor moves


def printable(text: str) -> str:
    """`text` with a replacement character for each that could steer a terminal."""
    return text.translate(_STEERING)


class PlainStream:
    """A stream that people read: what is written to it is text, whoever wrote it.

    Models, traces, servers and files name things with escape sequences. `bars`: progress bars may
    still rewrite their line. rich finds in `rich_proxied_file` where its colours may go.
    """

    def __init__(self, stream: TextIO, bars: bool = False) -> None:
        self._stream, self._bars = stream, bars
        self.rich_proxied_file = _StyledStream(stream)

    def write(self, text: str) -> int:
        """Write `text`, cleaned."""
        if self._bars and _MOVES.fullmatch(text):
            return self._stream.write(text)
        lead = "\r" if self._bars and text.startswith("\r") else ""
        self._stream.write(lead + printable(text[len(lead) :]))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write all of `lines`, cleaned."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _StyledStream(PlainStream):
    """Colours and moves of the cursor pass, all else that steers a terminal does not."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        parts = _STYLE.split(text)
        self._stream.write("".join(p if i % 2 else printable(p) for i, p in enumerate(parts)))
        return len(text)


@contextmanager
def plain_streams() -> Iterator[None]:
    """Within it, stderr is for people, and so is stdout on a terminal; elsewhere stdout is data,
    which stays as it is. No stream fails on a character that its encoding lacks."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if sys.stdout.isatty():
        sys.stdout = PlainStream(sys.stdout)
    sys.stderr = PlainStream(sys.stderr, bars=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def run(app: Callable[..., Any]) -> None:
    """Call a typer app; known errors become one line on stderr, unknown ones keep the traceback."""
    with plain_streams():
        _run(app)


def _run(app: Callable[..., Any]) -> None:
    try:
        app()
    except BranchError as e:
        fail(str(e))
    except BrokenPipeError:
        _reader_left()
    except SystemExit as e:
        if isinstance(e.__context__, BrokenPipeError):  # typer has made it a 1
            _reader_left()
        raise
    except OSError as e:
        fail(f"{e.filename}: {e.strerror}" if e.filename else str(e.strerror or e))
    except MemoryError as e:
        fail(f"out of memory ({e})" if str(e) else "out of memory")
    except KeyboardInterrupt as e:
        print(": ".join(["interrupted", *map(str, e.args)]), file=sys.stderr)
        sys.exit(130)


def _reader_left() -> None:
    """The reader went away (`| head`): not an error of ours."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def fail(message: str) -> None:
    """Print `message` on one line of stderr and exit with 1."""
    line = " ".join(message.split())
    line = line if len(line) <= LONGEST_MESSAGE else line[:LONGEST_MESSAGE] + " …"
    print("error: " + line, file=sys.stderr)
    sys.exit(1)


def quiet_libraries() -> None:
    """Keep progress bars and chatter of the model libraries off stderr; our own log stays."""
    import logging
    import warnings

    from huggingface_hub.utils.logging import disable_propagation
    from transformers.utils import logging as chatter

    disable_propagation()  # it has a handler of its own: each line would come twice
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)


@contextmanager
def interruptible(*others: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C, and every signal of `others`, into the answer True, so that work can
    stop where it is whole; a second Ctrl-C interrupts at once.

    Outside the main thread, where Python handles no signals, the answer stays False.
    """
    asked = False

    def ask(number: int, _: Any) -> None:
        nonlocal asked
        asked = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    here = threading.current_thread() is threading.main_thread()
    chosen = (signal.SIGINT, *others) if here else ()
    previous = {number: signal.signal(number, ask) for number in chosen}
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def rich_console(stream: TextIO) -> Any:
    """rich's console on `stream`, with its colours where that is a `PlainStream`."""
    from rich.console import Console

    return Console(file=getattr(stream, "rich_proxied_file", stream))


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr, where that is a terminal and there is anything to count."""
    if not total or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.markup import escape
    from rich.progress import Progress

    # what is printed meanwhile does not go through rich, which would take escapes in it for its own
    with Progress(
        console=rich_console(sys.stderr),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bar:
        task = bar.add_task(escape(printable(label)), total=total)
        yield lambda: bar.advance(task)


def say(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)
