"""What the three command lines share: exit codes and one-line errors. Imports nothing heavy.

0 done, 1 a known error (one line on stderr), 2 usage, 130 interrupted.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pbranch.errors import BranchError


def run(app: Callable[..., Any]) -> None:
    """Call a typer app; known errors become one line on stderr, unknown ones keep the traceback."""
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
    except KeyboardInterrupt as e:
        print(": ".join(["interrupted", *map(str, e.args)]), file=sys.stderr)
        sys.exit(130)


def _reader_left() -> None:
    """The reader went away (`| head`): not an error of ours."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


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


@contextmanager
def interruptible(*others: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C, and every signal of `others`, into the answer True, so that work can
    stop where it is whole; a second Ctrl-C interrupts at once. One of `others` that the caller has
    set to be ignored, as nohup does, stays so.

    Outside the main thread, where Python handles no signals, the answer stays False.
    """
    asked = False

    def ask(number: int, _: Any) -> None:
        nonlocal asked
        asked = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    here = threading.current_thread() is threading.main_thread()
    heard = [number for number in others if signal.getsignal(number) is not signal.SIG_IGN]
    chosen = (signal.SIGINT, *heard) if here else ()
    previous = {number: signal.signal(number, ask) for number in chosen}
    try:
        yield lambda: asked
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
