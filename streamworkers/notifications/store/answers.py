"""Answers of the bot: deliveries that their writer sends at once, and that anybody may send a little later."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from streamworkers.database import Connection, fetch_rows, fetch_value
from streamworkers.notifications.channels.channel import Address
from streamworkers.notifications.content import Content, Part
from streamworkers.notifications.store.endpoints import Endpoint

ANSWER_TYPE = "answer"
ADMITTED_AFTER = timedelta(seconds=10)  # what its writer has not sent by then, others may send
EXPIRES_AFTER = timedelta(hours=1)
LEFT_AFTER = timedelta(minutes=1)  # longer than any call takes
_ADD = """
INSERT INTO deliveries (user_id, endpoint_id, channel, type, priority, content, not_before, expires_at)
VALUES (%s, %s, %s, %s, 'urgent', %s, clock_timestamp() + %s, clock_timestamp() + %s) RETURNING id"""
_ERASE = """
UPDATE deliveries SET content = NULL, parts = NULL, picture = NULL, provider_id = NULL WHERE endpoint_id = %s"""
# In the order of their commands; none that a run has taken.
_READ = """
SELECT d.id, d.content, d.parts_sent, e.id AS endpoint_id, e.address, e.settings
FROM unnest(%s::uuid[]) WITH ORDINALITY AS w(id, place) JOIN deliveries d ON d.id = w.id
JOIN endpoints e ON e.id = d.endpoint_id
WHERE d.state IN ('queued', 'failed') AND d.run_id IS NULL AND d.content IS NOT NULL ORDER BY w.place"""
_DUE = """
SELECT d.id FROM deliveries d
WHERE d.type = %s AND d.state IN ('queued', 'failed') AND d.run_id IS NULL AND d.not_before <= clock_timestamp()
  AND d.expires_at > clock_timestamp() ORDER BY d.created_at LIMIT %s"""
_CLAIM = """
UPDATE deliveries SET state = 'sending', claim = %s, claimed_at = clock_timestamp(), parts = %s
WHERE id = %s AND state IN ('queued', 'failed') AND run_id IS NULL RETURNING true"""
_SENT = """
UPDATE deliveries SET state = 'sent', claim = NULL, sent_at = clock_timestamp(), provider_id = %s, parts_sent = %s
WHERE id = %s AND claim = %s"""
_NOT_SENT = """
UPDATE deliveries SET state = %s, reason = %s, claim = NULL, attempts = attempts + 1, parts_sent = %s,
    ambiguities = ambiguities + %s, not_before = clock_timestamp() + make_interval(secs => %s)
WHERE id = %s AND claim = %s"""
_REOPEN = """
UPDATE deliveries SET state = 'queued', claim = NULL, ambiguities = ambiguities + 1,
    reason = 'its sender has died: nobody knows whether it was sent'
WHERE type = %s AND state = 'sending' AND run_id IS NULL AND claimed_at < clock_timestamp() - %s RETURNING id"""


@dataclass(frozen=True, slots=True)
class WaitingAnswer:
    """An answer that nobody has begun to send."""

    id: uuid.UUID
    endpoint_id: int
    target: Address
    content: Content
    parts_sent: int

    def __str__(self) -> str:
        return str(self.id)


def add_answer(connection: Connection, endpoint: Endpoint, content: Content) -> uuid.UUID:
    """Add an answer in the caller's transaction, and return its id."""
    values = (endpoint.user, endpoint.id, endpoint.channel, ANSWER_TYPE, Jsonb(msgspec.to_builtins(content)))
    found: uuid.UUID = fetch_value(connection, _ADD, (*values, ADMITTED_AFTER, EXPIRES_AFTER))
    return found


def read_answers(connection: Connection, ids: Sequence[uuid.UUID]) -> list[WaitingAnswer]:
    """Those answers of a list that still wait, in its order."""
    return [_to_answer(row) for row in fetch_rows(connection, _READ, (list(ids),))]


def list_due_answers(connection: Connection, limit: int) -> list[uuid.UUID]:
    """The oldest answers that their writer has left, and that no run has taken."""
    return [each for (each,) in connection.execute(_DUE, (ANSWER_TYPE, limit))]


def claim_answer(connection: Connection, answer: uuid.UUID, token: uuid.UUID, parts: Sequence[Part]) -> bool:
    """Take an answer to send it; False if somebody else has."""
    return fetch_value(connection, _CLAIM, (token, Jsonb(list(parts)), answer)) is not None


def record_sent(connection: Connection, answer: uuid.UUID, token: uuid.UUID, sent: tuple[str | None, int]) -> bool:
    """Record that an answer was sent, with the provider's id and the number of parts; False without the claim."""
    return connection.execute(_SENT, (*sent, answer, token)).rowcount > 0


def record_not_sent(connection: Connection, answer: uuid.UUID, token: uuid.UUID, fields: Mapping[str, Any]) -> bool:
    """Record an attempt without a yes: `state`, `reason`, `parts_sent`, `ambiguities`, `seconds` to the next one."""
    names = ("state", "reason", "parts_sent", "ambiguities", "seconds")
    return connection.execute(_NOT_SENT, (*(fields[name] for name in names), answer, token)).rowcount > 0


def reopen_answers(connection: Connection) -> list[uuid.UUID]:
    """Let answers whose sender has died be sent again; returns them. Each is counted as ambiguous."""
    return [each for (each,) in connection.execute(_REOPEN, (ANSWER_TYPE, LEFT_AFTER))]


def erase_bodies(connection: Connection, endpoint_id: int) -> None:
    """Delete the texts sent to an endpoint; that they were sent stays."""
    connection.execute(_ERASE, (endpoint_id,))


def _to_answer(row: Mapping[str, Any]) -> WaitingAnswer:
    return WaitingAnswer(
        id=row["id"],
        endpoint_id=row["endpoint_id"],
        target=Address(row["address"], row["settings"]),
        content=msgspec.convert(row["content"], Content),
        parts_sent=row["parts_sent"],
    )
