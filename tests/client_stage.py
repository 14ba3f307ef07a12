"""What tests of the client share: each kind of client behind one face, and a pool that works when a test says so."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from psycopg_pool import ConnectionPool

from consumer import Consumer
from streamworkers.client import AsyncClient, AsyncRunHandle, Client
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from submitting import make_preparer

DIRECT_KINDS = ("direct", "direct async")
HTTP_KINDS = ("http", "http async")
KINDS = (*DIRECT_KINDS, *HTTP_KINDS)


@dataclass(frozen=True)
class ApiAccess:
    """Where an HTTP API is, and a token of ann for it."""

    port: int
    token: str

    @property
    def url(self) -> str:
        """The URL that a client is given."""
        return f"http://127.0.0.1:{self.port}"


class _Blocking:
    """An asynchronous client, or a run of it, with its coroutines called as functions."""

    def __init__(self, runner: asyncio.Runner, target: object) -> None:
        self._runner, self._target = runner, target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return self._calling(value) if callable(value) else value

    def _calling(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **named: Any) -> Any:
            answer = function(*words, **named)
            if inspect.isasyncgen(answer):
                return self._runner.run(_collect(answer))
            return self._wrap(self._runner.run(answer))

        return call

    def _wrap(self, value: Any) -> Any:
        if isinstance(value, AsyncRunHandle):
            return _Blocking(self._runner, value)
        return [self._wrap(each) for each in value] if isinstance(value, list) else value


async def _collect(items: Any) -> list[Any]:
    return [item async for item in items]


@contextmanager
def opened_client(kind: str, url: str, **words: Any) -> Iterator[Client]:
    """A client of a kind, with the face of the synchronous one."""
    if not kind.endswith("async"):
        with Client(url, **words) as client:
            yield client
        return
    with asyncio.Runner() as runner:
        client = cast("Client", _Blocking(runner, AsyncClient(url, **words)))
        yield client
        client.close()


@dataclass
class Pool:
    """A preparer and a worker in this process, which do what waits when they are called."""

    pool: "ConnectionPool[Connection]"
    streams: Streams
    registry: Registry
    consumer: Consumer

    def prepare(self) -> None:
        """Give the submitted runs their items."""
        make_preparer(self.pool, self.streams, self.registry).run_once()

    def work(self) -> None:
        """Prepare the submitted runs and execute all of their items."""
        self.prepare()
        self.consumer.work_until_empty()

    def work_until(self, ended: threading.Event) -> None:
        """Do what waits, again and again, until the event is set."""
        while not ended.wait(0.02):
            self.work()
