"""Statements of `deliveries` for admission: what waits, what is in a run already, and putting deliveries into a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from streamworkers.database import Connection, fetch_rows
from streamworkers.engine.ledger import Run
from streamworkers.notifications.channels.channel import Address
from streamworkers.notifications.notification_types import PRIORITIES, Priority

# Of each endpoint the first ones, so that one with thousands does not hide the others.
_WAITING = """
    SELECT w.id, w.user_id, w.channel, w.priority, e.address, e.settings
    FROM (
        SELECT id, user_id, channel, priority, endpoint_id, created_at,
            array_position(ARRAY['urgent', 'high', 'normal', 'low'], priority) AS rank,
            row_number() OVER (PARTITION BY endpoint_id ORDER BY
                array_position(ARRAY['urgent', 'high', 'normal', 'low'], priority), created_at, id) AS place
        FROM deliveries
        WHERE state IN ('queued', 'deferred', 'failed') AND run_id IS NULL AND not_before <= clock_timestamp()
    ) w LEFT JOIN endpoints e ON e.id = w.endpoint_id
    ORDER BY w.place, w.rank, w.created_at, w.id LIMIT %s
"""
_ADMITTED = """
    SELECT d.id, d.user_id, d.channel, d.priority, e.address, e.settings
    FROM deliveries d LEFT JOIN endpoints e ON e.id = d.endpoint_id
    WHERE d.run_id IS NOT NULL AND d.state IN ('queued', 'deferred', 'failed', 'sending')
    LIMIT %s
"""
_LOCK_WAITING = """
    SELECT id::text FROM deliveries
    WHERE id = ANY(%s) AND run_id IS NULL AND state IN ('queued', 'deferred', 'failed')
    ORDER BY array_position(ARRAY['urgent', 'high', 'normal', 'low'], priority), created_at, id
    FOR UPDATE SKIP LOCKED
"""
_PUT_INTO_RUN = "UPDATE deliveries SET run_id = %s, run_day = %s WHERE id = ANY(%s)"
_POSTPONE = """
    UPDATE deliveries d SET state = CASE d.state WHEN 'queued' THEN 'deferred' ELSE d.state END,
        reason = coalesce(d.reason, 'its provider is left alone for a while'),
        not_before = clock_timestamp() + make_interval(secs => p.seconds)
    FROM unnest(%s::uuid[], %s::float8[]) AS p(id, seconds)
    WHERE d.id = p.id AND d.run_id IS NULL AND d.state IN ('queued', 'deferred', 'failed')
"""


@dataclass(frozen=True, slots=True)
class WaitingDelivery:
    """As much of a delivery as its limits need. `address` is None without an endpoint."""

    id: UUID
    user_id: str
    channel: str
    priority: Priority
    address: str | None
    settings: Mapping[str, Any] | None

    @property
    def target(self) -> Address:
        """Where it goes, as its channel sees it."""
        return Address(self.address or "", self.settings or {})


def read_waiting(connection: Connection, most: int) -> list[WaitingDelivery]:
    """Return due deliveries that are in no run, some of each endpoint; by priority, then age."""
    rows = [WaitingDelivery(**row) for row in fetch_rows(connection, _WAITING, (most,))]
    return sorted(rows, key=lambda row: -PRIORITIES.index(row.priority))


def read_admitted(connection: Connection, most: int) -> list[WaitingDelivery]:
    """Return deliveries that are in a run and not at their end."""
    return [WaitingDelivery(**row) for row in fetch_rows(connection, _ADMITTED, (most,))]


def put_into_run(
    connection: Connection, deliveries: Sequence[UUID], start: Callable[[tuple[str, ...]], Run]
) -> Run | None:
    """Put those of the deliveries that still wait into the run that `start` writes; in one transaction."""
    with connection.transaction():
        ids = tuple(text for (text,) in connection.execute(_LOCK_WAITING, (list(deliveries),)))
        if not ids:
            return None
        run = start(ids)
        connection.execute(_PUT_INTO_RUN, (run.id, run.run_day, [UUID(text) for text in ids]))
    return run


def postpone(connection: Connection, waits: Mapping[UUID, float]) -> None:
    """Let waiting deliveries be due again in so many seconds."""
    connection.execute(_POSTPONE, (list(waits), list(waits.values())))
