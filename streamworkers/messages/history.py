"""Writes `received_messages`, in the transaction of what a message does.

A message is one row, however many replicas hear it and however often an entry of a stream is read. Of those that start
nothing only so many in an hour have a row of their own; the others are counted.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from psycopg.types.json import Jsonb

from streamworkers.database import Connection, fetch_row, fetch_value
from streamworkers.engine.redis.cut_message import size_of
from streamworkers.faults import printable

State = Literal["accepted", "repeated", "ignored", "rejected"]
STATES: tuple[State, ...] = ("accepted", "repeated", "ignored", "rejected")
MOST_DETAIL = 1_000
# Replicas hear a message within this time of each other. Their times are those of one clock, that of Redis.
_SAME_SECONDS = 60.0
# One that begins to listen may receive a message before it has read the clock.
_START_SECONDS = 2.0
_FIRST, _LAST = datetime(1970, 1, 2, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)

_FIND_ENTRY = "SELECT id FROM received_messages WHERE channel = %s AND entry_id = %s"
_MARK_COPY = """
    UPDATE received_messages SET received_by = received_by || %(own)s
    WHERE id = (SELECT id FROM received_messages
                WHERE raw_digest = %(raw)s AND channel = %(channel)s AND entry_id IS NULL AND counted_from IS NULL
                    AND sent_at BETWEEN %(at)s - %(same)s AND %(at)s + %(same)s AND sent_at >= %(since)s
                    AND NOT received_by ? %(replica)s
                ORDER BY sent_at, id LIMIT 1)
    RETURNING id
"""
_FIND_ACCEPTED = """
    SELECT id, sent_at, runs, notification_id FROM received_messages
    WHERE content_digest = %s AND state = 'accepted' AND sent_at > %s AND sent_at < %s
    ORDER BY abs(extract(epoch FROM sent_at - %s)) LIMIT 1
"""
_IS_FULL = """
    SELECT count(*) >= %(most)s FROM (
        SELECT FROM received_messages WHERE channel = %(channel)s AND state = %(state)s AND state <> 'accepted'
            AND counted_from IS NULL AND received_at >= date_trunc('hour', clock_timestamp(), 'UTC')
        LIMIT %(most)s) found
"""
_INSERT = """
    INSERT INTO received_messages (channel, source, kind, external_id, sender, state, reason, detail, sent_at,
        received_by, entry_id, raw_digest, content_digest, content, content_bytes, runs, notification_id)
    VALUES (%(channel)s, %(source)s, %(kind)s, %(external_id)s, %(sender)s, %(state)s, %(reason)s, %(detail)s, %(at)s,
        %(own)s, %(entry)s, %(raw)s, %(content_digest)s, %(content)s, %(bytes)s, %(runs)s, %(notification)s)
    RETURNING id
"""
# Of the replicas that hear a channel each counts for itself, and the largest number is that of the messages.
_COUNT = """
    INSERT INTO received_messages AS m (channel, source, state, reason, detail, sent_at, received_by, counted_from)
    VALUES (%(channel)s, %(source)s, %(state)s, %(reason)s, %(detail)s, %(at)s, %(own)s,
        date_trunc('hour', clock_timestamp(), 'UTC'))
    ON CONFLICT (channel, state, reason, counted_from) WHERE counted_from IS NOT NULL DO UPDATE SET
        received_by = m.received_by
            || jsonb_build_object(%(counter)s::text, coalesce((m.received_by ->> %(counter)s)::bigint, 0) + 1),
        times = greatest(m.times, coalesce((m.received_by ->> %(counter)s)::bigint, 0) + 1),
        last_at = clock_timestamp()
    RETURNING id, last_at IS NULL AS is_first
"""


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """The most bytes of a message that are kept, and rows in an hour of one channel and state that start nothing."""

    bytes: int = 32_768
    rows: int = 1_000


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message as it came: on which channel or stream, when by Redis' clock, and to which replica.

    `entry_id` is that of a stream. `since` is the time from when on the replica hears the channel, in Unix seconds.
    """

    raw: bytes
    channel: str
    source: str
    sent_at: float
    replica: str = ""
    entry_id: str | None = None
    since: float = 0.0

    @property
    def moment(self) -> datetime:
        """When it was sent. The id of an entry may be any number, so what is no moment becomes the nearest one."""
        return clamp_moment(self.sent_at)

    @property
    def raw_digest(self) -> bytes:
        """The SHA-256 of its bytes."""
        return hashlib.sha256(self.raw).digest()


@dataclass(frozen=True, slots=True)
class MessageSubject:
    """What a message says of itself: its type, its id, who sends it, and the digest of its content without times.

    `external_id` is the first of its ids, `job_id` the one that a status is kept under.
    """

    kind: str | None = None
    external_id: str | None = None
    job_id: str | None = None
    sender: str | None = None
    content_digest: bytes | None = None


NO_SUBJECT = MessageSubject()


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """What came of a message: a state, a reason for programs, a detail for people, and what it asked for.

    What a repeated message asks for was there already.
    """

    state: State
    reason: str
    detail: str = ""
    runs: tuple[int, ...] = ()
    notification_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class AcceptedMessage:
    """A message that another one repeats, sent so many seconds before it; negative if it was sent after it."""

    id: int
    seconds: float
    runs: tuple[int, ...]
    notification_id: UUID | None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """The row that a message is in; `is_reported` unless it is one of many that are only counted."""

    id: int
    is_counted: bool
    is_reported: bool


def clamp_moment(seconds: float) -> datetime:
    """Return the moment of so many Unix seconds; what no program could hold becomes the nearest one that it can."""
    return datetime.fromtimestamp(min(max(seconds, _FIRST.timestamp()), _LAST.timestamp()), UTC)


def lock_content(connection: Connection, digest: bytes) -> None:
    """Let nobody else decide about messages of this content until the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (int.from_bytes(digest[:8], "big", signed=True),))


def is_recorded(connection: Connection, message: ReceivedMessage) -> bool:
    """True if the message has a row: another replica received it too, or its entry was read before.

    The caller has locked its content. What a replica has received already is another message that says the same.
    """
    if message.entry_id is not None:
        return fetch_value(connection, _FIND_ENTRY, (message.channel, message.entry_id)) is not None
    found = fetch_row(
        connection,
        _MARK_COPY,
        {
            "own": Jsonb({message.replica: 1}),
            "replica": message.replica,
            "raw": message.raw_digest,
            "channel": message.channel,
            "at": message.moment,
            "since": clamp_moment(min(message.since, message.sent_at - _START_SECONDS)),
            "same": timedelta(seconds=_SAME_SECONDS),
        },
    )
    return found is not None


def find_accepted(
    connection: Connection, content_digest: bytes, sent_at: float, window_seconds: float
) -> AcceptedMessage | None:
    """Return the nearest accepted message of this content that was sent less than the window before or after."""
    moment, window = clamp_moment(sent_at), timedelta(seconds=window_seconds)
    row = connection.execute(_FIND_ACCEPTED, (content_digest, moment - window, moment + window, moment)).fetchone()
    return None if row is None else AcceptedMessage(row[0], (moment - row[1]).total_seconds(), tuple(row[2]), row[3])


def record_message(
    connection: Connection,
    message: ReceivedMessage,
    subject: MessageSubject,
    outcome: MessageOutcome,
    limits: HistoryLimits,
) -> HistoryEntry:
    """Add the row of a message, or count it, in the caller's transaction.

    The first of those that are counted is reported too, with the reason why the others are not.
    """
    values = _describe_arrival(message, outcome)
    full = {"channel": message.channel, "state": outcome.state, "most": limits.rows}
    if outcome.state != "accepted" and fetch_value(connection, _IS_FULL, full):
        values["detail"] = f"more than {limits.rows:,} such messages within the hour: the others are counted here"
        row = fetch_row(connection, _COUNT, values)
        assert row is not None
        return HistoryEntry(row["id"], is_counted=True, is_reported=row["is_first"])
    values |= {
        "kind": subject.kind,
        "external_id": subject.external_id,
        "sender": subject.sender,
        "entry": message.entry_id,
        "raw": message.raw_digest,
        "content_digest": subject.content_digest,
        "content": message.raw[: limits.bytes],
        "bytes": size_of(message.raw),
        "runs": list(outcome.runs),
        "notification": outcome.notification_id,
    }
    return HistoryEntry(fetch_value(connection, _INSERT, values), is_counted=False, is_reported=True)


def _describe_arrival(message: ReceivedMessage, outcome: MessageOutcome) -> dict[str, Any]:
    # Each entry of a stream is read by one replica: they count together.
    counter = message.replica if message.entry_id is None else ""
    return {
        "channel": message.channel,
        "source": message.source,
        "state": outcome.state,
        "reason": outcome.reason,
        "detail": printable(outcome.detail)[:MOST_DETAIL],
        "at": message.moment,
        "own": Jsonb({counter: 1}),
        "counter": counter,
    }
