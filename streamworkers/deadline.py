"""A deadline for the whole of a call over HTTP, also of one whose answer trickles.

The timeouts of an HTTP client begin again with each part of headers or body that arrives, so that such an answer would
hold a call for as long as it likes.
"""

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore


class Deadline:
    """When the call of a thread must have ended."""

    def __init__(self) -> None:
        self._ends = threading.local()

    @contextmanager
    def of(self, seconds: float) -> Iterator[None]:
        """Limit what the block waits for in this thread."""
        self._ends.at = time.monotonic() + seconds
        try:
            yield
        finally:
            self._ends.at = None

    def cut(self, timeout: float | None, error: type[Exception]) -> float | None:
        """Return a timeout that ends by the deadline. Raises `error` if that has passed."""
        end = getattr(self._ends, "at", None)
        if end is None:
            return timeout
        left: float = end - time.monotonic()
        if left <= 0:
            raise error("the deadline of the whole answer has passed")
        return left if timeout is None else min(timeout, left)


class DeadlineBackend(httpcore.NetworkBackend):
    """Connects as httpcore does by itself, with waits that end by a deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline, self._backend = deadline, httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to a server within the deadline of the calling thread."""
        timeout = self._deadline.cut(timeout, httpcore.ConnectTimeout)
        stream = self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(stream, self._deadline)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.cut(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.cut(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        timeout = self._deadline.cut(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
