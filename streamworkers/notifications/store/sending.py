"""Statements of `deliveries` around a call: what is to be sent, the claim, and the record of an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from streamworkers.database import Connection, fetch_rows
from streamworkers.engine.outside import Claim
from streamworkers.notifications.channels.channel import Address
from streamworkers.notifications.content import Part
from streamworkers.notifications.delivery.decide_reply import ReplyDecision
from streamworkers.notifications.notification_types import ANSWER_TYPE, CODE_TYPE
from streamworkers.notifications.store.accounts import DISABLED
from streamworkers.notifications.store.endpoints import move_endpoint

_READ = """
    SELECT d.id, d.user_id, d.endpoint_id, d.channel, d.type, d.priority, d.state, d.reason, d.not_before, d.run_id,
        d.attempts, d.is_digest, d.parts_sent, d.content, d.parts, d.picture, d.created_at, e.address, e.settings,
        extract(epoch FROM clock_timestamp() - d.due_at)::float8 AS late_seconds,
        extract(epoch FROM clock_timestamp() - d.created_at)::float8 AS age_seconds,
        extract(epoch FROM d.not_before - clock_timestamp())::float8 AS wait_seconds
    FROM deliveries d LEFT JOIN endpoints e ON e.id = d.endpoint_id
    WHERE d.id = ANY(%s)
    ORDER BY array_position(ARRAY['urgent', 'high', 'normal', 'low'], d.priority), d.created_at, d.id
"""
_LOCK = """
    SELECT d.claim IS NOT NULL AS is_taken, d.type, e.address, e.settings, e.off_at, e.verified_at,
        d.expires_at <= clock_timestamp() AS is_expired,
        EXISTS (SELECT FROM users u WHERE u.id = d.user_id AND u.disabled_at IS NOT NULL) AS is_disabled
    FROM deliveries d LEFT JOIN endpoints e ON e.id = d.endpoint_id
    WHERE d.id = %s AND d.state NOT IN ('sent', 'suppressed') AND d.run_id IS NOT DISTINCT FROM %s
    FOR UPDATE OF d
"""
_CLAIM = """
    UPDATE deliveries SET attempts = CASE WHEN state IN ('dead', 'ambiguous') THEN 0 ELSE attempts END,
        state = 'sending', claim = %s, claimed_at = clock_timestamp(), ambiguities = ambiguities + %s, reason = NULL
    WHERE id = %s RETURNING attempts
"""
_AWAIT_ANSWER = """
    UPDATE deliveries SET not_before = clock_timestamp() + %s, reason = 'its provider has not answered yet'
    WHERE id = %s AND claim = %s
"""
_SUPPRESS = """
    UPDATE deliveries SET state = 'suppressed', reason = %s, claim = NULL, ambiguities = ambiguities + %s WHERE id = %s
"""
_RECORD = """
    UPDATE deliveries SET state = %(state)s, reason = %(reason)s, claim = NULL, claimed_at = NULL,
        attempts = attempts + %(attempts)s, ambiguities = ambiguities + %(ambiguities)s,
        parts_sent = parts_sent + %(parts)s, provider_id = coalesce(provider_id, %(provider_id)s),
        not_before = clock_timestamp() + make_interval(secs => %(seconds)s),
        sent_at = CASE WHEN %(state)s = 'sent' THEN clock_timestamp() ELSE sent_at END
    WHERE id = %(id)s AND claim = %(claim)s
"""
_KEEP_PARTS = """
    UPDATE deliveries SET content = %s, parts = %s, picture = %s WHERE id = %s AND parts IS NULL
"""
_GIVE_BACK = """
    UPDATE deliveries SET state = CASE WHEN state = 'queued' THEN 'deferred' ELSE state END, run_id = NULL,
        run_day = NULL, reason = coalesce(%s, reason),
        not_before = greatest(not_before, clock_timestamp() + make_interval(secs => %s))
    WHERE id = %s AND run_id = %s AND state IN ('queued', 'deferred', 'failed') RETURNING not_before
"""
_END = """
    UPDATE deliveries SET state = %s, reason = %s
    WHERE id = %s AND run_id IS NOT DISTINCT FROM %s AND claim IS NULL AND state IN ('queued', 'deferred', 'failed')
"""
_HOLD = """
    UPDATE deliveries d SET state = CASE d.state WHEN 'queued' THEN 'deferred' ELSE d.state END, reason = %s,
        not_before = h.until
    FROM unnest(%s::uuid[], %s::timestamptz[]) AS h (id, until)
    WHERE d.id = h.id AND d.run_id IS NOT DISTINCT FROM %s AND d.claim IS NULL
        AND d.state IN ('queued', 'deferred', 'failed')
    RETURNING d.id
"""
_TURN_OFF = """
    UPDATE endpoints e SET off_at = clock_timestamp(), off_reason = %s, off_by_provider = true
    FROM deliveries d
    WHERE d.id = %s AND e.id = d.endpoint_id AND e.off_at IS NULL RETURNING e.id, e.user_id, e.name, e.channel
"""
_SUPPRESS_WAITING = """
    UPDATE deliveries SET state = 'suppressed', reason = %s
    WHERE endpoint_id = %s AND state IN ('queued', 'deferred', 'failed') AND claim IS NULL
"""
_REDIRECT = """
    UPDATE deliveries d SET endpoint_id = o.id FROM endpoints o, endpoints e
    WHERE d.id = %s AND e.id = %s AND (o.user_id, o.channel) = (e.user_id, e.channel) AND o.address = %s
"""


_NOTIFICATIONS = """
    SELECT n.type, n.data, n.created_at FROM notifications n
    JOIN delivery_notifications o ON o.notification_id = n.id WHERE o.delivery_id = %s ORDER BY n.created_at, n.id
"""


class NotificationRow(NamedTuple):
    """What a delivery is about."""

    type: str
    data: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery as a sender reads it. `address` is None without an endpoint; times are left over, in seconds."""

    id: UUID
    user_id: str
    endpoint_id: int | None
    channel: str
    type: str
    priority: str
    state: str
    reason: str | None
    not_before: datetime
    run_id: int | None
    attempts: int
    is_digest: bool
    parts_sent: int
    content: dict[str, Any] | None
    parts: list[Part] | None
    picture: bytes | None
    created_at: datetime
    address: str | None
    settings: Mapping[str, Any] | None
    late_seconds: float
    age_seconds: float
    wait_seconds: float

    @property
    def target(self) -> Address:
        """Where it goes, as its channel sees it."""
        return Address(self.address or "", self.settings or {})


class MadeParts(NamedTuple):
    """What is sent of a delivery, made of its content."""

    delivery: UUID
    content: dict[str, Any]
    parts: Sequence[Part]
    picture: bytes | None


class FoundDelivery(NamedTuple):
    """How a claim found a delivery, and where it goes now; with a reason, it is not sent."""

    claim: Claim
    is_taken: bool = False
    attempts: int = 0
    address: Address | None = None
    obstacle: str | None = None


class EndedEndpoint(NamedTuple):
    """An endpoint that was switched off just now."""

    id: int
    user_id: str
    name: str
    channel: str


def read_delivery_rows(connection: Connection, ids: Sequence[UUID]) -> list[DeliveryRow]:
    """Return those of these deliveries that exist, by priority, then age."""
    return [DeliveryRow(**row) for row in fetch_rows(connection, _READ, (list(ids),))]


def claim_delivery(connection: Connection, delivery: UUID, run_id: int | None, token: UUID) -> FoundDelivery:
    """Claim a delivery of this run (None: of no run) unless it is closed. One that may not go out is suppressed."""
    rows = fetch_rows(connection, _LOCK, (delivery, run_id))
    if not rows:
        return FoundDelivery(Claim.CLOSED)
    (row,) = rows
    is_taken = bool(row["is_taken"])
    if (obstacle := _find_obstacle(row)) is not None:
        connection.execute(_SUPPRESS, (obstacle, int(is_taken), delivery))
        return FoundDelivery(Claim.CLOSED, is_taken, obstacle=obstacle)
    found = connection.execute(_CLAIM, (token, int(is_taken), delivery)).fetchone()
    assert found is not None  # its row is locked
    address = Address(row["address"], row["settings"])
    return FoundDelivery(Claim.TAKEN if is_taken else Claim.FREE, is_taken, found[0], address)


def await_answer(connection: Connection, delivery: UUID, token: UUID, longest: timedelta) -> None:
    """Keep all others from claiming a delivery whose call is under way, until its answer is recorded."""
    connection.execute(_AWAIT_ANSWER, (longest, delivery, token))


def _find_obstacle(row: Mapping[str, Any]) -> str | None:
    if row["is_expired"]:
        return "expired"
    if row["is_disabled"]:
        return DISABLED
    if row["address"] is None:
        return "its endpoint was removed"
    if row["off_at"] is not None and row["type"] != ANSWER_TYPE:
        return "its endpoint is off"
    if row["verified_at"] is None and row["type"] != CODE_TYPE:
        return "its endpoint is not verified"
    return None


def record_reply(
    connection: Connection,
    delivery: UUID,
    token: UUID,
    decision: ReplyDecision,
    provider_id: str | None,
    ambiguities: int,
) -> bool:
    """Record what an answer makes of a delivery; False if it is claimed by another meanwhile."""
    values = {
        "id": delivery,
        "claim": token,
        "state": decision.state,
        "reason": decision.reason,
        "attempts": int(decision.uses_attempt),
        "ambiguities": ambiguities,
        "parts": int(decision.is_part_sent),
        "provider_id": provider_id,
        "seconds": decision.seconds,
    }
    return connection.execute(_RECORD, values).rowcount == 1


def read_notifications_of(connection: Connection, delivery: UUID) -> list[NotificationRow]:
    """Return the notifications of a delivery, the oldest first."""
    return [NotificationRow(*row) for row in connection.execute(_NOTIFICATIONS, (delivery,))]


def lock_digest(connection: Connection, delivery: UUID) -> None:
    """Keep notifications from joining a digest, to the end of the transaction."""
    connection.execute("SELECT 1 FROM deliveries WHERE id = %s FOR UPDATE", (delivery,))


def keep_parts(connection: Connection, made: Sequence[MadeParts]) -> None:
    """Keep what is sent, unless another has made it already."""
    rows = [(Jsonb(each.content), Jsonb(list(each.parts)), each.picture, each.delivery) for each in made]
    connection.cursor().executemany(_KEEP_PARTS, rows)


def give_back(
    connection: Connection, delivery: UUID, run_id: int, seconds: float, reason: str | None = None
) -> datetime | None:
    """Take a waiting delivery out of its run, not due for so long; returns when it is due, None if it does not wait."""
    row = connection.execute(_GIVE_BACK, (reason, seconds, delivery, run_id)).fetchone()
    return None if row is None else row[0]


def end_unsent(connection: Connection, delivery: UUID, run_id: int | None, state: str, reason: str) -> None:
    """End a delivery for which no call can be made."""
    connection.execute(_END, (state, reason, delivery, run_id))


def hold_until(connection: Connection, ends: Mapping[UUID, datetime], run_id: int | None, reason: str) -> set[UUID]:
    """Let unclaimed deliveries that wait be due at these moments; returns those that were."""
    if not ends:
        return set()
    return {found for (found,) in connection.execute(_HOLD, (reason, list(ends), list(ends.values()), run_id))}


def turn_off_endpoint(connection: Connection, delivery: UUID, reason: str) -> EndedEndpoint | None:
    """Switch off the endpoint of a delivery, and suppress what waits for it; None if it was off already."""
    row = connection.execute(_TURN_OFF, (reason, delivery)).fetchone()
    if row is None:
        return None
    ended = EndedEndpoint(*row)
    connection.execute(_SUPPRESS_WAITING, ("its endpoint is off", ended.id))
    return ended


def follow_endpoint(connection: Connection, delivery: UUID, endpoint: int, address: str) -> None:
    """Keep the new address of an endpoint; if the user has another one there, the delivery goes to that one."""
    if not move_endpoint(connection, endpoint, address):
        connection.execute(_REDIRECT, (delivery, endpoint, address))
