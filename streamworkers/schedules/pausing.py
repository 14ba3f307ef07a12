"""Pausing and resuming all schedules at once: what was paused before stays paused afterwards."""

from typing import LiteralString

from streamworkers.actor import LOCAL, Actor
from streamworkers.database import Connection
from streamworkers.schedules.store import lock_edits, set_enabled

_ENABLED = "SELECT name FROM schedules WHERE enabled ORDER BY name"
_PAUSED = "SELECT name FROM schedules WHERE NOT enabled ORDER BY name"
_PAUSED_WITH_ALL = "SELECT name FROM schedules WHERE NOT enabled AND paused_with_all ORDER BY name"


def pause_all(connection: Connection, actor: Actor = LOCAL) -> list[str]:
    """Pause every schedule that is enabled; returns their names. `resume_all` brings back these and no others."""
    with connection.transaction():
        lock_edits(connection)
        names = _read_names(connection, _ENABLED)
        for name in names:
            set_enabled(connection, name, False, actor)
        connection.execute("UPDATE schedules SET paused_with_all = true WHERE name = ANY(%s)", (names,))
    return names


def resume_all(connection: Connection, actor: Actor = LOCAL) -> tuple[list[str], list[str]]:
    """Resume what `pause_all` paused; returns these names, and those of schedules that stay paused."""
    with connection.transaction():
        lock_edits(connection)
        names = _read_names(connection, _PAUSED_WITH_ALL)
        for name in names:
            set_enabled(connection, name, True, actor)
        return names, _read_names(connection, _PAUSED)


def find_paused_with_all(connection: Connection) -> set[str]:
    """The names of the schedules that `resume_all` brings back."""
    return set(_read_names(connection, _PAUSED_WITH_ALL))


def _read_names(connection: Connection, statement: LiteralString) -> list[str]:
    return [name for (name,) in connection.execute(statement).fetchall()]
