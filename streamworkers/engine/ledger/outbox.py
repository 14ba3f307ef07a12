"""The table `outbox`: events that were committed and are still to be published."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from streamworkers.database import Connection
from streamworkers.engine.ledger.json_text import dump_bounded
from streamworkers.engine.outcome import Event
from streamworkers.engine.redis.keys import NOTIFY_CHANNEL


class StoredEvent(NamedTuple):
    """An event of the outbox: its channel and the JSON text to publish, with its `event_id`."""

    channel: str
    text: str


class NotifyEvent(NamedTuple):
    """An event that a notification is made of; it is never published."""

    event_id: UUID
    payload: Any
    created_at: datetime


def add_events(connection: Connection, events: Sequence[Event]) -> None:
    """Insert events in the transaction of what they report.

    Raises TypeError for something else and for a payload that is not a dict, and TypeError or ValueError for payloads
    that are no JSON, or together too long.
    """
    for event in events:
        if not isinstance(event, Event):
            raise TypeError(f"{event!r:.200} is not an Event")
        if not isinstance(event.payload, dict):
            raise TypeError(f"payload {event.payload!r:.200} of an event for {event.channel} is not a dict")
    texts = [dump_bounded("payload", 1, event.payload) for event in events]
    connection.execute(
        """
        INSERT INTO outbox (channel, payload)
        SELECT channel, payload::jsonb FROM unnest(%b::text[], %b::text[]) AS e(channel, payload)
        """,
        ([str(event.channel) for event in events], texts),
    )


def take_events(connection: Connection, limit: int) -> list[StoredEvent]:
    """Delete the oldest events and return them by id; the caller publishes them before it commits.

    Those that notifications are made of stay.
    """
    rows = connection.execute(
        """
        DELETE FROM outbox WHERE id IN (
            SELECT id FROM outbox WHERE channel <> %s ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
        ) RETURNING id, event_id, channel, payload
        """,
        (NOTIFY_CHANNEL, limit),
    ).fetchall()
    return [
        StoredEvent(channel, json.dumps({"event_id": str(event_id), **payload}))
        for _, event_id, channel, payload in sorted(rows, key=lambda row: row[0])
    ]


def take_notify_events(connection: Connection, limit: int) -> list[NotifyEvent]:
    """Delete the oldest events that notifications are made of, and return them by id, in the caller's transaction."""
    rows = connection.execute(
        """
        DELETE FROM outbox WHERE id IN (
            SELECT id FROM outbox WHERE channel = %s ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
        ) RETURNING id, event_id, payload, created_at
        """,
        (NOTIFY_CHANNEL, limit),
    ).fetchall()
    return [NotifyEvent(*row[1:]) for row in sorted(rows, key=lambda row: row[0])]


def count_late_events(connection: Connection, seconds: float) -> int:
    """Count the events that have waited to be published for longer."""
    row = connection.execute(
        "SELECT count(*) FROM outbox"
        " WHERE channel <> %s AND created_at < clock_timestamp() - make_interval(secs => %s)",
        (NOTIFY_CHANNEL, seconds),
    ).fetchone()
    assert row is not None
    return int(row[0])


def count_late_notify_events(connection: Connection, seconds: float) -> int:
    """Count the events that have waited for longer to become notifications."""
    row = connection.execute(
        "SELECT count(*) FROM outbox WHERE channel = %s AND created_at < clock_timestamp() - make_interval(secs => %s)",
        (NOTIFY_CHANNEL, seconds),
    ).fetchone()
    assert row is not None
    return int(row[0])


def read_outbox_state(connection: Connection) -> tuple[int, float]:
    """Return the number of events that wait to be published, and the age of the oldest in seconds."""
    row = connection.execute(
        "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 FROM outbox"
        " WHERE channel <> %s",
        (NOTIFY_CHANNEL,),
    ).fetchone()
    assert row is not None
    return row[0], row[1]
