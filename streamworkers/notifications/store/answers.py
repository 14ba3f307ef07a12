"""Answers of the bot: deliveries that their writer sends at once, and that anybody may send a little later."""

import uuid
from datetime import timedelta

from streamworkers.database import Connection
from streamworkers.notifications.content import Content
from streamworkers.notifications.notification_types import ANSWER_TYPE
from streamworkers.notifications.store.endpoints import Endpoint
from streamworkers.notifications.store.messages import add_message

ADMITTED_AFTER = timedelta(seconds=10)  # what its writer has not sent by then, others may send
EXPIRES_AFTER = timedelta(hours=1)
_ERASE = """
UPDATE deliveries SET content = NULL, parts = NULL, picture = NULL, provider_id = NULL WHERE endpoint_id = %s"""
_DUE = """
SELECT id FROM deliveries
WHERE type = %s AND state IN ('queued', 'deferred', 'failed') AND run_id IS NULL AND not_before <= clock_timestamp()
  AND expires_at > clock_timestamp() ORDER BY created_at LIMIT %s"""


def add_answer(connection: Connection, endpoint: Endpoint, content: Content) -> uuid.UUID:
    """Add an answer in the caller's transaction, and return its id."""
    return add_message(connection, endpoint, ANSWER_TYPE, content, EXPIRES_AFTER, due_in=ADMITTED_AFTER)


def list_due_answers(connection: Connection, limit: int) -> list[uuid.UUID]:
    """The oldest answers that their writer has left, and that no run has taken."""
    return [each for (each,) in connection.execute(_DUE, (ANSWER_TYPE, limit))]


def erase_bodies(connection: Connection, endpoint_id: int) -> None:
    """Delete the texts sent to an endpoint; that they were sent stays."""
    connection.execute(_ERASE, (endpoint_id,))
