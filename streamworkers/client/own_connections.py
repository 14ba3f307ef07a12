"""The connections of a client itself: a small pool, opened when it is first needed, and a time limit for each call.

Each call is a transaction that sets its limits itself, so that a pooler in transaction mode can be in between. A
connection that was lost since its last use shows that at the BEGIN, and the next one is taken.
"""

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from streamworkers.client.driver_errors import find_own_error
from streamworkers.client.steps import Query, Rows
from streamworkers.database import (
    CONNECT_OPTIONS,
    CONNECT_TIMEOUT_SECONDS,
    WRITABLE_ONLY,
    Connection,
    Pool,
    find_connect_fault,
)
from streamworkers.errors import ServiceUnreachableError, UnknownOutcomeError

T = TypeVar("T")
MOST_CONNECTIONS = 4
_APPLICATION = "streamworkers-client"
# A pooler in transaction mode may give each transaction another session, without what an earlier one has prepared.
_OPTIONS = {**CONNECT_OPTIONS, **WRITABLE_ONLY, "application_name": _APPLICATION, "prepare_threshold": None}
_LATE_SECONDS = 1.0  # PostgreSQL ends a statement itself before we give the connection up
_UNKNOWN = (
    "the connection was lost during the commit, so nobody knows whether the call took effect ({}): repeat it with the"
    " same idempotency key"
)


class _Limited(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is given up when PostgreSQL has not answered until a moment."""

    until = float("inf")

    def wait(self, gen: Generator[Any, Any, T], *words: Any, **named: Any) -> T:
        """Wait for an answer as psycopg does, but not for ever."""
        return super().wait(_end_at(gen, self), *words, **named)


class _AsyncLimited(psycopg.AsyncConnection[tuple[Any, ...]]):
    """An asynchronous connection that is given up when PostgreSQL has not answered until a moment."""

    until = float("inf")

    async def wait(self, gen: Generator[Any, Any, T], *words: Any, **named: Any) -> T:
        """Wait for an answer as psycopg does, but not for ever."""
        return await super().wait(_end_at(gen, self), *words, **named)


def _end_at(gen: Generator[Any, Any, T], connection: "_Limited | _AsyncLimited") -> Generator[Any, Any, T]:
    """Let a wait of psycopg, which looks here ten times a second, end with the connection's time."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > connection.until:
                connection.pgconn.finish()
                raise psycopg.OperationalError("PostgreSQL has not answered in time")
            wanted = gen.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result


def _begin(seconds: float) -> bytes:
    limit = round(seconds * 1000)
    settings = {"statement_timeout": limit, "lock_timeout": limit, "timezone": "'UTC'"}
    return "; ".join(["BEGIN", *(f"SET LOCAL {name} TO {value}" for name, value in settings.items())]).encode()


class OwnConnections:
    """Executes statements of a synchronous client, from any thread; a forked process gets connections of its own."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url, self._seconds = url, seconds
        self._lock = threading.Lock()
        self._pool: ConnectionPool[Connection] | None = None
        self._pid = 0

    def run(self, query: Query) -> Rows:
        """Execute a statement in a transaction; returns its rows.

        Raises ServiceUnreachableError if it certainly took no effect, and UnknownOutcomeError if nobody knows.
        """
        commits, seconds = False, min(self._seconds, query.seconds or self._seconds)
        until = time.monotonic() + seconds + _LATE_SECONDS
        try:
            for left in range(MOST_CONNECTIONS, -1, -1):
                with self._opened().connection(min(seconds, CONNECT_TIMEOUT_SECONDS)) as connection:
                    assert isinstance(connection, _Limited)
                    connection.until = until
                    try:
                        connection.execute(_begin(seconds))
                    except psycopg.OperationalError:
                        if left and connection.closed and time.monotonic() < until:
                            continue
                        raise
                    rows = connection.execute(query.sql, query.words).fetchall()
                    commits = query.changes
                    connection.execute("COMMIT")
                    return rows
        except Exception as error:
            raise _translate(error, seconds, commits) from error
        raise AssertionError("the last connection is used or raises")

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._lock:
            if self._pool is not None and self._pid == os.getpid():
                self._pool.close(0.5)
            self._pool = None

    def _opened(self) -> ConnectionPool[Connection]:
        with self._lock:
            if self._pool is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._pool = Pool(
                    self._url,
                    min_size=0,
                    max_size=MOST_CONNECTIONS,
                    max_idle=60,
                    reconnect_timeout=0,
                    connection_class=_Limited,
                    kwargs=_OPTIONS,
                    open=True,
                )
                weakref.finalize(self, self._pool.close, 0.5)
            return self._pool


class AsyncOwnConnections:
    """Executes statements of an asynchronous client; another event loop gets connections of its own."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url, self._seconds = url, seconds
        self._pool: AsyncConnectionPool[_AsyncLimited] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, query: Query) -> Rows:
        """Execute a statement in a transaction, as `OwnConnections.run` does."""
        commits, seconds = False, min(self._seconds, query.seconds or self._seconds)
        until = time.monotonic() + seconds + _LATE_SECONDS
        try:
            pool = await self._opened()
            for left in range(MOST_CONNECTIONS, -1, -1):
                async with pool.connection(min(seconds, CONNECT_TIMEOUT_SECONDS)) as connection:
                    connection.until = until
                    try:
                        await connection.execute(_begin(seconds))
                    except psycopg.OperationalError:
                        if left and connection.closed and time.monotonic() < until:
                            continue
                        raise
                    rows = await (await connection.execute(query.sql, query.words)).fetchall()
                    commits = query.changes
                    await connection.execute("COMMIT")
                    return rows
        except PoolTimeout as error:
            fault = await asyncio.to_thread(find_connect_fault, self._url, _OPTIONS, error)
            raise ServiceUnreachableError(fault.text, fault.kind, fault.store) from error
        except Exception as error:
            raise _translate(error, seconds, commits) from error
        raise AssertionError("the last connection is used or raises")

    async def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        pool, self._pool = self._pool, None
        if pool is not None and self._loop is asyncio.get_running_loop():
            await pool.close(0.5)

    async def _opened(self) -> AsyncConnectionPool[_AsyncLimited]:
        loop = asyncio.get_running_loop()
        if self._pool is None or self._loop is not loop:
            self._loop = loop
            self._pool = AsyncConnectionPool(
                self._url,
                min_size=0,
                max_size=MOST_CONNECTIONS,
                max_idle=60,
                reconnect_timeout=0,
                connection_class=_AsyncLimited,
                kwargs=_OPTIONS,
                open=False,
            )
            await self._pool.open()
        return self._pool


def _translate(error: Exception, seconds: float, commits: bool) -> Exception:
    own = find_own_error(error, seconds)
    if own is None:
        return error
    return UnknownOutcomeError(_UNKNOWN.format(own)) if commits and isinstance(own, ServiceUnreachableError) else own
