"""Sends the bot's answers as soon as they are written, as `deliver` sends: claimed, called, recorded, within limits."""

import uuid
from collections.abc import Sequence

import structlog
from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine.outside import Answer
from streamworkers.notifications.delivery.sender import Sender
from streamworkers.notifications.store.answers import list_due_answers, reopen_answers

log = structlog.get_logger()
_MOST_LEFT = 20
_DIED = "claimed by a process that did not record an answer"


class AnswerSender:
    """Sends answers, and none is lost: those that a dead or hasty process has left are sent by the next one."""

    def __init__(self, pool: "ConnectionPool[Connection]", sender: Sender) -> None:
        self._pool, self._sender = pool, sender

    def send(self, ids: Sequence[uuid.UUID]) -> None:
        """Send those of the answers that still wait; what has no slot soon waits for another turn."""
        with self._pool.connection() as connection:
            self._sender.send(connection, ids)

    def send_left(self) -> None:
        """Send answers that another process has left; what it was sending is named as ambiguous first."""
        with self._pool.connection() as connection:
            for answer in reopen_answers(connection):
                log.warning("call_ambiguous", thing=str(answer), answer=str(Answer.UNKNOWN), reason=_DIED)
            due = list_due_answers(connection, _MOST_LEFT)
        if due:
            self.send(due)

    def close(self) -> None:
        """Close the connections of the channels."""
        self._sender.close()
