"""Where an error ends one request, and nothing else."""

from collections.abc import Callable
from types import TracebackType

from pinfer.request.state import Request


class RequestGuard:
    """A context in which an exception is handed to `fail`. No generator: an exception that strikes
    between its lines, such as one of memory, has to stay what it is."""

    def __init__(self, request: Request, fail: Callable[[Request, Exception], None]) -> None:
        self.request, self.fail = request, fail

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.fail(self.request, error)
        return True
