"""The answers of Redis: how long one may be that a process reads."""

from typing import Any

import streamworkers.engine.redis.lean_import  # noqa: F401  # isort: skip  # before redis
import redis
from redis.connection import DefaultParser

# Much more than the largest batch of entries takes. Any program may write under our keys, and what a process has begun
# to read would have to fit into its memory.
MOST_REPLY_BYTES = 128 << 20


class LongReplyError(redis.ConnectionError):
    """An answer is longer than a process reads, so its connection was closed; what it delivered is still there."""


class _CountingSocket:
    """A socket that ends a reply which is too long while it arrives."""

    def __init__(self, own: Any) -> None:
        self._own = own
        self.left = MOST_REPLY_BYTES

    def recv_into(self, buffer: Any) -> int:
        """Receive the next part of a reply. Raises LongReplyError."""
        count: int = self._own.recv_into(buffer)
        self.left -= count
        if self.left < 0:
            raise LongReplyError(f"an answer is longer than {MOST_REPLY_BYTES >> 20} MiB")
        return count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


class BoundedParser(DefaultParser):  # type: ignore[misc,valid-type]  # the library's choice at run time
    """Reads replies up to `MOST_REPLY_BYTES`."""

    _sock: Any

    def on_connect(self, connection: Any, **options: Any) -> None:
        super().on_connect(connection, **options)
        self._sock = _CountingSocket(self._sock)

    def read_response(self, *words: Any, **options: Any) -> Any:
        if self._sock is not None:  # another thread may just have closed the client
            self._sock.left = MOST_REPLY_BYTES
        return super().read_response(*words, **options)
