"""The table `queue_pauses`: which queues are paused, since when, by whom and why. Redis has a flag of each."""

from datetime import datetime
from typing import NamedTuple

from streamworkers.database import Connection

_READ = "SELECT queue, paused_at, paused_by, reason FROM queue_pauses ORDER BY queue"
_ADD = """
    INSERT INTO queue_pauses (queue, paused_by, reason) VALUES (%s, %s, %s)
    ON CONFLICT (queue) DO NOTHING RETURNING queue, paused_at, paused_by, reason
"""
_REMOVE = "DELETE FROM queue_pauses WHERE queue = %s RETURNING queue, paused_at, paused_by, reason"


class QueuePause(NamedTuple):
    """A queue that is paused, since when, by whom and why."""

    queue: str
    paused_at: datetime
    paused_by: str
    reason: str


def read_pauses(connection: Connection) -> dict[str, QueuePause]:
    """Return the queues that are paused, by name."""
    return {row[0]: QueuePause(*row) for row in connection.execute(_READ)}


def add_pause(connection: Connection, queue: str, paused_by: str, reason: str) -> QueuePause | None:
    """Pause a queue; None if it is paused already."""
    row = connection.execute(_ADD, (queue, paused_by, reason)).fetchone()
    return None if row is None else QueuePause(*row)


def remove_pause(connection: Connection, queue: str) -> QueuePause | None:
    """End the pause of a queue and return it; None if it is not paused."""
    row = connection.execute(_REMOVE, (queue,)).fetchone()
    return None if row is None else QueuePause(*row)
