"""Work in processes, results in order: for what computes. Knows nothing of the work.

Each worker has a pipe of its own. In a pipe that workers share, as those of concurrent.futures do,
one that is killed while it writes leaves half a result, and the reader waits for ever.
"""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from typing import Any, TypeVar

from pbranch.errors import DataError

A = TypeVar("A")
B = TypeVar("B")
_END = object()


def map_in_processes(
    function: Callable[[A], B], items: Iterable[A], workers: int
) -> Iterator[tuple[A, B]]:
    """Each item and what `function` makes of it, in order; reads `items` only as far as the
    workers need. Left early (close it), it drops what is not done.

    Raises:
        DataError: A worker has been killed, as the system does where memory runs out.
    """
    source, exhausted = iter(items), False
    begun: dict[int, A] = {}  # by number: read and not yet given out
    done: dict[int, tuple[bool, Any]] = {}
    busy: dict[Any, int] = {}
    first = 0
    with _workers(function, workers) as free:
        while True:
            while free and not exhausted and len(begun) < 3 * workers:
                item = next(source, _END)
                exhausted = item is _END
                if not exhausted:
                    number = first + len(begun)
                    begun[number], busy[free[-1]] = item, number  # type: ignore[assignment]
                    _send(free.pop(), item)
            if not begun:
                return
            for worker in wait(busy, 0 if first in done else None):
                done[busy.pop(worker)] = _receive(worker)
                free.append(worker)
            if first in done:
                well, result = done.pop(first)
                if not well:
                    raise result
                yield begun.pop(first), result
                first += 1


@contextmanager
def _workers(function: Callable[[Any], Any], count: int) -> Iterator[list[Any]]:
    """Our ends of the pipes of new workers; they end with the context, whatever they do."""
    context = get_context("spawn")  # workers inherit no threads
    pipes, processes = [], []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            pipes.append(ours)
            process = context.Process(target=_work, args=(theirs, function), daemon=True)
            process.start()
            processes.append(process)
            theirs.close()  # so that a worker's end is the end of its pipe
        yield list(pipes)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
        for pipe in pipes:
            pipe.close()


def _send(worker: Any, item: Any) -> None:
    with _worker_errors():
        worker.send(item)


def _receive(worker: Any) -> tuple[bool, Any]:
    """True and a result, or False and what the function raised."""
    with _worker_errors():
        return worker.recv()


@contextmanager
def _worker_errors() -> Iterator[None]:
    try:
        yield
    except (EOFError, ConnectionError) as error:
        raise DataError(
            "a worker process has ended before its work (killed, or out of memory?); fewer "
            "--workers need less memory"
        ) from error


def _work(parent: Any, function: Callable[[Any], Any]) -> None:
    """A worker. Ctrl-C is the parent's matter, and no worker outlives the parent, whatever has
    ended that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            item = parent.recv()
        except EOFError:
            return
        try:
            result = True, function(item)
        except Exception as error:
            result = False, error
        parent.send(result)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "a worker has a parent"
    parent.join()
    os._exit(1)
