"""The connections of a client to the HTTP API: httpx, with an end to each call and to the size of an answer."""

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from streamworkers.client.steps import CallReply, HttpCall
from streamworkers.errors import ServiceUnreachableError, StreamworkersError, UnknownOutcomeError

_MOST_BYTES = 64 * 2**20
_CONNECT_SECONDS = 5.0
# Nothing has been sent when one of these is raised.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class HttpConnections:
    """Makes the calls of a synchronous client, from any thread; a forked process gets connections of its own."""

    def __init__(self, url: str, token: str, seconds: float) -> None:
        self._url, self._token, self._seconds = url, token, seconds
        self._client: httpx.Client | None = None
        self._pid = 0

    def run(self, call: HttpCall) -> CallReply:
        """Make a call; returns the answer, whatever its status.

        Raises ServiceUnreachableError if it certainly took no effect, and UnknownOutcomeError if nobody knows.
        """
        seconds = min(self._seconds, call.seconds or self._seconds) + call.waits
        until, parts = time.monotonic() + seconds, bytearray()
        try:
            with self._opened().stream(**_words(call, seconds)) as answer:
                _require_plain(answer)
                for part in answer.iter_raw():
                    parts += part
                    _require_in_bounds(len(parts), until)
            return _reply(answer, bytes(parts))
        except httpx.HTTPError as error:
            raise _translate(error, call, self._url) from error

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        if self._client is not None and self._pid == os.getpid():
            self._client.close()
        self._client = None

    def _opened(self) -> httpx.Client:
        if self._client is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._client = httpx.Client(base_url=self._url, headers={"Authorization": f"Bearer {self._token}"})
        return self._client


class AsyncHttpConnections:
    """Makes the calls of an asynchronous client; another event loop gets connections of its own."""

    def __init__(self, url: str, token: str, seconds: float) -> None:
        self._url, self._token, self._seconds = url, token, seconds
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, call: HttpCall) -> CallReply:
        """Make a call, as `HttpConnections.run` does."""
        seconds = min(self._seconds, call.seconds or self._seconds) + call.waits
        until, parts = time.monotonic() + seconds, bytearray()
        try:
            async with self._opened().stream(**_words(call, seconds)) as answer:
                _require_plain(answer)
                async for part in answer.aiter_raw():
                    parts += part
                    _require_in_bounds(len(parts), until)
            return _reply(answer, bytes(parts))
        except httpx.HTTPError as error:
            raise _translate(error, call, self._url) from error

    async def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()

    def _opened(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._loop = loop
            self._client = httpx.AsyncClient(base_url=self._url, headers={"Authorization": f"Bearer {self._token}"})
        return self._client


def _words(call: HttpCall, seconds: float) -> dict[str, Any]:
    # What is packed could be a thousand times as large when it is unpacked.
    headers = {"Accept-Encoding": "identity"}
    if call.key is not None:
        headers["Idempotency-Key"] = f'"{call.key}"'
    content = None
    if call.body is not None:
        headers["Content-Type"] = "application/json"
        content = msgspec.json.encode(call.body)
    return {
        "method": call.method,
        "url": call.path.lstrip("/"),
        "params": {name: value for name, value in call.query.items() if value is not None},
        "headers": headers,
        "content": content,
        "timeout": httpx.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS)),
    }


def _require_plain(answer: httpx.Response) -> None:
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise httpx.DecodingError(f"the answer has the Content-Encoding {encoding[:40]!r}, which was not asked for")


def _require_in_bounds(size: int, until: float) -> None:
    if size > _MOST_BYTES:
        raise httpx.ReadError(f"the answer has more than {_MOST_BYTES} bytes")
    if time.monotonic() > until:
        raise httpx.ReadTimeout("the answer did not arrive in time")


def _reply(answer: httpx.Response, content: bytes) -> CallReply:
    try:
        body = msgspec.json.decode(content)
    except msgspec.DecodeError:
        body = None
    return CallReply(answer.status_code, body, _seconds_of(answer.headers))


def _seconds_of(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() and len(text) < 6 else 0.0


def _translate(error: httpx.HTTPError, call: HttpCall, url: str) -> StreamworkersError:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if call.changes and not isinstance(error, _NOT_SENT):
        return UnknownOutcomeError(f"nobody knows whether the call took effect: {url} gave no answer ({text})")
    return ServiceUnreachableError(f"{url} does not answer: {text}")
