"""Universes in memory, for long-running processes that resolve them often.

A thread holds all memberships and listens to PostgreSQL, which notifies it of every change at its commit. While the
thread cannot listen, its memberships may be out of date, so expressions are resolved in the database.
"""

import threading
import time
from collections.abc import Callable

import psycopg
import structlog

from streamworkers.database import Connection
from streamworkers.errors import ServiceUnreachableError, UnknownNameError
from streamworkers.market.universes.store import parse_names, read_memberships, resolve, union

log = structlog.get_logger()
NOTIFY_CHANNEL = "streamworkers_universes"  # PostgreSQL's channel; the triggers of both tables use it too
_TURN_SECONDS = 0.5
_RETRY_SECONDS = 1.0
_MOST_REMEMBERED = 1000


# Memberships, and the symbols of the expressions resolved so far; replaced together.
_Held = tuple[dict[str, frozenset[str]], dict[str, tuple[str, ...]]]


class UniverseCache(threading.Thread):
    """Resolves universes from memory in microseconds, and sees changes within a second."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        super().__init__(name="universe-cache", daemon=True)
        self.turned_at = time.monotonic()
        self.loads = 0
        self._connect = connect
        self._held: _Held | None = None
        self._stop_requested = threading.Event()

    def resolve(self, expression: str) -> tuple[str, ...]:
        """Returns the symbols of `sp500:nasdaq100`, with the result and errors of `universes.store.resolve`."""
        if (held := self._held) is None:
            with self._connect() as connection:
                return resolve(connection, expression)
        return _answer(held, expression)

    def resolve_with(self, connection: Connection, expression: str) -> tuple[str, ...]:
        """Does what `resolve` does, using this connection if memory is not up to date."""
        held = self._held
        return resolve(connection, expression) if held is None else _answer(held, expression)

    @property
    def is_listening(self) -> bool:
        """True while universes are resolved from memory."""
        return self._held is not None

    def stop(self) -> None:
        """Ends the thread."""
        self._stop_requested.set()

    def run(self) -> None:
        """Connects, listens and loads, and loads again at each change."""
        while not self._stop_requested.is_set():
            self.turned_at = time.monotonic()
            try:
                with self._connect() as connection:
                    self._listen(connection)
            except (psycopg.Error, ServiceUnreachableError) as error:
                log.warning("universe_cache_away", error=" ".join(str(error).split()))
                self._stop_requested.wait(_RETRY_SECONDS)
            finally:
                self._held = None

    def _listen(self, connection: Connection) -> None:
        connection.execute(f"LISTEN {NOTIFY_CHANNEL}")
        self._load(connection)
        while not self._stop_requested.is_set():
            self.turned_at = time.monotonic()
            if any(True for _ in connection.notifies(timeout=_TURN_SECONDS, stop_after=1)):
                self._load(connection)

    def _load(self, connection: Connection) -> None:
        self._held = (read_memberships(connection), {})
        self.loads += 1


def _answer(held: _Held, expression: str) -> tuple[str, ...]:
    members, answers = held
    found = answers.get(expression)
    if found is None:
        names = parse_names(expression)
        for name in names:
            if name not in members:
                raise UnknownNameError("universe", name, members)
        found = union(members, names)
        if len(answers) < _MOST_REMEMBERED:
            answers[expression] = found
    return found
