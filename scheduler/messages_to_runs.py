"""Turns messages of other programs into runs, once each, however often a message is sent and by how many read."""

from dataclasses import dataclass, field

from psycopg_pool import ConnectionPool

from scheduler.message import (
    DEFAULT_LIMITS,
    LoadComplete,
    LoadRequest,
    MessageLimits,
    RejectedError,
    parse_fields,
    parse_object,
)
from scheduler.message_inbox import UNKNOWN_ARRIVAL, Arrival
from scheduler.message_record import DEFAULT_RECORD, DUPLICATE, MessageRecord, MessageResult
from scheduler.message_runs import MadeRuns, MessageRuns, announce_loaded, make_content_key
from scheduler.message_subject import find_subject
from scheduler.metrics import SchedulerMetrics
from scheduler.status import Submission, set_submitted
from streamworkers.database import Connection
from streamworkers.engine.enqueue import enqueue_committed
from streamworkers.engine.ledger import Run
from streamworkers.engine.preparation import LostPrepares
from streamworkers.engine.redis.inbox import Messages
from streamworkers.engine.redis.streams import Streams
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.faults import describe, find_fault
from streamworkers.logger import get_logger
from streamworkers.messages.history import NO_SUBJECT, MessageSubject, ReceivedMessage

log = get_logger()


@dataclass(frozen=True, slots=True)
class MessagesToRuns:
    """Starts the runs of messages. Raises only errors that pass, such as an unreachable service: try again then."""

    pool: "ConnectionPool[Connection]"
    streams: Streams
    messages: Messages
    runs: MessageRuns
    metrics: SchedulerMetrics
    status_ttl_seconds: int
    limits: MessageLimits = DEFAULT_LIMITS
    record: MessageRecord = DEFAULT_RECORD
    _lost: LostPrepares = field(default_factory=LostPrepares, init=False)

    def accept(
        self, raw: bytes | None, source: str, sent_at: float, arrival: Arrival = UNKNOWN_ARRIVAL
    ) -> MessageResult:
        """Start the runs of a message, or ignore or reject it; its row is written in the same transaction.

        `sent_at` is when it was sent, or received if that is not known, in Unix seconds.
        """
        message = arrival.make_message(raw, source, sent_at, self.messages.full_name)
        key, subject = message.raw_digest, NO_SUBJECT
        try:
            if raw is None:
                raise RejectedError("no_message", "the entry has no field `message`")
            self._lost.require_few(key)
            fields = parse_object(raw, self.limits)
            subject = find_subject(fields)
            result = self._start(message, subject, parse_fields(fields, self.limits))
        except (BadInputError, UnknownNameError) as error:
            reason = error.reason if isinstance(error, RejectedError) else "bad_field"
            result = self._reject(message, subject, reason, str(error))
        except Exception as error:  # a message must not stop its listener
            self._lost.count(key, error)
            if find_fault(error) is not None:
                raise
            log.exception("message_failed", source=source, error=describe(error))
            result = self._reject(message, subject, "internal_error", describe(error))
        self.metrics.messages.labels(source, result.kind, result.reason).inc()
        log.info(
            "message_taken",
            source=source,
            outcome=result.kind,
            reason=result.reason,
            detail=result.detail,
            runs=result.runs,
        )
        return result

    def _start(
        self, message: ReceivedMessage, subject: MessageSubject, asked: LoadComplete | LoadRequest
    ) -> MessageResult:
        with self.pool.connection() as connection:
            announce_loaded(connection, asked)
            with connection.transaction():
                if not self.record.begin(connection, message, subject):
                    return DUPLICATE
                made = self._make(connection, message, subject, asked)
                self.record.end(connection, message, subject, made.outcome)
            for run in made.runs:
                self._enqueue(connection, run, asked.status_id)
        outcome = made.outcome
        kind = "started" if outcome.state == "accepted" else outcome.state
        return MessageResult(kind, outcome.reason, outcome.detail, outcome.runs)

    def _make(
        self,
        connection: Connection,
        message: ReceivedMessage,
        subject: MessageSubject,
        asked: LoadComplete | LoadRequest,
    ) -> MadeRuns:
        if isinstance(asked, LoadComplete) and asked.run_analysis and asked.status_id is None:
            repeated = self.record.find_repeated(connection, message, subject)
            if repeated is not None:
                return MadeRuns(repeated)
        return self.runs.make(connection, asked, make_content_key(message, subject.content_digest))

    def _enqueue(self, connection: Connection, run: Run, job_id: str | None) -> None:
        if job_id is not None:
            set_submitted(self.messages, connection, Submission(job_id, run), self.status_ttl_seconds)
        enqueue_committed(connection, self.streams, run)

    def _reject(self, message: ReceivedMessage, subject: MessageSubject, reason: str, detail: str) -> MessageResult:
        """Record and report why a message was rejected, and set the status of its job."""
        result = self.record.reject(self.pool, message, subject, reason, detail)
        if result is not DUPLICATE and subject.job_id is not None:
            fields = {"status": "failed", "message": detail[:500]}
            self.messages.set_status(subject.job_id, fields, self.status_ttl_seconds, only_new=True)
        return result
