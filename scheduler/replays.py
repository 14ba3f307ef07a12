"""Replays a message that was not accepted: does what it asks for, now that the cause is mended, and at most once."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from scheduler.message import MessageLimits, RejectedError, parse_fields, parse_object
from scheduler.message_inbox import NOTIFICATIONS
from scheduler.message_runs import MessageRuns, announce_loaded, find_message_providers, make_content_key
from scheduler.message_subject import find_subject
from scheduler.messages_to_notifications import add_requested
from scheduler.notification_request import parse_request
from streamworkers.actor import LOCAL
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.enqueue import enqueue_committed
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError
from streamworkers.market.universes.store import resolve
from streamworkers.messages.history import MessageOutcome, ReceivedMessage
from streamworkers.messages.replays import lock_message, mark_replayed
from streamworkers.schedules.store import database_clock


@dataclass(frozen=True, slots=True)
class Replayed:
    """What has come of a message: `is_new` if it was replayed now, and not before."""

    runs: tuple[int, ...]
    notification_id: UUID | None
    is_new: bool


def replay_message(
    connection: Connection, streams: Streams, registry: Registry, settings: Settings, number: int
) -> Replayed:
    """Do what a message of the history asks for. The second time it changes nothing, and returns the same.

    Its runs have the idempotency keys of the message: by its id, or else by its content and when it was sent. Raises
    BadInputError for a message that cannot be replayed, or that would not be accepted now either.
    """
    with connection.transaction():
        row = lock_message(connection, number)
        if row["replayed_at"] is not None:
            return Replayed(tuple(row["runs"]), row["notification_id"], is_new=False)
        try:
            outcome, runs = _do(connection, registry, settings, row)
        except RejectedError as error:
            raise BadInputError(f"message {number} would be rejected again ({error.reason}): {error}") from None
        if outcome.state == "ignored":
            raise BadInputError(f"message {number} would be ignored again: {outcome.detail}")
        mark_replayed(connection, LOCAL, row, outcome)
    for run in runs:
        enqueue_committed(connection, streams, run)
    return Replayed(outcome.runs, outcome.notification_id, is_new=True)


def _do(
    connection: Connection, registry: Registry, settings: Settings, row: dict[str, Any]
) -> tuple[MessageOutcome, tuple[Run, ...]]:
    sent_at: datetime = row["sent_at"]
    message = ReceivedMessage(bytes(row["content"]), row["channel"], row["source"], sent_at.timestamp())
    limits = MessageLimits.of(settings)
    fields = parse_object(message.raw, limits)
    key = make_content_key(message, find_subject(fields).content_digest)
    if row["source"] in NOTIFICATIONS.sources:
        return add_requested(connection, parse_request(fields, key, database_clock(connection))), ()
    asked = parse_fields(fields, limits)
    announce_loaded(connection, asked)
    made = MessageRuns(registry, resolve, find_message_providers(settings)).make(connection, asked, key)
    return made.outcome, made.runs
