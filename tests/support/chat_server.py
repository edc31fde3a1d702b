"""An OpenAI-compatible server on loopback that misbehaves as it is told, and the driver of a run.

What it does to a request depends on the request, the seed and how often it was asked; so runs over
the same traces differ only in what went wrong on the way.
"""

import hashlib
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from pdata.llm.chat_client import Client
from pdata.llm.ordered_threads import map_in_order
from pdata.llm.rewriter import LLMRewriter

from pbranch.files.jsonl import LineFile, read_objects
from pbranch.format.tagged_text import render, separators_of

Brain = Callable[[list[dict[str, str]]], str]
TROUBLE = ("slow", "429", "500", "503", "cut", "malformed", "no choices", "hang up", "empty")
SLOW = 1.6  # seconds; clients of these tests wait 1


class Loopback(ThreadingHTTPServer):
    """brain: messages -> the reply's text; status: … -> an HTTP status, or None for a reply;
    trouble: share of requests that meet something of TROUBLE, up to three times each."""

    daemon_threads = True

    def __init__(
        self,
        brain: Brain,
        status: Callable[[dict[str, Any]], int | None] = lambda body: None,
        trouble: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.brain, self.status, self.trouble, self.seed = brain, status, trouble, seed
        self.lock = Lock()
        self.seen: Counter[str] = Counter()  # how often each question came
        self.met: Counter[str] = Counter()  # what was done to requests
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that were killed are no news."""

    def plan(self, body: dict[str, Any]) -> str:
        """What to do to this request: ok or one of TROUBLE."""
        text = json.dumps([self.seed, body["messages"]])
        question = hashlib.sha256(text.encode()).hexdigest()
        with self.lock:
            tried = self.seen[question]
            self.seen[question] += 1
            self.bodies.append(body)
        draw = random.Random(question)
        plans = [draw.choice(TROUBLE) for _ in range(3) if draw.random() < self.trouble]
        return plans[tried] if tried < len(plans) else "ok"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Loopback

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.headers.append(dict(self.headers))
        status, plan = self.server.status(body), self.server.plan(body)
        if self.path != "/v1/chat/completions":
            status = 404
        if status is not None:
            plan = str(status)
        with self.server.lock:
            self.server.met[plan] += 1
        if plan == "slow":
            time.sleep(SLOW)
        if plan.isdigit():
            after = {"Retry-After": "0.2"} if plan == "429" else {}
            return self.reply(int(plan), b'{"error": {"message": "as planned"}}', after)
        choice = {"message": {"content": self.server.brain(body["messages"])},
                  "finish_reason": "stop"}  # fmt: skip
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        data = json.dumps({"choices": [choice], "usage": usage}).encode()
        match plan:
            case "hang up":
                self.close_connection = True
            case "cut":
                self.reply(200, data[: len(data) // 2], size=len(data))
                self.close_connection = True
            case "malformed":
                self.reply(200, data[:-7] + b"}}}")
            case "no choices":
                self.reply(200, b'{"choices": []}')
            case "empty":
                self.reply(200, b"")
            case _:
                self.reply(200, data)

    def reply(
        self, status: int, data: bytes, headers: dict[str, str] | None = None, size: int = -1
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if size < 0 else size))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(brain: Brain = lambda messages: "ok", **settings: Any) -> Iterator[Loopback]:
    """A server that runs in threads of this process."""
    server = Loopback(brain, **settings)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_client(url: str, cache: Path | None = None, **settings: Any) -> Client:
    """Impatient, so that tests are fast."""
    settings = {"timeout": 1.0, "tries": 8, "pause": 0.01, **settings}
    return Client(url, "a-model", cache=cache, **settings)


def run(url: str, traces: Path, out: Path, cache: Path, workers: int = 8) -> None:
    """Rewrite all traces into `out`, going on where an earlier run was ended."""
    with make_client(url, cache) as client, LineFile(out, resume=True) as file:
        rewriter = LLMRewriter(client)

        def rewrite(row: dict[str, Any]) -> str:
            found = rewriter.rewrite(row["text"], row["prompt"])
            told = {"n": row["n"], "tagged": render(found.trace),
                    "separators": separators_of(found.trace), "reason": found.reason,
                    "detail": found.detail, "by_rules": bool(found.blocks)}  # fmt: skip
            return json.dumps(told) + "\n"

        done = {row["n"] for row in read_objects(out)}
        todo = (row for row in read_objects(traces) if row["n"] not in done)
        for line in map_in_order(rewrite, todo, workers):
            file.write(line)


if __name__ == "__main__":
    run(sys.argv[1], *map(Path, sys.argv[2:5]))
