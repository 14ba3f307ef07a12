"""What people ask about notifications: which there are, and what each delivery of one has come to."""

from typing import Any, NamedTuple
from uuid import UUID

from streamworkers.database import Connection, fetch_row, fetch_rows

_LIST = """
SELECT n.id, n.created_at, n.user_id AS user, n.type, n.priority, n.dedup_key,
       coalesce(n.data ->> 'title', n.data ->> 'text') AS text,
       coalesce(d.deliveries, CASE WHEN n.routed_at IS NULL THEN 'not routed' END) AS deliveries
FROM notifications n CROSS JOIN LATERAL (
    SELECT string_agg(concat_ws(' ', nullif(d.channel, ''), d.state), ', ' ORDER BY d.channel, d.created_at)
           AS deliveries
    FROM delivery_notifications l JOIN deliveries d ON d.id = l.delivery_id WHERE l.notification_id = n.id) d
WHERE (%(user)s::text IS NULL OR n.user_id = %(user)s) AND (%(type)s::text IS NULL OR n.type = %(type)s)
ORDER BY n.created_at DESC, n.id LIMIT %(limit)s"""

_SHOW = """
SELECT id, user_id AS user, type, dedup_key, priority, group_key, data, created_at, expires_at, routed_at
FROM notifications WHERE id = %s"""

_DELIVERIES = """
SELECT d.id, d.channel, e.name AS endpoint, d.state, d.reason, d.is_digest, d.attempts, d.ambiguities, d.not_before,
       d.sent_at, (SELECT count(*) FROM delivery_notifications o WHERE o.delivery_id = d.id) AS notifications
FROM delivery_notifications l JOIN deliveries d ON d.id = l.delivery_id LEFT JOIN endpoints e ON e.id = d.endpoint_id
WHERE l.notification_id = %s ORDER BY d.channel, d.created_at, d.id"""


_NEWEST = "SELECT state, reason, picture FROM deliveries WHERE endpoint_id = %s ORDER BY created_at DESC LIMIT 1"


class SentMessage(NamedTuple):
    """A delivery as those see it who wait for it."""

    state: str
    reason: str | None
    picture: bytes | None


def read_newest_message(connection: Connection, endpoint_id: int) -> SentMessage | None:
    """The newest delivery to an endpoint; None if there is none yet."""
    row = fetch_row(connection, _NEWEST, (endpoint_id,))
    return None if row is None else SentMessage(**row)


def list_notifications(
    connection: Connection, *, user: str | None, type_name: str | None, limit: int
) -> list[dict[str, Any]]:
    """The newest notifications of a user (None: of all) with the states of their deliveries, newest first."""
    return fetch_rows(connection, _LIST, {"user": user, "type": type_name, "limit": limit})


def show_notification(connection: Connection, notification_id: UUID) -> dict[str, Any] | None:
    """A notification, and in `deliveries` each delivery of it; None if there is none."""
    row = fetch_row(connection, _SHOW, (notification_id,))
    return None if row is None else row | {"deliveries": fetch_rows(connection, _DELIVERIES, (notification_id,))}
