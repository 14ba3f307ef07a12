"""Notify a user from Python: one row of the outbox in the caller's transaction, so that both happen or neither."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.outcome import Event, make_notice
from streamworkers.errors import BadInputError
from streamworkers.notifications.notification import parse_notification
from streamworkers.notifications.notification_types import Priority


def notify(
    connection: Connection,
    user: str,
    text: str,
    *,
    dedup_key: str,
    type: str = "message",  # noqa: A002  # the word of the table, of preferences and of commands
    priority: Priority = "normal",
    group_key: str | None = None,
    data: Mapping[str, Any] | None = None,
    expires_at: datetime | None = None,
) -> None:
    """Notify a user, once for each `dedup_key`, when the transaction of `connection` commits; without one, now.

    It works in a job's `save`, and in any program with the rights of the application. What may come back carries its
    period in the key: `"report:2026-01-05"`. `data` may have `title`, `link` and `channels` (a list: only these).
    `expires_at` (aware): what is not sent by then is not sent. Raises BadInputError; an unknown user is found when the
    notification is made, and kept with its reason in `rejected_notifications`.
    """
    members = dict(data or {}) | {"text": text}
    event = notification_event(
        user, type, dedup_key, members, priority=priority, expires_at=expires_at, group=group_key
    )
    ledger.add_events(connection, [event])


def notification_event(
    user: str,
    type: str,  # noqa: A002  # the word of the table, of preferences and of commands
    dedup_key: str,
    data: Mapping[str, Any],
    *,
    priority: Priority = "normal",
    group: str | None = None,
    expires_at: datetime | None = None,
) -> Event:
    """The event that becomes a notification. Raises BadInputError."""
    if expires_at is not None and expires_at.tzinfo is None:
        raise BadInputError(f"expires_at {expires_at.isoformat()} has no time zone")
    event = make_notice(user, type, dedup_key, data, priority=priority, group=group, expires_at=expires_at)
    parse_notification(UUID(int=0), event.payload, datetime.now(UTC))
    return event
