"""What the command lines share: exit codes, one-line errors, standard streams that take any text
and show none that could steer a terminal.

0 done, 1 a known error (one line on stderr), 2 usage, 130 interrupted. Imports nothing heavy.
"""

import atexit
import gc
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TextIO

from pbranch.errors import BranchError, DataError, is_out_of_memory, is_panic

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
    """`text` with a replacement character for each that could steer a terminal; all else stays,
    joiners, marks of direction and wide spaces included."""
    return text.replace("\r\n", "\n").translate(_STEERING)


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
    which stays as it is."""
    before = sys.stdout, sys.stderr
    if sys.stdout.isatty():
        sys.stdout = PlainStream(sys.stdout)
    sys.stderr = PlainStream(sys.stderr, bars=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def run(app: Callable[..., Any]) -> None:
    """Call a typer app; known errors become one line on stderr, unknown ones keep the traceback."""
    open_streams()
    # once all is done, there is nothing left to break off, and nothing worth collecting: with torch
    # loaded, Python's last collections take a second
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    atexit.register(gc.freeze)
    with plain_streams():
        _run(app)


def _run(app: Callable[..., Any]) -> None:
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # what fails in it is told below, not by Python at its end
    except BranchError as e:
        fail(str(e))
    except BrokenPipeError:
        _drop_output()  # the reader went away (`| head`): not an error of ours
        sys.exit(0)
    except SystemExit as e:
        if isinstance(e.__context__, BrokenPipeError):  # typer has made it a 1
            _drop_output()
            sys.exit(0)
        raise
    except OSError as e:
        if e.filename == _STDOUT:
            _drop_output()
        fail(f"{e.filename}: {e.strerror}" if e.filename else str(e.strerror or e))
    except KeyboardInterrupt as e:
        print(": ".join(["interrupted", *map(str, e.args)]), file=sys.stderr)
        sys.exit(130)
    except BaseException as e:
        if is_out_of_memory(e):
            fail(f"out of memory ({e})" if str(e) else "out of memory")
        if not is_panic(e):
            raise
        fail(f"a library cannot go on ({e})")


_STDOUT = "stdout"


class NamedFile(io.FileIO):
    """A file to write to. An error of writing names it, as a full disk's own does not."""

    def __init__(self, file: str | int, label: str) -> None:
        super().__init__(file, "w", closefd=not isinstance(file, int))
        self._label = label

    def write(self, data: Any) -> int:
        """As of any file."""
        try:
            return super().write(data)
        except OSError as e:
            raise OSError(e.errno, e.strerror, self._label) from e


def open_streams() -> None:
    """Standard streams for any text: UTF-8 into a pipe or file, on a terminal its own encoding with
    "?" for what that lacks. One that the caller has closed leads nowhere; no file that is opened
    later takes its number, which libraries write to."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    if sys.stdout is not None and sys.stdout is not sys.__stdout__:
        return  # a caller's own
    if sys.stdout is not None and sys.stdout.isatty():
        sys.stdout.reconfigure(errors="replace")
        return
    if sys.stdout is not None:
        sys.stdout.flush()
    raw = io.BufferedWriter(NamedFile(1, _STDOUT))
    sys.stdout = io.TextIOWrapper(raw, encoding="utf-8", errors="replace")


def open_stdin() -> IO[bytes]:
    """The bytes of standard input. Raises DataError where the caller has closed it."""
    if sys.stdin is None:
        raise DataError("-: cannot read standard input, it is closed")
    return sys.stdin.buffer


def read_stdin() -> bytes:
    """All of standard input. Raises DataError where it cannot be read."""
    try:
        return open_stdin().read()
    except OSError as e:
        raise DataError(f"-: cannot read standard input ({e.strerror})") from e


def _drop_output() -> None:
    """Let what is not written yet go nowhere: it could only fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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


class Interrupt:
    """Whether work was asked to stop: call it where that is whole."""

    def __init__(self) -> None:
        self._asked = self._at_once = False

    def __call__(self) -> bool:
        return self._asked

    def ask(self, number: int, _: Any = None) -> None:
        """Of a signal. After Ctrl-C the next one raises KeyboardInterrupt, wherever it comes."""
        self._asked = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._at_once:
            raise KeyboardInterrupt

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """In here, being asked raises KeyboardInterrupt: for long work that may end anywhere. One
        that a library has swallowed, as some do while they are imported, is raised at the end."""
        self._check()
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False
        self._check()

    def _check(self) -> None:
        if self._asked:
            raise KeyboardInterrupt


@contextmanager
def interruptible(*others: signal.Signals) -> Iterator[Interrupt]:
    """Turns the first Ctrl-C, and every signal of `others`, into the answer True, so that work can
    stop where it is whole; a second Ctrl-C interrupts at once. One of `others` that the caller has
    set to be ignored, as nohup does, stays so.

    Outside the main thread, where Python handles no signals, the answer stays False.
    """
    asked = Interrupt()
    here = threading.current_thread() is threading.main_thread()
    heard = [number for number in others if signal.getsignal(number) is not signal.SIG_IGN]
    chosen = (signal.SIGINT, *heard) if here else ()
    previous = {number: signal.signal(number, asked.ask) for number in chosen}
    try:
        yield asked
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
