"""One thread that owns an engine: any thread submits requests, and handles give their answers out.

Prompts are rendered on the submitting thread. At most `max_unfinished` requests are in the loop;
further ones wait for a place, or are refused.
"""

import logging
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from pbranch.errors import RequestError
from pinfer.engine import Engine
from pinfer.output.event_stream import EventStream
from pinfer.output.events import Event, Finished
from pinfer.output.generation import Generation
from pinfer.params import SamplingParams
from pinfer.request.prompts import PreparedRequest, Prompt
from pinfer.request.state import Request

log = logging.getLogger("pinfer")


class Handle:
    """A submitted request, as its submitter sees it."""

    def __init__(self, loop: "EngineLoop", prepared: PreparedRequest, streams: bool) -> None:
        self._loop, self._prepared = loop, prepared
        self._answer: Future[Generation] = Future()
        self._events: queue.SimpleQueue[Event | BaseException] | None = None
        if streams:
            self._events = queue.SimpleQueue()
        self._request: Request | None = None  # from here on the loop's thread alone touches it
        self._stream: EventStream | None = None

    def result(self, timeout: float | None = None) -> Generation:
        """The answer. TimeoutError where it is not there within `timeout` seconds, RequestError
        where the request cannot be served."""
        return self._answer.result(timeout)

    def events(self) -> Iterator[Event]:
        """What happens, as it happens; the last event is `Finished`. Left early, it cancels."""
        if self._events is None:
            raise RequestError("no events: submit the request with stream=True")
        event: Event | BaseException | None = None
        try:
            while not isinstance(event, Finished):
                event = self._events.get()
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            self.cancel()

    def cancel(self) -> None:
        """End the request soon; its answer is what it has. One that has ended stays as it is."""
        if not self._answer.done():
            self._loop._send("cancel", self)


class EngineLoop:
    """Serves one engine to many threads.

    Args:
        engine: It must not be used by anybody else until the loop is closed.
        max_unfinished: Requests in the loop at once, decoded or waiting.
    """

    def __init__(self, engine: Engine, max_unfinished: int = 256) -> None:
        self.engine, self.max_unfinished = engine, max_unfinished
        self._places = threading.Semaphore(max_unfinished)
        self._inbox: queue.SimpleQueue[tuple[str, Handle | None]] = queue.SimpleQueue()
        self._handles: dict[int, Handle] = {}  # by request number
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="pinfer-engine", daemon=True)
        self._thread.start()

    def submit(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        stream: bool = False,
        wait: float | None = None,
        **rendering: Any,
    ) -> Handle:
        """Hand in a prompt.

        Args:
            prompt: As in `Engine.add`.
            params: How to decode; None: the defaults.
            stream: Whether the handle gives events.
            wait: Seconds to wait for a place; None: as long as it takes.
            **rendering: The keywords of `Engine.prepare`.

        Raises:
            RequestError: The prompt cannot be rendered, there was no place within `wait` seconds,
                or the loop is closed.
        """
        prepared = self.engine.prepare(prompt, params or SamplingParams(), **rendering)
        if not self._places.acquire(timeout=wait):
            raise RequestError(
                f"{self.max_unfinished} requests are unfinished, and none has ended within {wait} s"
            )
        handle = Handle(self, prepared, stream)
        self._send("add", handle)
        return handle

    def close(self) -> None:
        """Abort what is unfinished and end the thread."""
        if not self._closed:
            self._closed = True
            self._inbox.put(("close", None))
        self._thread.join()

    def __enter__(self) -> "EngineLoop":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, what: str, handle: Handle) -> None:
        if self._closed:
            raise RequestError("the engine loop is closed")
        self._inbox.put((what, handle))

    def _serve(self) -> None:
        """The thread: take what has come in, make a pass, give out what is new."""
        while self._receive():
            if not self.engine.core.busy:
                continue
            try:
                finished = self.engine.step()
            except Exception as error:  # the engine is reset: nothing is left in it
                log.exception("a pass failed outside of its requests; all of them end")
                for handle in list(self._handles.values()):
                    self._fail(handle, error)
                continue
            for handle in list(self._handles.values()):
                self._tell(handle)
            for request in finished:
                self._finish(self._handles[request.number])
        self.engine.reset()
        for handle in list(self._handles.values()):
            self._finish(handle)
        while not self._inbox.empty():
            what, late = self._inbox.get()
            if what == "add" and late is not None:
                self._fail(late, RequestError("the engine loop is closed"))

    def _receive(self) -> bool:
        """Do what the inbox asks for; waits where there is nothing to decode. False: close."""
        while True:
            try:
                what, handle = self._inbox.get(block=not self.engine.core.busy)
            except queue.Empty:
                return True
            if handle is None:
                return False
            if what == "add":
                self._add(handle)
            elif handle._request is not None and handle._request.number in self._handles:
                self.engine.abort(handle._request)
                self._finish(handle)

    def _add(self, handle: Handle) -> None:
        try:
            request = handle._request = self.engine.enqueue(handle._prepared)
        except Exception as error:
            self._fail(handle, error)
            return
        if handle._events is not None:
            handle._stream = EventStream(request, self.engine.spec, self.engine.codec)
        self._handles[request.number] = handle

    def _tell(self, handle: Handle) -> None:
        if handle._events is not None and handle._stream is not None:
            for event in handle._stream.advance():
                handle._events.put(event)

    def _finish(self, handle: Handle) -> None:
        assert handle._request is not None
        try:
            answer = self.engine.generation(handle._request)
            self._tell(handle)
        except Exception as error:
            self._fail(handle, error)
            return
        self._forget(handle)
        handle._answer.set_result(answer)
        if handle._events is not None:
            handle._events.put(Finished(answer))

    def _fail(self, handle: Handle, error: Exception) -> None:
        self._forget(handle)
        handle._answer.set_exception(error)
        if handle._events is not None:
            handle._events.put(error)

    def _forget(self, handle: Handle) -> None:
        if handle._request is not None:
            self._handles.pop(handle._request.number, None)
        self._places.release()
