"""The tables `notifications` and `rejected_notifications`: written as events come, and read for routing and people."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from streamworkers.database import Connection, fetch_rows, fetch_value
from streamworkers.notifications.notification import Notification
from streamworkers.users import SELECT_USERS

_FIND = """
SELECT id, user_id, type, dedup_key, priority, group_key, data, created_at, expires_at FROM notifications"""
_OF_DELIVERY = "WHERE id IN (SELECT notification_id FROM delivery_notifications WHERE delivery_id = %s)"

_ADD = """
INSERT INTO notifications (id, user_id, type, dedup_key, priority, group_key, data, created_at, expires_at)
SELECT w.id, w.user_id, w.type, w.dedup_key, w.priority, w.group_key, w.data, w.created_at, w.expires_at
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::jsonb[], %s::timestamptz[],
            %s::timestamptz[]) WITH ORDINALITY
     AS w (id, user_id, type, dedup_key, priority, group_key, data, created_at, expires_at, n)
ORDER BY w.user_id, w.dedup_key, w.n
ON CONFLICT DO NOTHING RETURNING id"""

_REJECT = """
INSERT INTO rejected_notifications (event_id, payload, reason)
SELECT * FROM unnest(%s::uuid[], %s::jsonb[], %s::text[]) ON CONFLICT DO NOTHING"""


class RejectedEvent(NamedTuple):
    """An event that no notification could be made of, and why."""

    event_id: UUID
    payload: Any
    reason: str


def add_notifications(connection: Connection, notifications: Sequence[Notification]) -> set[UUID]:
    """Insert notifications in the caller's transaction; returns the ids of those whose key is new for their user.

    They are inserted in the order of their keys, so that two transactions with the same keys cannot wait for each
    other. The users must exist.
    """
    if not notifications:
        return set()
    rows = [
        (
            *(each.id, each.user_id, each.type, each.dedup_key, each.priority, each.group_key),
            *(Jsonb(dict(each.data)), each.created_at, each.expires_at),
        )
        for each in notifications
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    return {found for (found,) in connection.execute(_ADD, columns)}


def is_key_known(connection: Connection, user: str, keys: Sequence[str]) -> bool:
    """True if a user has a notification with one of these keys."""
    statement = "SELECT EXISTS (SELECT FROM notifications WHERE user_id = %s AND dedup_key = ANY(%s))"
    return bool(fetch_value(connection, statement, (user, list(keys))))


def reject_events(connection: Connection, rejected: Sequence[RejectedEvent]) -> None:
    """Keep events of which there is no notification, in the caller's transaction."""
    if rejected:
        ids, payloads, reasons = zip(*rejected, strict=True)
        connection.execute(_REJECT, (list(ids), [Jsonb(payload) for payload in payloads], list(reasons)))


def find_known_users(connection: Connection, users: Sequence[str]) -> set[str]:
    """Those of the users who exist; their rows are kept to the end of the transaction."""
    found = connection.execute(SELECT_USERS + " AND id = ANY(%s) ORDER BY id FOR KEY SHARE", (list(users),))
    return {user for (user,) in found}


def read_notifications(connection: Connection, ids: Sequence[UUID]) -> list[Notification]:
    """Notifications by their ids, oldest first."""
    statement = f"{_FIND} WHERE id = ANY(%s) ORDER BY created_at, id"
    return [Notification(**row) for row in fetch_rows(connection, statement, (list(ids),))]


def notifications_of(connection: Connection, delivery_id: UUID, limit: int = 1000) -> list[Notification]:
    """The notifications that a delivery is of, oldest first."""
    statement = f"{_FIND} {_OF_DELIVERY} ORDER BY created_at, id LIMIT %s"
    return [Notification(**row) for row in fetch_rows(connection, statement, (delivery_id, limit))]


def find_types(connection: Connection) -> set[str]:
    """The types of the notifications that are kept."""
    return {name for (name,) in connection.execute("SELECT DISTINCT type FROM notifications")}


def count_rejected(connection: Connection, since: datetime | None = None) -> tuple[int, datetime | None]:
    """The number of rejected events, and when the oldest came; of all that are kept, or of those since then."""
    statement = "SELECT count(*), min(created_at) FROM rejected_notifications"
    condition = " WHERE created_at >= coalesce(%s::timestamptz, '-infinity')"
    row = connection.execute(statement + condition, (since,)).fetchone()
    assert row is not None
    return int(row[0]), row[1]


def list_rejected_events(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """The newest rejected events, with their payloads."""
    statement = "SELECT event_id, created_at, reason, payload FROM rejected_notifications"
    return fetch_rows(connection, f"{statement} ORDER BY created_at DESC, event_id LIMIT %s", (limit,))
