"""Turns messages of other programs into notifications, once each, however often one is sent and by how many read."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from psycopg_pool import ConnectionPool

from scheduler.message import DEFAULT_LIMITS, MessageLimits, RejectedError
from scheduler.message_notices import Rejection
from scheduler.metrics import SchedulerMetrics
from scheduler.notification_request import NotificationRequest, parse_request
from scheduler.rejections import MessageResult, report_rejection
from streamworkers.database import Connection
from streamworkers.engine.redis.inbox import Messages
from streamworkers.errors import UnknownNameError
from streamworkers.faults import describe, find_fault
from streamworkers.notifications.store.notifications import add_notifications, is_key_known
from streamworkers.schedules.store import database_clock
from streamworkers.users import require_user

log = structlog.get_logger()


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

    def accept(self, raw: bytes | None, source: str, sent_at: float) -> MessageResult:
        """Make the notification of a message, or reject it.

        `sent_at` is when it was sent, or received if that is not known, in Unix seconds.
        """
        try:
            if raw is None:
                raise RejectedError("no_message", "the entry has no field `message`")
            result = self._notify(raw, sent_at)
        except RejectedError as error:
            result = self._reject(raw, source, error.reason, str(error))
        except UnknownNameError as error:
            result = self._reject(raw, source, "unknown_user", str(error))
        except Exception as error:  # a message must not stop its listener
            if find_fault(error) is not None:
                raise
            log.exception("message_failed", source=source, error=describe(error))
            result = self._reject(raw, source, "internal_error", describe(error))
        self.metrics.messages.labels(source, result.kind, result.reason).inc()
        log.info("message_taken", source=source, outcome=result.kind, reason=result.reason, detail=result.detail)
        return result

    def _notify(self, raw: bytes, sent_at: float) -> MessageResult:
        with self.pool.connection() as connection, connection.transaction():
            request = parse_request(raw, sent_at, database_clock(connection), self.limits)
            require_user(connection, request.notification.user_id)
            if not _add(connection, request):
                return MessageResult("duplicate", "known", "its notification exists already")
        self.on_new()
        return MessageResult("notified", "new", f"notification {request.notification.id}")

    def _reject(self, raw: bytes | None, source: str, reason: str, detail: str) -> MessageResult:
        return report_rejection(self.pool, self.messages, Rejection(raw or b"", source, reason, detail))


def _add(connection: Connection, request: NotificationRequest) -> bool:
    """Add the notification of a request; False if it was asked for before."""
    wanted = request.notification
    if len(request.keys) > 1:
        # Without an id, two replicas may have received it on both sides of a boundary between ten minutes.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (request.digest,))
        if is_key_known(connection, wanted.user_id, request.keys):
            return False
    return bool(add_notifications(connection, [wanted]))
