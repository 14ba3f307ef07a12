"""Sends the bot's answers as soon as they are written, as `deliver` sends: claimed, called, recorded, within limits."""

import uuid
from collections.abc import Sequence

from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.notifications.delivery.sender import Sender
from streamworkers.notifications.store.answers import list_due_answers
from streamworkers.notifications.store.closing import reopen_abandoned

_MOST_LEFT = 20


class AnswerSender:
    """Sends answers, and none is lost: those that a dead or hasty process has left are sent by the next one."""

    def __init__(self, pool: "ConnectionPool[Connection]", sender: Sender) -> None:
        self._pool, self._sender = pool, sender

    def send(self, ids: Sequence[uuid.UUID]) -> None:
        """Send those of the answers that still wait; what has no slot soon waits for another turn."""
        with self._pool.connection() as connection:
            self._sender.send(connection, ids)

    def send_left(self) -> None:
        """Send answers that another process has left; what it was sending is named as ambiguous by its claim."""
        with self._pool.connection() as connection:
            reopen_abandoned(connection)
            due = list_due_answers(connection, _MOST_LEFT)
        if due:
            self.send(due)

    def close(self) -> None:
        """Close the connections of the channels."""
        self._sender.close()
