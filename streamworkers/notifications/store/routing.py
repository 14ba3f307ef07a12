"""What routing reads and writes, in one transaction that keeps the users of its notifications."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from streamworkers.database import Connection, fetch_rows
from streamworkers.notifications.notification import Notification
from streamworkers.notifications.plan import DIGEST, PlannedDelivery
from streamworkers.notifications.routing import Earlier, Route

_TAKE = """
SELECT id, user_id, type, dedup_key, priority, group_key, data, created_at, expires_at FROM notifications
WHERE routed_at IS NULL ORDER BY created_at, id LIMIT %s FOR UPDATE SKIP LOCKED"""

_EARLIER = """
SELECT n.id, e.count, e.first FROM notifications n CROSS JOIN LATERAL (
    SELECT count(*) AS count, min(o.created_at) AS first FROM (
        SELECT created_at FROM notifications
        WHERE user_id = n.user_id AND type = n.type AND created_at > n.created_at - %s
          AND (created_at, id) < (n.created_at, n.id)
        ORDER BY created_at DESC, id DESC LIMIT %s) o) e
WHERE n.id = ANY(%s)"""

# What is claimed, was tried, or has its text already may not grow any more. The lock keeps it unclaimed meanwhile.
_WAITING = """
SELECT d.id, d.user_id, d.endpoint_id, d.channel, d.type, d.priority, d.not_before, d.expires_at,
       (SELECT n.group_key FROM delivery_notifications l JOIN notifications n ON n.id = l.notification_id
        WHERE l.delivery_id = d.id LIMIT 1) AS group_key
FROM deliveries d
WHERE d.endpoint_id = ANY(%s) AND d.state IN ('queued', 'deferred') AND d.is_digest AND d.claim IS NULL
  AND d.attempts = 0 AND d.ambiguities = 0 AND d.content IS NULL AND d.parts IS NULL
ORDER BY d.id FOR UPDATE OF d SKIP LOCKED"""

_ADD = """
INSERT INTO deliveries (id, user_id, endpoint_id, channel, type, priority, is_digest, state, reason, not_before,
                        expires_at, due_at)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::bool[], %s::text[],
                     %s::text[], %s::timestamptz[], %s::timestamptz[], %s::timestamptz[])"""

_GROW = """
UPDATE deliveries d SET priority = w.priority, expires_at = w.expires_at
FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[]) AS w (id, priority, expires_at) WHERE d.id = w.id"""

_LINK = """
INSERT INTO delivery_notifications (delivery_id, notification_id) SELECT * FROM unnest(%s::uuid[], %s::uuid[])"""


def take_unrouted(connection: Connection, limit: int) -> list[Notification]:
    """The oldest notifications that are not routed, and their users: kept to the end of the caller's transaction."""
    found = [Notification(**row) for row in fetch_rows(connection, _TAKE, (limit,))]
    users = sorted({each.user_id for each in found})
    connection.execute("SELECT id FROM users WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE", (users,))
    return found


def read_earlier(connection: Connection, ids: Sequence[UUID], window: timedelta, most: int) -> dict[UUID, Earlier]:
    """For each notification, those of its user and type in the window before it; counted up to `most` and one more."""
    rows = connection.execute(_EARLIER, (window, most + 1, list(ids)))
    return {found: Earlier(count, first) for found, count, first in rows}


def lock_growing(connection: Connection, endpoint_ids: Sequence[int]) -> list[PlannedDelivery]:
    """Messages of several notifications that wait for these endpoints and may still grow; locked."""
    found = []
    for row in fetch_rows(connection, _WAITING, (list(endpoint_ids),)):
        group = None if row["type"] == DIGEST else row["group_key"]
        place = Route(row["endpoint_id"], row["channel"], row["not_before"], joins=True, group=group)
        found.append(
            PlannedDelivery(
                *(row["user_id"], place, row["type"], row["priority"], row["expires_at"], row["id"]), is_stored=True
            )
        )
    return found


def write_routed(connection: Connection, routed: Sequence[UUID], deliveries: Sequence[PlannedDelivery]) -> None:
    """Write the deliveries of a step, and mark its notifications as routed."""
    new = [_columns_of(each) for each in deliveries if not each.is_stored]
    if new:
        connection.execute(_ADD, [list(column) for column in zip(*new, strict=True)])
    grown = [(each.id, each.priority, each.expires_at) for each in deliveries if each.is_stored and each.is_changed]
    if grown:
        connection.execute(_GROW, [list(column) for column in zip(*grown, strict=True)])
    links = [(each.id, notification) for each in deliveries for notification in each.notification_ids]
    if links:
        connection.execute(_LINK, [list(column) for column in zip(*links, strict=True)])
    connection.execute("UPDATE notifications SET routed_at = clock_timestamp() WHERE id = ANY(%s)", (list(routed),))


def count_unrouted(connection: Connection, seconds: float) -> int:
    """The number of notifications that have waited for longer to be routed."""
    row = connection.execute(
        "SELECT count(*) FROM notifications"
        " WHERE routed_at IS NULL AND created_at < clock_timestamp() - make_interval(secs => %s)",
        (seconds,),
    ).fetchone()
    assert row is not None
    return int(row[0])


def _columns_of(delivery: PlannedDelivery) -> tuple[object, ...]:
    place = delivery.route
    state = "suppressed" if place.suppressed is not None else "deferred" if place.joins else "queued"
    return (
        *(delivery.id, delivery.user_id, place.endpoint_id, place.channel, delivery.type, delivery.priority),
        *(place.joins, state, place.suppressed, place.due, delivery.expires_at),
        place.due if place.joins or delivery.decided_at is None else delivery.decided_at,
    )
