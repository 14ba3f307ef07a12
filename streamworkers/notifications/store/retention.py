"""Deletes notifications and deliveries that ended long ago, and before that the texts of the deliveries.

What is still to be sent, or is held for a person, is kept whole, however old it is. A `dedup_key` counts for as long as
its notification is kept.
"""

from datetime import datetime

from streamworkers.database import Connection, count_matching, delete_matching

MESSAGE_TEXTS = "message_texts"  # no table: the columns of `deliveries` that hold what is sent
NOTIFICATION_TABLES = ("deliveries", "notifications", "rejected_notifications")  # a notification after its deliveries
_ENDED = "state IN ('sent', 'suppressed', 'dead')"
_CONDITIONS = {
    "deliveries": f"created_at < %s AND {_ENDED}",
    "notifications": (
        "created_at < %s AND routed_at IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM delivery_notifications l WHERE l.notification_id = notifications.id)"
    ),
    "rejected_notifications": "created_at < %s",
}
_HAS_TEXT = f"created_at < %s AND {_ENDED} AND (content IS NOT NULL OR parts IS NOT NULL OR picture IS NOT NULL)"
_OLD_TEXTS = f"SELECT id FROM deliveries WHERE {_HAS_TEXT} LIMIT %s FOR UPDATE SKIP LOCKED"  # noqa: S608  # constants
_FORGET_TEXTS = f"UPDATE deliveries SET content = NULL, parts = NULL, picture = NULL WHERE id IN ({_OLD_TEXTS})"  # noqa: S608


def count_old_notification_rows(connection: Connection, part: str, before: datetime) -> int:
    """The number of rows that `delete_old_notification_rows` would change in all; `before` is aware."""
    if part == MESSAGE_TEXTS:
        return count_matching(connection, "deliveries", _HAS_TEXT, (before,))
    return count_matching(connection, part, _CONDITIONS[part], (before,))


def delete_old_notification_rows(connection: Connection, part: str, before: datetime, limit: int) -> int:
    """Delete up to `limit` rows of one of `NOTIFICATION_TABLES`, or the texts of so many; returns how many."""
    if part == MESSAGE_TEXTS:
        return connection.execute(_FORGET_TEXTS, (before, limit)).rowcount
    return delete_matching(connection, part, _CONDITIONS[part], (before,), limit)
