"""Universes in memory, for long-running processes that resolve them often.

A loop calls `follow`, which holds all memberships and listens to PostgreSQL, where each commit of a change notifies.
While it cannot listen, the memberships may be old, so `resolve` asks the database.
"""

from collections.abc import Callable

from streamworkers.database import Connection, wait_for_notify
from streamworkers.errors import UnknownNameError
from streamworkers.market.universes.store import parse_names, read_memberships, resolve, union

NOTIFY_CHANNEL = "streamworkers_universes"  # PostgreSQL's channel; the triggers of both tables use it too
_TURN_SECONDS = 0.5
_MOST_REMEMBERED = 1000


# Memberships, and the symbols of the expressions resolved so far; replaced together.
_Held = tuple[dict[str, frozenset[str]], dict[str, tuple[str, ...]]]


class UniverseCache:
    """Answers from memory in microseconds, and sees a change within a second."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self.loads = 0
        self._connect = connect
        self._held: _Held | None = None

    def resolve(self, expression: str) -> tuple[str, ...]:
        """Return the symbols of `sp500:nasdaq100`, with the result and errors of `universes.store.resolve`."""
        if (held := self._held) is None:
            with self._connect() as connection:
                return resolve(connection, expression)
        return _answer(held, expression)

    def resolve_with(self, connection: Connection, expression: str) -> tuple[str, ...]:
        """Do what `resolve` does, using this connection if memory is not up to date."""
        held = self._held
        return resolve(connection, expression) if held is None else _answer(held, expression)

    @property
    def is_listening(self) -> bool:
        """True while universes are resolved from memory."""
        return self._held is not None

    def follow(self, keep_going: Callable[[], bool]) -> None:
        """Hold all memberships and follow their changes on one connection until `keep_going()` is false.

        Raises when the connection is lost; until the next call answers come from the database.
        """
        try:
            with self._connect() as connection:
                connection.execute(f"LISTEN {NOTIFY_CHANNEL}")
                self._load(connection)
                while keep_going():
                    if wait_for_notify(connection, _TURN_SECONDS):
                        self._load(connection)
        finally:
            self._held = None

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
