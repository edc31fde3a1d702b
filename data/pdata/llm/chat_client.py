"""Asks a model on any OpenAI-compatible server: retries what may pass, caches, counts tokens.

Knows no prompts and no traces. Thread-safe; how many ask at once is the caller's.
"""

import hashlib
import json
import os
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Event, Lock
from typing import Any

from pbranch.errors import DataError
from pdata.llm.endpoint import KEY_VARIABLE, SHORTEST_SECRET, Endpoint, NoReply, TooLarge
from pdata.llm.reply_cache import Reply, ReplyCache

Messages = Sequence[Mapping[str, Any]]
MOST_TOKENS = 1e9  # of a request or a reply
LONGEST_WAIT = 600.0  # seconds; a server that asks for more ends the run
_PING: Messages = ({"role": "user", "content": "Answer with the word ok."},)
_ADVICE = {
    401: f"set {KEY_VARIABLE} to a key that this server knows",
    402: "the account has no credit",
    403: f"the key in {KEY_VARIABLE} may not use this model",
    404: "no such address or model; expected a base URL that ends in /v1 and a model it serves",
}
_OTHER_ADVICE = "expected an OpenAI-compatible server"
_REFUSALS = (400, 413, 422, 501)


class Refused(DataError):
    """The server is up, but this one request gets no answer from it. Says why, not where: it goes
    into files, which are the same wherever the server stands."""


class _Retryable(Exception):
    """What went wrong may pass; `after`: seconds that the server asked to wait."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class _RetriesExhausted(DataError):
    """The last try went wrong as well."""


@dataclass(slots=True)
class Usage:
    """Counts of this process; tokens are those of replies that came from the server."""

    requests: int = 0
    retries: int = 0
    cache_hits: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def cost(self, prompt_price: float, completion_price: float) -> float:
        """What the tokens cost; prices are per million tokens, in any currency."""
        paid = self.prompt_tokens * prompt_price + self.completion_tokens * completion_price
        return paid / 1e6


class Client:
    """One model of one server.

    base_url: ends before /chat/completions; api_key: else the environment's OPENAI_API_KEY, if
    any; cache: a file of replies; options: further keys of every request (temperature, …);
    timeout: seconds for one whole reply; tries: of each request; pause: seconds before the second
    try, doubled before each further one. Raises DataError on a URL or key that cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        cache: Path | None = None,
        options: Mapping[str, Any] | None = None,
        timeout: float = 600.0,
        tries: int = 6,
        pause: float = 1.0,
    ) -> None:
        key = (api_key or os.environ.get(KEY_VARIABLE, "")).strip()
        self._endpoint = Endpoint(base_url, "/chat/completions", key, timeout)
        self.url = self._endpoint.url
        self.model, self.options = model, dict(options or {})
        self.tries, self.pause = tries, pause
        self.usage = Usage()
        self._takes_schema = True
        self._answered = False
        self._cache = ReplyCache(cache)
        self._closed = Event()
        self._lock = Lock()

    def ask(
        self,
        messages: Messages,
        *,
        schema: Mapping[str, Any] | None = None,
        sample: int = 0,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Reply:
        """The model's reply, from the cache where it was asked before.

        schema: JSON schema that the reply has to follow, where the server can enforce it; sample:
        which of several replies to the same messages; tools: what the reply may call. Raises
        Refused where this request alone has no answer, DataError where the server has none for any.
        """
        options = {**self.options, "tools": list(tools)} if tools else self.options
        question = self._hash(messages, options, schema, sample)
        known = self._cache.find(question)
        if known is not None:
            self._count(cache_hits=1)
            return known
        body = {"model": self.model, "messages": list(messages), **options}
        try:
            reply = self._send_with(schema, body)
        except _RetriesExhausted as e:
            self._ping(e)
            raise Refused(str(e)) from e
        except Refused as e:
            if not self._answered:  # it may refuse whatever is asked
                self._ping(e)
            raise
        return self._cache.store(question, reply)

    def close(self) -> None:
        """Ends the pauses of other threads; their requests fail."""
        self._closed.set()
        self._endpoint.close()
        self._cache.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hash(
        self,
        messages: Messages,
        options: Mapping[str, Any],
        schema: Mapping[str, Any] | None,
        sample: int,
    ) -> str:
        asked = [self.model, list(messages), options, schema, sample]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, n in more.items():
                setattr(self.usage, name, getattr(self.usage, name) + n)

    def _send_with(self, schema: Mapping[str, Any] | None, body: dict[str, Any]) -> Reply:
        """Without the schema where the server refuses it, and from then on."""
        if schema is None or not self._takes_schema:
            return self._send(body)
        named = {"name": schema.get("title", "reply"), "strict": True, "schema": schema}
        try:
            return self._send({**body, "response_format": {"type": "json_schema",
                                                           "json_schema": named}})  # fmt: skip
        except Refused:
            reply = self._send(body)
            self._takes_schema = False
            return reply

    def _send(self, body: dict[str, Any]) -> Reply:
        for attempt in range(1, self.tries + 1):
            try:
                reply = self._post(body)
                break
            except _Retryable as e:
                if attempt == self.tries:
                    raise _RetriesExhausted(f"{e} ({attempt} tries)") from e
                self._count(retries=1)
                self._wait(attempt, e.after)
        self._answered = True
        self._count(prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens)
        return reply

    def _wait(self, attempt: int, after: float | None) -> None:
        """Back off exponentially, jittered so that threads do not come back all at once."""
        if after is not None and after > LONGEST_WAIT:
            raise DataError(f"{self.url}: asks to wait {after:.0f} s; go on later with --resume")
        backoff = min(self.pause * 2 ** (attempt - 1), 60.0) * random.uniform(0.5, 1.0)
        if self._closed.wait(max(backoff, after or 0.0)):
            raise DataError(f"{self.url}: the run ended before an answer came")

    def _post(self, body: dict[str, Any]) -> Reply:
        """One request. Raises _Retryable on what may pass, Refused, else DataError."""
        self._count(requests=1)
        try:
            reply = self._endpoint.post(body)
        except NoReply as e:
            raise _Retryable(str(e)) from e
        except TooLarge as e:
            raise Refused(str(e)) from e
        text = self._endpoint.hide(reply.data.decode("utf-8", "replace"))
        if reply.status == 200:
            return self._read_reply(reply.data, text)
        said = f"{reply.status} {reply.reason} {_shorten(text)}".strip()
        if reply.status in _REFUSALS:
            raise Refused(said)
        if reply.status in (408, 409, 425, 429) or reply.status >= 500:
            raise _Retryable(said, _read_retry_after(reply.retry_after))
        advice = _ADVICE.get(reply.status, _OTHER_ADVICE)
        raise DataError(f"{self.url}: {said}; {advice}")

    def _read_reply(self, data: bytes, shown: str) -> Reply:
        """Raises _Retryable where `data`, in messages `shown`, is no chat completion."""
        try:
            body = json.loads(data)
            choice = body["choices"][0]
            content = choice["message"].get("content")
            content = "" if content is None else content
            content.encode("utf-8")  # half of a surrogate pair is no text
            finish = choice.get("finish_reason")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as e:
            raise _Retryable(f"not a chat completion: {_shorten(shown)}") from e
        usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
        return Reply(
            self._endpoint.hide(content, SHORTEST_SECRET),
            self._endpoint.hide(finish)[:40] if isinstance(finish, str) else "",
            _read_count(usage.get("prompt_tokens")),
            _read_count(usage.get("completion_tokens")),
        )

    def _ping(self, failure: DataError) -> None:
        """Raises DataError unless the server answers a request that nothing is wrong with."""
        try:
            self._send({"model": self.model, "messages": list(_PING), **self.options})
        except DataError as e:
            raise DataError(
                f"{self.url}: {failure}; it answers nothing else either. Once it does, --resume "
                "goes on from what is written"
            ) from e


def _read_count(value: Any) -> int:
    """Tokens, as a server counts them; 0 where it is no number that can be one."""
    return int(value) if type(value) in (int, float) and 0 < value < MOST_TOKENS else 0


def _read_retry_after(value: str) -> float | None:
    """Seconds, from seconds or a date; None where it is neither."""
    with suppress(ValueError):
        return max(0.0, float(value))
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    return None


def _shorten(text: str) -> str:
    """The start of a reply's text, on one line."""
    return " ".join(text[:1000].split())[:200]
