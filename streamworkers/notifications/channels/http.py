"""Calls over HTTP whose URLs are secrets, and of whose ends one knows whether the request has left."""

import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any, NamedTuple, Self

import httpcore
import httpx

from streamworkers.config import Settings
from streamworkers.deadline import Deadline, DeadlineBackend
from streamworkers.faults import describe
from streamworkers.notifications.channels.channel import NotSentError

_CONNECT_SECONDS = 5.0
_MOST_RETRY_SECONDS = 86_400.0
_KEEP_SECONDS = 5.0  # a connection that the server may have closed meanwhile makes a call ambiguous
_BEFORE_IT_LEFT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.LocalProtocolError,
    httpx.UnsupportedProtocol,
)
_TARGET = "own_target"


class NoAnswerError(Exception):
    """The request has left, and nobody knows whether it took effect."""


class AnswerBound(NamedTuple):
    """How much of an answer is read, and the setting that says so."""

    setting: str
    most_bytes: int

    def __str__(self) -> str:
        """The setting with its value, as in errors."""
        return f"{self.setting}={self.most_bytes}"

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return that of answers to messages."""
        return cls("STREAMWORKERS_CHANNEL_MAX_ANSWER_BYTES", settings.channel_max_answer_bytes)


DEFAULT_BOUND = AnswerBound("STREAMWORKERS_CHANNEL_MAX_ANSWER_BYTES", 64 * 1024)


class HttpReply(NamedTuple):
    """An answer; `is_whole` is false if its body did not arrive, or was longer than what is read."""

    status: int
    headers: httpx.Headers
    body: bytes
    is_whole: bool


class _Transport(httpx.HTTPTransport):
    """Puts the secret part of a URL in when the request leaves: the client's logs and errors know only its host."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        target: str = request.extensions.pop(_TARGET)
        url = request.url.copy_with(raw_path=target.encode("ascii"))
        return super().handle_request(
            httpx.Request(
                request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
            )
        )


class HttpCaller:
    """Makes POST requests, without redirects or proxies. Thread-safe.

    `backend` connects; it gets the deadline of the calling thread. Answers are read up to `bound`.
    """

    def __init__(
        self,
        connections: int,
        backend: type[DeadlineBackend] | None = None,
        tls: ssl.SSLContext | bool = True,
        bound: AnswerBound = DEFAULT_BOUND,
    ) -> None:
        self._bound = bound
        self._deadline = Deadline()
        limits = httpx.Limits(max_connections=connections, keepalive_expiry=_KEEP_SECONDS)
        transport = _Transport(trust_env=False, limits=limits, verify=tls)
        # The client has no parameter for it.
        transport._pool._network_backend = (backend or DeadlineBackend)(self._deadline)
        self._client = httpx.Client(transport=transport, trust_env=False, follow_redirects=False)

    def post(self, url: httpx.URL, *, seconds: float, bound: AnswerBound | None = None, **content: Any) -> HttpReply:
        """Send a request within so many seconds; `content` is what httpx takes, `bound` takes the place of its own.

        Raises NotSentError if it has certainly not left, and NoAnswerError if no status came back.
        """
        timeout = httpx.Timeout(seconds, connect=_CONNECT_SECONDS)
        target = url.raw_path.decode("ascii")
        request = self._client.build_request(
            "POST", url.copy_with(raw_path=b"/"), timeout=timeout, **_plain_headers(content)
        )
        request.extensions[_TARGET] = target
        try:
            with self._deadline.of(seconds):
                response = self._client.send(request, stream=True)
                try:
                    return _read(response, (bound or self._bound).most_bytes)
                finally:
                    response.close()
        except _BEFORE_IT_LEFT as error:
            raise NotSentError(f"no connection: {_describe(error, target)}") from None
        except (httpx.HTTPError, httpx.StreamError, httpcore.NetworkError) as error:
            raise NoAnswerError(f"no answer: {_describe(error, target)}") from None

    def close(self) -> None:
        """Close the connections that are kept."""
        self._client.close()


def _plain_headers(content: Mapping[str, Any]) -> dict[str, Any]:
    """An answer must not be compressed: what is read of it is bounded as it arrives."""
    return {**content, "headers": {"accept-encoding": "identity", **content.get("headers", {})}}


def _read(response: httpx.Response, most_bytes: int) -> HttpReply:
    """Read a body up to its bound; a status counts also without the rest of it."""
    body, is_whole = b"", False
    with suppress(httpx.HTTPError):
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > most_bytes:
                break
        else:
            is_whole = True
    return HttpReply(response.status_code, response.headers, body[:most_bytes], is_whole)


def _describe(error: Exception, target: str) -> str:
    return describe(error).replace(target, "…")


def read_retry_after(headers: httpx.Headers) -> float | None:
    """Return the seconds of a header Retry-After, which may name a moment; None without one that can be read."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text) if text[:1].isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 1.0), _MOST_RETRY_SECONDS) if isfinite(seconds) else None
