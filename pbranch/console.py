"""What the three command lines share: exit codes, one-line errors, and standard streams that take
any text. Imports nothing heavy.

0 done, 1 a known error (one line on stderr), 2 usage, 130 interrupted.
"""

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from pbranch.errors import BranchError, DataError


def run(app: Callable[..., Any]) -> None:
    """Call a typer app; known errors become one line on stderr, unknown ones keep the traceback."""
    open_streams()
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
    print("error: " + " ".join(message.split()), file=sys.stderr)
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
        """In here, being asked raises KeyboardInterrupt: for long work that may end anywhere."""
        self._at_once = True
        try:
            if self._asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._at_once = False


@contextmanager
def interruptible(*others: signal.Signals) -> Iterator[Interrupt]:
    """Turns the first Ctrl-C, and every signal of `others`, into the answer True, so that work can
    stop where it is whole; a second Ctrl-C interrupts at once.

    Outside the main thread, where Python handles no signals, the answer stays False.
    """
    asked = Interrupt()
    here = threading.current_thread() is threading.main_thread()
    chosen = (signal.SIGINT, *others) if here else ()
    previous = {number: signal.signal(number, asked.ask) for number in chosen}
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr, where that is a terminal and there is anything to count."""
    if not total or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda: bar.advance(task)


def say(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)
