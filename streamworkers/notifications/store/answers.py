"""Answers of the bot: deliveries that their writer sends at once, and that anybody may send a little later."""

import uuid
from datetime import timedelta

import msgspec
from psycopg.types.json import Jsonb

from streamworkers.database import Connection, fetch_value
from streamworkers.notifications.content import Content
from streamworkers.notifications.notification_types import ANSWER_TYPE
from streamworkers.notifications.store.endpoints import Endpoint
from streamworkers.notifications.store.messages import add_message

ADMITTED_AFTER = timedelta(seconds=10)  # what its writer has not sent by then, others may send
EXPIRES_AFTER = timedelta(hours=1)
PROMISED_WITHIN = timedelta(minutes=10)  # by a run; then the chat learns that nothing came
_KEEP = """
UPDATE deliveries SET content = %(content)s, picture = %(picture)s, not_before = clock_timestamp(),
    expires_at = clock_timestamp() + %(life)s
WHERE id = %(id)s AND user_id = %(user)s AND state = 'queued' AND parts IS NULL AND endpoint_id IS NOT NULL
RETURNING id"""
# After the message that nothing has come.
_KEEP_LATE = """
INSERT INTO deliveries (user_id, endpoint_id, channel, type, priority, content, picture, expires_at)
SELECT user_id, endpoint_id, channel, type, priority, %(content)s, %(picture)s, clock_timestamp() + %(life)s
FROM deliveries WHERE id = %(id)s AND user_id = %(user)s AND state <> 'suppressed' AND endpoint_id IS NOT NULL"""
_PROMISED = """
SELECT count(*) FROM deliveries
WHERE user_id = %s AND type = %s AND state = 'queued' AND not_before > clock_timestamp() + %s"""
_CHAT = "SELECT e.address FROM deliveries d JOIN endpoints e ON e.id = d.endpoint_id WHERE d.id = %s AND d.user_id = %s"
_ERASE = """
UPDATE deliveries SET content = NULL, parts = NULL, picture = NULL, provider_id = NULL,
    state = CASE WHEN state IN ('queued', 'deferred', 'failed') THEN 'suppressed' ELSE state END,
    reason = CASE WHEN state IN ('queued', 'deferred', 'failed') THEN 'its chat was forgotten' ELSE reason END
WHERE endpoint_id = %s"""
_DUE = """
SELECT id FROM deliveries
WHERE type = %s AND state IN ('queued', 'deferred', 'failed') AND run_id IS NULL AND not_before <= clock_timestamp()
  AND expires_at > clock_timestamp() ORDER BY created_at LIMIT %s"""


def add_answer(connection: Connection, endpoint: Endpoint, content: Content) -> uuid.UUID:
    """Add an answer in the caller's transaction, and return its id."""
    return add_message(connection, endpoint, ANSWER_TYPE, content, EXPIRES_AFTER, due_in=ADMITTED_AFTER)


def promise_answer(connection: Connection, endpoint: Endpoint, otherwise: Content) -> uuid.UUID:
    """Add an answer that a run will write, and return its id; if none does in time, `otherwise` is sent."""
    life = PROMISED_WITHIN + EXPIRES_AFTER
    return add_message(connection, endpoint, ANSWER_TYPE, otherwise, life, due_in=PROMISED_WITHIN)


def count_promised(connection: Connection, user: str) -> int:
    """The answers to a user that runs have still to write."""
    count: int = fetch_value(connection, _PROMISED, (user, ANSWER_TYPE, ADMITTED_AFTER))
    return count


def keep_answer(
    connection: Connection, user: str, answer: uuid.UUID, content: Content, picture: bytes | None = None
) -> None:
    """Write an answer that was promised to this user, in the transaction that ends the run's item; it is sent at once.

    Nothing is written into an answer to somebody else: anybody who may submit runs chooses their parameters.
    """
    found = Jsonb(msgspec.to_builtins(content))
    values = {"id": answer, "user": user, "content": found, "picture": picture, "life": EXPIRES_AFTER}
    if fetch_value(connection, _KEEP, values) is None:
        connection.execute(_KEEP_LATE, values)


def find_answer_chat(connection: Connection, user: str, answer: uuid.UUID) -> str | None:
    """The chat that an answer to a user goes to; None if it was forgotten."""
    chat: str | None = fetch_value(connection, _CHAT, (answer, user))
    return chat


def list_due_answers(connection: Connection, limit: int) -> list[uuid.UUID]:
    """The oldest answers that their writer has left, and that no run has taken."""
    return [each for (each,) in connection.execute(_DUE, (ANSWER_TYPE, limit))]


def erase_bodies(connection: Connection, endpoint_id: int) -> None:
    """Delete the texts for an endpoint; that they were sent stays, and what waits is not sent."""
    connection.execute(_ERASE, (endpoint_id,))
