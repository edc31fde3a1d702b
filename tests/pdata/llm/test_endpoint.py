"""A hostile server: it echoes keys, packs gigabytes, drips, and counts wildly."""

import base64
import json
import resource
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from pdata.llm.chat_client import Client
from pdata.llm.endpoint import LARGEST, Endpoint, NoReply, TooLarge, hide_credentials
from typer.testing import CliRunner

from pbranch.errors import DataError

KEY = "sk-SECRET/123"
SAY = [{"role": "user", "content": "Say something."}]
Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def hostile(answer: Answer) -> Iterator[str]:
    """The base URL of a server that does with each request what `answer` does."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            try:
                answer(self)
            except OSError:
                pass  # the client has had enough

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def send(handler: BaseHTTPRequestHandler, data: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


def completion(content: Any = "ok", **more: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}}], **more}).encode()


def client(url: str, **settings: Any) -> Client:
    return Client(url, "m", **{"tries": 1, "pause": 0.01, "timeout": 20.0, **settings})


def echo(status: int) -> Answer:
    """All spellings of what was sent, in an error's body or in a reply's text."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        sent = handler.headers.get("Authorization", "")
        plain = sent.split()[-1]
        if sent.startswith("Basic"):
            plain += " " + base64.b64decode(plain).decode()
        said = f"{'x' * 150}{sent} {plain} {json.dumps(plain)} " + plain.replace("/", "\\/")
        data = completion(said) if status == 200 else said.encode()
        send(handler, data, status)

    return answer


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500])
@pytest.mark.parametrize("way", ["key", "url"])
def test_what_a_server_echoes_is_hidden(status, way, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    cache = tmp_path / "c.replies"
    with hostile(echo(status)) as url:
        if way == "url":
            url = url.replace("://", "://me:pw%20SECRET%2B123@")
        with client(url, api_key=KEY if way == "key" else None, cache=cache) as asked:
            try:
                said = asked.ask(SAY).content
            except DataError as e:
                said = f"{e} {e.__cause__}"
            assert "SECRET" not in asked.url
    assert "***" in said and "SECRET" not in said
    assert base64.b64encode(b"me:pw SECRET+123").decode() not in said
    assert b"SECRET" not in cache.read_bytes()


def test_a_short_key_is_not_taken_out_of_answers():
    with hostile(lambda h: send(h, completion("EMPTY is no set"))) as url:
        with client(url, api_key="EMPTY") as asked:
            assert asked.ask(SAY).content == "EMPTY is no set"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://me:pwSECRET@h/v1", "names a user, and OPENAI_API_KEY is set"),
        ("me:pwSECRET@h/v1", "expected http"),
        ("ftp://me:pwSECRET@h/v1", "expected http"),
        ("http://h/v1?api-key=pwSECRET", "expected no ?"),
        ("http://h/v1#pwSECRET", "expected no ?"),
        ("http://me:pwSECRET@[h/v1", "not a URL"),
    ],
)
def test_urls_that_are_refused_show_no_password(url, says, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(DataError, match=says) as error:
        Client(url, "m")
    assert "SECRET" not in str(error.value)


def test_a_refused_connection_shows_no_password(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with client("http://me:pwSECRET@127.0.0.1:9/v1") as asked, pytest.raises(DataError) as error:
        asked.ask(SAY)
    assert "SECRET" not in str(error.value) and "127.0.0.1:9" in str(error.value)


def test_a_password_of_the_url_is_sent(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    seen = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers["Authorization"])
        send(handler, completion())

    with hostile(answer) as url, client(url.replace("://", "://me:pw@")) as asked:
        asked.ask(SAY)
    assert seen == ["Basic " + base64.b64encode(b"me:pw").decode()]


def test_a_key_that_is_echoed_as_a_packing_is_hidden():
    with hostile(lambda h: send(h, b"", Content_Encoding=KEY)) as url:
        with client(url, api_key=KEY) as asked, pytest.raises(DataError) as caught:
            asked.ask(SAY)
    assert "packed as '***'" in str(caught.value) and "\n" not in str(caught.value)
    assert KEY.casefold() not in str(caught.value).casefold()


def test_a_reply_that_is_packed_all_the_same_is_read():
    packed = zlib.compress(completion("packed"))
    with hostile(lambda h: send(h, packed, Content_Encoding="deflate")) as url:
        with client(url) as asked:
            assert asked.ask(SAY).content == "packed"


def pack(megabytes: int) -> bytes:
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(pack.compress(bytes(1 << 20)) for _ in range(megabytes)) + pack.flush()


def test_huge_replies_are_cut():
    packed = pack(512)

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(1 << 20))

    ways: list[Answer] = [lambda h: send(h, packed, Content_Encoding="gzip"), endless]
    for answer in ways:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with hostile(answer) as url:
            endpoint = Endpoint(url, "/chat/completions", "", 60.0)
            with pytest.raises(TooLarge, match="more than"):
                endpoint.post({})
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 4 * LARGEST >> 10  # KiB


def test_a_packing_that_nobody_asked_for_is_refused():
    with hostile(lambda h: send(h, b"x", Content_Encoding="zstd")) as url:
        with client(url) as asked, pytest.raises(DataError, match="zstd"):
            asked.ask(SAY)


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_reply_that_drips_ends_in_time(part):
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        if part == "body":
            handler.wfile.write(b"Content-Length: 100000\r\n\r\n")
        while True:
            handler.wfile.write(b"A: b\r\n")
            handler.wfile.flush()
            time.sleep(0.05)

    with hostile(drip) as url:
        endpoint, began = Endpoint(url, "/chat/completions", "", 1.0), time.monotonic()
        with pytest.raises(NoReply, match="no whole reply in 1 s"):
            endpoint.post({})
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 10**30, "completion_tokens": -5},
        {"prompt_tokens": float("inf"), "completion_tokens": float("nan")},
        {"prompt_tokens": "many", "completion_tokens": True},
        {"prompt_tokens": [1], "completion_tokens": {}},
        [1, 2],
        "none",
        7,
    ],
)
def test_wild_usage_counts_as_none(usage, tmp_path):
    with hostile(lambda h: send(h, completion(usage=usage))) as url:
        with client(url, cache=tmp_path / "c.replies") as asked:
            assert asked.ask(SAY).content == "ok"
            assert (asked.usage.prompt_tokens, asked.usage.completion_tokens) == (0, 0)


def test_endless_digits_are_no_completion():
    data = completion()[:-1] + b', "usage": {"prompt_tokens": ' + b"9" * 5000 + b"}}"
    with hostile(lambda h: send(h, data)) as url:
        with client(url) as asked, pytest.raises(DataError, match="not a chat completion"):
            asked.ask(SAY)


@pytest.mark.parametrize("command", [["build", "--rewriter", "llm"], ["distill"]])
def test_the_commands_have_a_timeout(command, tmp_path):
    from pdata.cli import app

    source = tmp_path / "s.jsonl"
    source.write_text('{"prompt": "q", "response": "1. a.\\n2. b.\\nSo a."}\n')
    asks = ["--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--timeout", "-1"]
    found = CliRunner().invoke(
        app, [*command, str(source), "--out", str(tmp_path / "o.jsonl"), *asks]
    )
    assert isinstance(found.exception, DataError) and "timeout -1" in str(found.exception)


def test_credentials_are_cut_out_of_urls():
    assert hide_credentials("https://u:p@h:1/v1?key=x#y") == "https://h:1/v1"
    assert hide_credentials("u:p@h/v1") == "h/v1" and hide_credentials("") == ""
