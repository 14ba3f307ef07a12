"""What stands on the way from an event to a message, for metrics and doctor: how old, how much, and what is wrong.

Each statement reads what waits, or a partial index of what is wrong, and never what was sent.
"""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from streamworkers.database import Connection, fetch_row, fetch_value
from streamworkers.engine.redis.keys import NOTIFY_CHANNEL

STEPS = ("event", "notification", "waiting", "admitted")
ENDPOINT_STATES = ("usable", "unverified", "off", "rejected")
STATES = ("queued", "deferred", "failed", "sending", "ambiguous", "dead")
_AGES = """
    SELECT extract(epoch FROM n.now - (SELECT min(created_at) FROM outbox WHERE channel = %s))::float8 AS event,
        extract(epoch FROM n.now - (SELECT min(created_at) FROM notifications WHERE routed_at IS NULL))::float8
            AS notification,
        extract(epoch FROM n.now - (
            SELECT min(not_before) FROM deliveries
            WHERE state IN ('queued', 'deferred', 'failed') AND run_id IS NULL))::float8 AS waiting,
        extract(epoch FROM n.now - (
            SELECT min(greatest(r.created_at, d.not_before)) FROM deliveries d JOIN runs r ON r.id = d.run_id
            WHERE d.run_id IS NOT NULL AND d.state IN ('queued', 'deferred', 'failed', 'sending')))::float8 AS admitted
    FROM (SELECT clock_timestamp() AS now) n
"""
_COUNTS = """
    SELECT channel, state, count(*) FROM deliveries WHERE state IN ('queued', 'deferred', 'failed') GROUP BY 1, 2
    UNION ALL
    SELECT channel, state, count(*) FROM deliveries WHERE state IN ('sending', 'ambiguous', 'dead') GROUP BY 1, 2
"""
_ENDPOINTS = """
    SELECT channel, CASE WHEN off_at IS NOT NULL AND off_by_provider THEN 'rejected' WHEN off_at IS NOT NULL THEN 'off'
        WHEN verified_at IS NULL THEN 'unverified' ELSE 'usable' END AS state, count(*)
    FROM endpoints GROUP BY 1, 2
"""
_REJECTED_ENDPOINTS = """
    SELECT user_id AS user, name, channel, off_at AS since, off_reason AS reason FROM endpoints
    WHERE off_at IS NOT NULL AND off_by_provider ORDER BY off_at, id LIMIT %s
"""
_TROUBLED = """
    SELECT d.channel, d.state, count(*) AS number, min(d.due_at) AS since,
        (array_agg(d.reason ORDER BY d.created_at DESC, d.id))[1] AS reason,
        (array_agg(n.notification_id ORDER BY d.created_at DESC, d.id))[1] AS notification,
        (array_agg(d.ended_run_id ORDER BY d.created_at DESC, d.id))[1] AS ended_run
    FROM deliveries d LEFT JOIN LATERAL (
        SELECT notification_id FROM delivery_notifications WHERE delivery_id = d.id LIMIT 1) n ON true
    WHERE d.state IN ('ambiguous', 'dead') AND (d.state = 'ambiguous' OR d.created_at >= %s)
    GROUP BY 1, 2 ORDER BY 1, 2
"""


class TroubledDeliveries(NamedTuple):
    """Dead or held deliveries of a channel: since when, and of the newest its reason and what it is about.

    That is one of its notifications, or the run whose end it reports.
    """

    channel: str
    state: str
    number: int
    since: datetime
    reason: str | None
    notification: UUID | None
    ended_run: int | None


class RejectedEndpoint(NamedTuple):
    """An endpoint that its provider has switched off."""

    user: str
    name: str
    channel: str
    since: datetime
    reason: str


def read_step_ages(connection: Connection) -> dict[str, float]:
    """For how many seconds the oldest has been due at each of STEPS; 0 if there is none.

    An admitted one is due again after each pause that it was given, and until its last call is recorded.
    """
    row = fetch_row(connection, _AGES, (NOTIFY_CHANNEL,))
    assert row is not None
    return {step: max(0.0, row[step] or 0.0) for step in STEPS}


def count_standing(connection: Connection) -> dict[tuple[str, str], int]:
    """The number of deliveries by channel and state, of those that are neither sent nor suppressed."""
    return {(channel, state): count for channel, state, count in connection.execute(_COUNTS)}


def count_endpoints(connection: Connection) -> dict[tuple[str, str], int]:
    """The number of endpoints by channel and state, of which there are ENDPOINT_STATES."""
    return {(channel, state): count for channel, state, count in connection.execute(_ENDPOINTS)}


def list_troubled(connection: Connection, since: datetime) -> list[TroubledDeliveries]:
    """What is held as ambiguous, and what has died of the deliveries made since then; by channel."""
    return [TroubledDeliveries(*row) for row in connection.execute(_TROUBLED, (since,))]


def list_rejected_endpoints(connection: Connection, limit: int) -> list[RejectedEndpoint]:
    """The endpoints that their providers have switched off, those that have been so for longest first."""
    return [RejectedEndpoint(*row) for row in connection.execute(_REJECTED_ENDPOINTS, (limit,))]


def count_links(connection: Connection) -> int:
    """The number of chats that are linked with a bot."""
    found: int = fetch_value(connection, "SELECT count(*) FROM telegram_links")
    return found
