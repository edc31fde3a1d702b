"""Work in processes, results in order: for what computes. Knows nothing of the work."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from typing import TypeVar

from pbranch.errors import DataError

A = TypeVar("A")
B = TypeVar("B")


def map_in_processes(
    function: Callable[[A], B], items: Iterable[A], workers: int
) -> Iterator[tuple[A, B]]:
    """Each item and what `function` makes of it, in order; reads `items` only as far as the
    workers need. Left early (close it), it drops what is not done.

    Raises:
        DataError: A worker has been killed, as the system does where memory runs out.
    """
    pending: deque[tuple[A, Future[B]]] = deque()
    with _processes(workers) as pool:
        for item in items:
            pending.append((item, pool.submit(function, item)))
            if len(pending) >= 3 * workers:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()


@contextmanager
def _processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    others = set(active_children())
    # spawn: workers inherit no threads
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin) as pool:
        try:
            yield pool
        except BaseException as error:
            for worker in set(active_children()) - others:
                worker.terminate()  # else the pool waits for what they have begun
            if isinstance(error, BrokenProcessPool):
                raise DataError(
                    "a worker process has ended before its work (killed, or out of memory?); "
                    "fewer --workers need less memory"
                ) from error
            raise


def _begin() -> None:
    """Of a worker: Ctrl-C is the parent's matter, and no worker outlives the parent, whatever has
    ended that: the pool's own workers would wait for its work for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "a worker has a parent"
    parent.join()
    os._exit(1)
