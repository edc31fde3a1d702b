"""Work in threads, results in order: for what waits on a server. Knows nothing of the work."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def map_in_order(function: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    """`map` over `workers` threads, reading `items` only as far as they need.

    The first error in order is raised, and what has not begun by then is dropped. The threads are
    daemons: a run that is interrupted does not wait for a slow server.
    """
    tasks: SimpleQueue[tuple[Future[B], A] | None] = SimpleQueue()

    def work() -> None:
        while (task := tasks.get()) is not None:
            future, item = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(item))
                except BaseException as e:
                    future.set_exception(e)

    pending: deque[Future[B]] = deque()
    for _ in range(workers):
        Thread(target=work, daemon=True).start()
    try:
        for item in items:
            pending.append(Future())
            tasks.put((pending[-1], item))
            if len(pending) >= 4 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
        for _ in range(workers):
            tasks.put(None)
