"""The client of a chat server: what it retries, what it refuses, that nothing is asked twice."""

import sqlite3
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate

import pytest
from pdata.llm.chat_client import Client, Refused, _read_retry_after
from pdata.llm.ordered_threads import map_in_order

from pbranch.errors import DataError
from tests.support.chat_server import TROUBLE, make_client, serving

SAY = [{"role": "user", "content": "Say something."}]
SCHEMA = {"title": "word", "type": "object", "properties": {}, "required": []}


def numbered(n: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Question {n}"}]


def echo(messages: list[dict[str, str]]) -> str:
    return "You said: " + messages[-1]["content"]


def test_every_trouble_passes_and_nothing_is_asked_twice(tmp_path):
    with serving(echo, trouble=0.4, seed=3) as server:
        with (
            make_client(server.url, tmp_path / "c.sqlite") as client,
            ThreadPoolExecutor(8) as pool,
        ):
            said = list(pool.map(lambda n: client.ask(numbered(n)).content, range(60)))
        assert said == [f"You said: Question {n}" for n in range(60)]
        assert set(TROUBLE) <= set(server.met), server.met
        assert client.usage.requests == sum(server.met.values())
        assert client.usage.retries == client.usage.requests - 60
        assert (client.usage.prompt_tokens, client.usage.completion_tokens) == (6000, 600)
        assert client.usage.cost(1.0, 10.0) == pytest.approx(0.012)
        before = sum(server.met.values())
        with make_client(server.url, tmp_path / "c.sqlite") as client:
            assert [client.ask(numbered(n)).content for n in range(60)] == said
        assert sum(server.met.values()) == before
        assert (client.usage.requests, client.usage.cache_hits) == (0, 60)
        assert client.usage.cost(1.0, 10.0) == 0


def test_what_is_asked_decides_about_the_cache(tmp_path):
    with serving(echo) as server:
        for options in ({}, {"temperature": 0.5}):
            with make_client(server.url, tmp_path / "c.sqlite", options=options) as client:
                for sample in (0, 1):
                    for schema in (None, SCHEMA):
                        client.ask(SAY, sample=sample, schema=schema)
        assert server.met["ok"] == 8
        assert [b.get("temperature") for b in server.bodies] == [None] * 4 + [0.5] * 4
        assert "sample" not in server.bodies[-1]


def test_threads_that_ask_the_same_get_the_same(tmp_path):
    """Replies are drawn; a file must not depend on which thread was faster."""
    both, drawn = threading.Barrier(2, timeout=20), iter("ab")

    def model(messages: list[dict[str, str]]) -> str:
        both.wait()  # neither is answered before both have asked
        return next(drawn)

    with serving(model) as server:
        cache = tmp_path / "c.sqlite"
        with make_client(server.url, cache, timeout=30.0) as client, ThreadPoolExecutor(2) as pool:
            said = list(pool.map(lambda _: client.ask(SAY).content, range(2)))
        assert server.met["ok"] == 2 and len(set(said)) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_will_not_pass_ends_at_once(status):
    with serving(status=lambda body: status) as server, make_client(server.url) as client:
        with pytest.raises(DataError) as error:
            client.ask(SAY)
        assert not isinstance(error.value, Refused)
        assert client.url in str(error.value) and str(status) in str(error.value)
        assert ("OPENAI_API_KEY" if status < 404 else "/v1") in str(error.value)
        assert server.met[str(status)] == 1


def test_a_wrong_address_says_what_is_expected():
    with serving() as server, make_client(server.url + "/more") as client:
        with pytest.raises(DataError, match="ends in /v1"):
            client.ask(SAY)
    with pytest.raises(DataError, match="http"):
        Client("localhost:8000/v1", "a-model")


def test_a_server_that_is_gone_stops_the_run():
    with serving() as server:
        url = server.url
    with (
        make_client(url, tries=3) as client,
        pytest.raises(DataError, match=r"3 tries.*--resume") as e,
    ):
        client.ask(SAY)
    assert not isinstance(e.value, Refused)


@pytest.mark.parametrize("status", [500, 429, 400])
def test_a_server_that_always_fails_stops_the_run(status):
    with serving(status=lambda body: status) as server, make_client(server.url, tries=3) as client:
        with pytest.raises(DataError, match=str(status)) as e:
            client.ask(SAY)
        assert not isinstance(e.value, Refused)


def test_one_request_that_always_fails_is_refused_alone():
    def status(body):
        return 500 if "7" in body["messages"][0]["content"] else None

    with serving(status=status) as server, make_client(server.url, tries=3) as client:
        with pytest.raises(Refused, match="500"):
            client.ask(numbered(7))
        assert client.ask(numbered(8)).content == "ok"
        assert server.met["500"] == 3


def test_a_schema_that_the_server_refuses_is_left_out_from_then_on():
    def status(body):
        return 400 if "response_format" in body else None

    with serving(status=status) as server, make_client(server.url) as client:
        for n in range(3):
            assert client.ask(numbered(n), schema=SCHEMA).content == "ok"
        assert (server.met["400"], server.met["ok"]) == (1, 3)


def test_a_request_that_is_refused_for_itself_leaves_the_schema_on():
    def status(body):
        return 400 if "7" in body["messages"][0]["content"] else None

    with serving(status=status) as server, make_client(server.url) as client:
        with pytest.raises(Refused):
            client.ask(numbered(7), schema=SCHEMA)
        client.ask(numbered(8), schema=SCHEMA)
        sent = server.bodies[-1]["response_format"]["json_schema"]
        assert sent == {"name": "word", "strict": True, "schema": SCHEMA}


def test_the_key_is_sent_and_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "from-env")
    with serving() as server:
        for key in (None, "given"):
            with make_client(server.url, api_key=key) as client:
                client.ask(SAY)
        monkeypatch.delenv("OPENAI_API_KEY")
        with make_client(server.url) as client:
            client.ask(SAY)
        sent = [h.get("Authorization") for h in server.headers]
    assert sent == ["Bearer from-env", "Bearer given", None]


def test_retry_after():
    assert _read_retry_after("2.5") == 2.5
    assert 50 < _read_retry_after(formatdate(time.time() + 60, usegmt=True)) <= 60
    assert _read_retry_after(formatdate(time.time() - 60, usegmt=True)) == 0
    assert _read_retry_after("") is _read_retry_after("soon") is None
    with serving(status=lambda body: 429) as server, make_client(server.url, tries=3) as client:
        began = time.monotonic()
        with pytest.raises(DataError):
            client.ask(SAY)
        # 3 tries and 3 of the question whether anything works, each pause at least 0.2 s
        assert time.monotonic() - began > 4 * 0.2


def test_closing_ends_the_pauses_of_other_threads():
    with serving(status=lambda body: 503) as server:
        client = make_client(server.url, pause=60.0)
        failed: list[Exception] = []

        def ask():
            try:
                client.ask(SAY)
            except DataError as e:
                failed.append(e)

        thread = threading.Thread(target=ask)
        thread.start()
        while not client.usage.retries:
            time.sleep(0.01)
        client.close()
        thread.join(5)
        assert not thread.is_alive() and failed


def test_a_cache_that_is_none(tmp_path):
    (tmp_path / "c.sqlite").write_text("not a database, but long enough to look like one" * 50)
    with pytest.raises(DataError, match=r"c\.sqlite"):
        make_client("http://127.0.0.1:1/v1", tmp_path / "c.sqlite")


def test_a_cache_is_a_file_that_others_can_read(tmp_path):
    with serving() as server, make_client(server.url, tmp_path / "c.sqlite") as client:
        client.ask(SAY)
        rows = sqlite3.connect(tmp_path / "c.sqlite").execute("SELECT content FROM replies")
        assert rows.fetchall() == [("ok",)]


def test_map_in_order_keeps_order_and_reads_no_further_than_needed():
    read = Counter()

    def items():
        for n in range(1000):
            read["n"] += 1
            yield n

    def work(n: int) -> int:
        time.sleep(0.001 * (n % 3))
        return -n

    found = map_in_order(work, items(), 4)
    assert [next(found) for _ in range(40)] == [-n for n in range(40)]
    assert read["n"] <= 40 + 4 * 4
    assert list(found) == [-n for n in range(40, 1000)]


def test_map_in_order_raises_the_first_error_in_order():
    def work(n: int) -> int:
        if n in (5, 6):
            time.sleep(0.05 if n == 5 else 0)
            raise ValueError(n)
        return n

    found = map_in_order(work, range(100), 4)
    assert [next(found) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="5"):
        next(found)
