"""Limits of time and memory around what a stranger wrote and this process runs: chat templates, and
patterns of names. Knows neither.
"""

import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

SECONDS = 5.0  # of processor time; what is meant to end takes milliseconds
MEMORY = 512 << 20  # bytes


class _Late(BaseException):
    """No Exception, which the code that runs may catch."""


@contextmanager
def bounded(seconds: float = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """Raises TimeoutError where the body computes for longer, MemoryError where it needs more
    `memory` (bytes, on Linux).

    In the main thread a signal and a limit of the address space see to it, whatever the body does.
    Python delivers signals nowhere else, and the address space is that of all threads: elsewhere
    the time is looked at between two lines of Python, and memory is not limited.
    """
    here = threading.current_thread() is threading.main_thread()
    try:
        with _timer(seconds) if here else _trace(seconds):
            with _address_space(memory) if here else _address_space(None):
                yield
    except _Late:
        raise TimeoutError(f"more than {seconds:g} s of computing") from None
    except MemoryError:
        raise MemoryError(f"more than {memory >> 20} MB of memory") from None


@contextmanager
def _timer(seconds: float) -> Iterator[None]:
    """Interrupts the body, again and again where it goes on."""
    running = True

    def interrupt(*_: Any) -> None:
        if running:
            raise _Late

    before = signal.signal(signal.SIGPROF, interrupt)
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.1)
    try:
        yield
    finally:
        running = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def _trace(seconds: float) -> Iterator[None]:
    end, before = time.thread_time() + seconds, sys.gettrace()

    def look(frame: FrameType, event: str, arg: Any) -> Any:
        if time.thread_time() > end:
            raise _Late
        return look

    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)


@contextmanager
def _address_space(more: int | None) -> Iterator[None]:
    """At most `more` bytes above what there is; None: no limit."""
    status = Path("/proc/self/statm")
    if more is None or not status.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(status.read_text().split()[0]) * resource.getpagesize()
    caps = [used + more, *(cap for cap in (soft, hard) if cap != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_AS, (min(caps), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
