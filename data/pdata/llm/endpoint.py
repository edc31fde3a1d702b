"""One address of a server that is asked by POST: replies are bounded in size and in time, and no
key or password gets into a message.

Knows no chat. Thread-safe.
"""

import base64
import json
import os
import socket
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Timer
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies

import httpx2

from pbranch.errors import DataError

KEY_VARIABLE = "OPENAI_API_KEY"
LARGEST = 32 << 20  # bytes of a reply, unpacked: an answer of a million tokens has 5 MB
SHORTEST_SECRET = 8  # characters from which a key is taken out of replies: local servers take "x"


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What came back; `data` is unpacked."""

    status: int
    reason: str
    retry_after: str
    data: bytes


class TooLarge(DataError):
    """A reply that has more bytes than any answer."""


class NoReply(Exception):
    """No whole reply came; that may pass."""


class Endpoint:
    """`base_url` + `path`; `timeout`: seconds for one whole reply.

    key: sent as a bearer token; else a name and a password of the URL are sent, which never stay in
    `url`. Raises DataError, which shows neither, on a URL or key that cannot be used.
    """

    def __init__(self, base_url: str, path: str, key: str, timeout: float) -> None:
        shown = hide_credentials(base_url)
        if not base_url.startswith(("http://", "https://")):
            raise DataError(f"base URL {shown!r}: expected http://… or https://…")
        if not (key.isascii() and key.isprintable()):
            raise DataError("the API key holds a character that no HTTP header can")
        if not timeout > 0:
            raise DataError(f"timeout {timeout:g}: expected seconds above 0")
        try:
            parts = urlsplit(base_url)
            user, password = unquote(parts.username or ""), unquote(parts.password or "")
        except ValueError as e:
            raise DataError(f"base URL {shown!r}: not a URL") from e
        if parts.query or parts.fragment:
            raise DataError(
                f"base URL {shown!r}: expected no ? and no #; a key goes into {KEY_VARIABLE}"
            )
        if user and key:
            raise DataError(
                f"base URL {shown!r}: names a user, and {KEY_VARIABLE} is set as well; expected one"
            )
        netloc = parts.netloc.rpartition("@")[2]
        self.url = f"{parts.scheme}://{netloc}{parts.path}".rstrip("/") + path
        self.timeout = timeout
        self._secrets = _spellings(key, user, password)
        headers = {"Accept-Encoding": "identity"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._http = httpx2.Client(
            headers=headers,
            auth=(user, password) if user else None,
            timeout=httpx2.Timeout(timeout, connect=min(timeout, 30.0), pool=None),
            # a connection of its own for each request, which can be cut when its time is over
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )

    def close(self) -> None:
        """Ends the requests of other threads."""
        self._http.close()

    def hide(self, text: str, shortest: int = 1) -> str:
        """`text` without keys and passwords, those of `shortest` characters or more."""
        for secret in self._secrets:
            if len(secret) >= shortest:
                text = text.replace(secret, "***")
        return text

    def post(self, body: Mapping[str, Any]) -> HttpReply:
        """Send `body` as JSON. Raises NoReply on what may pass, TooLarge, else DataError."""
        end = time.monotonic() + self.timeout
        sockets: list[Any] = []

        def note(event: str, info: Mapping[str, Any]) -> None:
            if event == "connection.connect_tcp.complete":
                sockets.append(info["return_value"].get_extra_info("socket"))

        def cut() -> None:
            for found in sockets:
                with suppress(OSError):
                    found.shutdown(socket.SHUT_RDWR)

        timer = Timer(self.timeout, cut)
        timer.daemon = True
        timer.start()
        try:
            trace = {"trace": note}
            with self._http.stream("POST", self.url, json=body, extensions=trace) as response:
                data = self._read(response)
        except httpx2.InvalidURL as e:
            raise DataError(self.hide(f"{self.url}: not a URL ({e})")) from e
        except (httpx2.TransportError, httpx2.DecodingError, zlib.error) as e:
            late = isinstance(e, httpx2.TimeoutException) or time.monotonic() > end - 0.01
            said = f"no whole reply in {self.timeout:g} s" if late else str(e) or type(e).__name__
            raise NoReply(self.hide(said)) from e
        finally:
            timer.cancel()
        if time.monotonic() > end:
            raise NoReply(f"no whole reply in {self.timeout:g} s")
        after = response.headers.get("retry-after", "")
        return HttpReply(response.status_code, self.hide(response.reason_phrase), after, data)

    def _read(self, response: httpx2.Response) -> bytes:
        """The body, unpacked where the server has packed it without being asked to."""
        named = response.headers.get("content-encoding", "identity").strip()
        encoding = named.casefold()
        if encoding not in ("identity", "", "gzip", "deflate"):
            shown = self.hide(named)[:40]
            raise DataError(f"{self.url}: a reply packed as {shown!r}, which was not asked for")
        unpack = zlib.decompressobj(47) if encoding in ("gzip", "deflate") else None
        data = bytearray()
        for chunk in response.iter_raw():
            data += unpack.decompress(chunk, LARGEST + 1 - len(data)) if unpack else chunk
            if len(data) > LARGEST:
                raise TooLarge(f"a reply of more than {LARGEST:,} bytes")
        return bytes(data)


def hide_credentials(url: str) -> str:
    """A URL for a message: without user, password and what follows a question mark."""
    head, slashes, rest = url.partition("://")
    where = rest if slashes else head
    place = where.partition("?")[0].partition("#")[0].rpartition("@")[2]
    return f"{head}://{place}" if slashes else place


def _spellings(key: str, user: str, password: str) -> list[str]:
    """All ways in which a server, a proxy or an error may write a secret, the longest first."""
    secrets = {key, password}
    if user:
        secrets.add(base64.b64encode(f"{user}:{password}".encode()).decode())
    for proxy in getproxies().values():
        with suppress(ValueError):
            secrets.add(unquote(urlsplit(proxy).password or ""))
    for secret in list(secrets):
        secrets |= {quote(secret, safe=""), json.dumps(secret)[1:-1], secret.replace("/", "\\/")}
    if os.environ.get(KEY_VARIABLE):
        secrets.add(os.environ[KEY_VARIABLE].strip())
    return sorted(filter(None, secrets), key=len, reverse=True)
