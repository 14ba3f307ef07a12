"""Turns messages of other programs into notifications, once each, however often one is sent and by how many read."""

from collections.abc import Callable
from dataclasses import dataclass

from psycopg_pool import ConnectionPool

from scheduler.message import DEFAULT_LIMITS, MessageLimits, RejectedError, parse_object
from scheduler.message_inbox import UNKNOWN_ARRIVAL, Arrival
from scheduler.message_record import DEFAULT_RECORD, DUPLICATE, MessageRecord, MessageResult
from scheduler.message_runs import make_content_key
from scheduler.message_subject import find_subject
from scheduler.metrics import SchedulerMetrics
from scheduler.notification_request import NotificationRequest, parse_request
from streamworkers.database import Connection
from streamworkers.engine.redis.inbox import Messages
from streamworkers.errors import UnknownNameError
from streamworkers.faults import describe, find_fault
from streamworkers.logger import get_logger
from streamworkers.messages.history import NO_SUBJECT, MessageOutcome, MessageSubject, ReceivedMessage
from streamworkers.notifications.store.notifications import add_notifications
from streamworkers.schedules.store import database_clock
from streamworkers.users import require_user

log = get_logger()


@dataclass(frozen=True, slots=True)
class MessagesToNotifications:
    """Makes the notifications of messages. Raises only errors that pass, such as an unreachable service.

    `on_new` wakes who routes them.
    """

    pool: "ConnectionPool[Connection]"
    messages: Messages
    metrics: SchedulerMetrics
    on_new: Callable[[], None] = lambda: None
    limits: MessageLimits = DEFAULT_LIMITS
    record: MessageRecord = DEFAULT_RECORD

    def accept(
        self, raw: bytes | None, source: str, sent_at: float, arrival: Arrival = UNKNOWN_ARRIVAL
    ) -> MessageResult:
        """Make the notification of a message, or reject it; its row is written in the same transaction.

        `sent_at` is when it was sent, or received if that is not known, in Unix seconds.
        """
        message, subject = arrival.make_message(raw, source, sent_at, self.messages.full_name), NO_SUBJECT
        try:
            if raw is None:
                raise RejectedError("no_message", "the entry has no field `message`")
            fields = parse_object(raw, self.limits)
            subject = find_subject(fields)
            with self.pool.connection() as connection:
                asked = parse_request(
                    fields, make_content_key(message, subject.content_digest), database_clock(connection)
                )
                result = self._notify(connection, message, subject, asked)
        except RejectedError as error:
            result = self.record.reject(self.pool, message, subject, error.reason, str(error))
        except UnknownNameError as error:
            result = self.record.reject(self.pool, message, subject, "unknown_user", str(error))
        except Exception as error:  # a message must not stop its listener
            if find_fault(error) is not None:
                raise
            log.exception("message_failed", source=source, error=describe(error))
            result = self.record.reject(self.pool, message, subject, "internal_error", describe(error))
        self.metrics.messages.labels(source, result.kind, result.reason).inc()
        log.info("message_taken", source=source, outcome=result.kind, reason=result.reason, detail=result.detail)
        return result

    def _notify(
        self, connection: Connection, message: ReceivedMessage, subject: MessageSubject, asked: NotificationRequest
    ) -> MessageResult:
        with connection.transaction():
            if not self.record.begin(connection, message, subject):
                return DUPLICATE
            outcome = None if asked.has_id else self.record.find_repeated(connection, message, subject)
            outcome = outcome or add_requested(connection, asked)
            self.record.end(connection, message, subject, outcome)
        if outcome.state != "accepted":
            return MessageResult("repeated", outcome.reason, outcome.detail)
        self.on_new()
        return MessageResult("notified", outcome.reason, f"notification {outcome.notification_id}")


def add_requested(connection: Connection, asked: NotificationRequest) -> MessageOutcome:
    """Add the notification that a message asks for. Raises UnknownNameError if there is no such user."""
    wanted = asked.notification
    require_user(connection, wanted.user_id)
    if not add_notifications(connection, [wanted]):
        detail = f"what it asks for exists already: notification {wanted.id}"
        return MessageOutcome("repeated", "id", detail, notification_id=wanted.id)
    return MessageOutcome("accepted", "new", "", notification_id=wanted.id)
