"""The ledger wins: a delivery whose item is closed is closed too, and people open deliveries again."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from streamworkers.actor import LOCAL, Actor
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.database import Connection

CALL_LIFE = timedelta(minutes=2)  # longer than any call takes: who claimed a delivery so long ago is dead
_CLOSED_ITEMS = """
    SELECT d.id, d.channel, d.run_id, d.claim IS NOT NULL, i.status, i.error
    FROM deliveries d
    LEFT JOIN run_items i ON i.run_day = d.run_day AND i.run_id = d.run_id AND i.symbol = d.id::text
    WHERE d.run_id IS NOT NULL AND d.state IN ('queued', 'deferred', 'failed', 'sending')
        AND (i.status IS NULL OR i.status NOT IN ('pending', 'retrying'))
        AND (d.claim IS NULL OR d.claimed_at < clock_timestamp() - %s)
    ORDER BY d.id LIMIT %s
"""
_CLOSE = """
    UPDATE deliveries SET state = %s, reason = %s, claim = NULL, ambiguities = ambiguities + %s
    WHERE id = %s AND run_id = %s AND state IN ('queued', 'deferred', 'failed', 'sending')
"""
# A claim stays: the next one finds it, and names the delivery ambiguous.
_QUEUE_AGAIN = """
    UPDATE deliveries SET state = CASE WHEN claim IS NULL THEN 'queued' ELSE 'failed' END, run_id = NULL, run_day = NULL
    WHERE id = %s AND run_id = %s AND state IN ('queued', 'deferred', 'failed', 'sending')
"""
_REOPEN_ABANDONED = """
    UPDATE deliveries SET state = 'failed', reason = 'its sender has died: nobody knows whether it was sent'
    WHERE state = 'sending' AND run_id IS NULL AND claimed_at < clock_timestamp() - %s
"""
_REOPEN = """
    UPDATE deliveries SET state = 'queued', reason = NULL, attempts = 0, run_id = NULL, run_day = NULL,
        not_before = clock_timestamp()
    WHERE id = ANY(%s) AND state IN ('dead', 'ambiguous') RETURNING id
"""


class ClosedDelivery(NamedTuple):
    """What the ledger has made of a delivery."""

    id: UUID
    channel: str
    state: str
    reason: str | None
    is_ambiguous: bool


def close_with_items(connection: Connection, most: int) -> list[ClosedDelivery]:
    """Close deliveries whose items are closed, and queue those whose items are gone; returns what it changed."""
    changed = []
    rows = connection.execute(_CLOSED_ITEMS, (CALL_LIFE, most)).fetchall()
    for delivery, channel, run_id, is_claimed, status, error in rows:
        state, reason = _end_of(status, error, is_claimed=is_claimed)
        if state == "queued":
            done = connection.execute(_QUEUE_AGAIN, (delivery, run_id)).rowcount
        else:
            done = connection.execute(_CLOSE, (state, reason, int(is_claimed), delivery, run_id)).rowcount
        if done:
            changed.append(ClosedDelivery(delivery, channel, state, reason, is_claimed and state == "ambiguous"))
    reopen_abandoned(connection)
    return changed


def reopen_abandoned(connection: Connection) -> int:
    """Let deliveries of no run whose sender has died be sent again; returns how many.

    The claim stays: who claims one next finds it, and names the delivery ambiguous, as for one of a run.
    """
    return connection.execute(_REOPEN_ABANDONED, (CALL_LIFE,)).rowcount


def _end_of(status: str | None, error: str | None, *, is_claimed: bool) -> tuple[str, str | None]:
    """The state of a delivery with a closed item; None for an item that is gone."""
    if status is None or status == "completed":
        return "queued", None
    reason = "its item was cancelled" if status == "cancelled" else f"its item is dead: {error or 'without a reason'}"
    if is_claimed:
        return "ambiguous", f"{reason}; nobody knows whether the last call took effect"
    return ("suppressed" if status == "cancelled" else "dead"), reason


def reopen_deliveries(
    connection: Connection, notification: UUID, deliveries: Sequence[UUID], actor: Actor = LOCAL
) -> list[UUID]:
    """Let dead and ambiguous deliveries of a notification be sent again, with all their attempts; returns which."""
    with connection.transaction():
        opened = [row[0] for row in connection.execute(_REOPEN, (list(deliveries),))]
        change = AuditChange("notification.retry", "notification", str(notification), after={"deliveries": len(opened)})
        record_change(connection, actor, change)
    return opened
