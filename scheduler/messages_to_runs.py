"""Turns messages of other programs into runs, once each, however often a message is sent and by how many read."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import structlog
from psycopg_pool import ConnectionPool

from scheduler.message import (
    DEFAULT_LIMITS,
    SLOT_SECONDS,
    LoadComplete,
    LoadRequest,
    MessageLimits,
    RejectedError,
    find_job_id,
    parse_message,
)
from scheduler.message_notices import Rejection
from scheduler.metrics import SchedulerMetrics
from scheduler.rejections import MessageResult, report_rejection
from scheduler.status import Submission, set_submitted
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import enqueue_committed, record_run
from streamworkers.engine.job import Origin, RunRequest
from streamworkers.engine.ledger import Run
from streamworkers.engine.preparation import LostPrepares
from streamworkers.engine.redis.inbox import Messages
from streamworkers.engine.redis.keys import DATA_LOAD_COMPLETE
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.faults import describe, find_fault
from streamworkers.loading import LOAD_JOB
from streamworkers.market.bars.write import announce_bars
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.schedules import store
from streamworkers.schedules.run_factory import Changes, Resolve, record_scheduled_run
from streamworkers.schedules.store import Schedule

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MessagesToRuns:
    """Starts the runs of messages. Raises only errors that pass, such as an unreachable service: try again then."""

    pool: "ConnectionPool[Connection]"
    streams: Streams
    messages: Messages
    registry: Registry
    resolve: Resolve
    metrics: SchedulerMetrics
    status_ttl_seconds: int
    providers: frozenset[str] = frozenset()
    limits: MessageLimits = DEFAULT_LIMITS
    _lost: LostPrepares = field(default_factory=LostPrepares, init=False)

    def accept(self, raw: bytes | None, source: str, sent_at: float) -> MessageResult:
        """Start the runs of a message, or ignore or reject it.

        `sent_at` is when it was sent, or received if that is not known, in Unix seconds.
        """
        key = hashlib.sha256(raw or b"").digest()
        try:
            if raw is None:
                raise RejectedError("no_message", "the entry has no field `message`")
            self._lost.require_few(key)
            match parse_message(raw, self.limits):
                case LoadComplete() as message:
                    result = self._start_analyses(message, sent_at)
                case LoadRequest() as request:
                    result = self._start_load(request)
        except (BadInputError, UnknownNameError) as error:
            reason = error.reason if isinstance(error, RejectedError) else "bad_field"
            result = self._reject(raw or b"", source, reason, str(error))
        except Exception as error:  # a message must not stop its listener
            self._lost.count(key, error)
            if find_fault(error) is not None:
                raise
            log.exception("message_failed", source=source, error=describe(error))
            result = self._reject(raw or b"", source, "internal_error", describe(error))
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

    def _start_analyses(self, message: LoadComplete, sent_at: float) -> MessageResult:
        if not message.is_own:
            # Our own loads record their changes with the bars; of another program's we know that there are some.
            with self.pool.connection() as connection:
                for name in message.timeframes:
                    announce_bars(connection, TIMEFRAMES[name], message.symbols)
        if not message.run_analysis:
            return MessageResult("ignored", "run_analysis", "run_analysis is false")
        with self.pool.connection() as connection:
            schedules = store.schedules_for_event(connection, DATA_LOAD_COMPLETE)
            if not schedules:
                raise RejectedError(
                    "no_schedule",
                    f"no schedule is started by {DATA_LOAD_COMPLETE}: `streamworkers schedules install-defaults`",
                )
            sound = [schedule for schedule in schedules if schedule.definition is not None]
            if not sound:
                schedules[0].require_definition()
            enabled = [schedule for schedule in sound if schedule.require_definition().enabled]
            if not enabled:
                return MessageResult("ignored", "paused", f"schedule {sound[0].name} is paused")
            started: list[Run] = []
            with connection.transaction():
                # All runs of a message or none: it may be accepted again as a whole.
                for schedule in enabled:
                    for timeframe in message.timeframes:
                        run = self._record(connection, schedule, message, timeframe, sent_at)
                        if run is not None:
                            started.append(run)
            for run in started:
                self._enqueue(connection, run, message.job_id or message.event_id)
        if not started:
            return MessageResult("duplicate", "known", "its runs exist already")
        return MessageResult("started", "new", "", tuple(run.id for run in started))

    def _start_load(self, request: LoadRequest) -> MessageResult:
        """Start the run of a load request."""
        if LOAD_JOB not in self.registry:
            raise RejectedError("unknown_job", f"job {LOAD_JOB!r}, which loads bars, is not installed")
        if request.provider is not None:
            require_provider(request.provider, self.providers)
        parameters: dict[str, Any] = {"run_analysis": request.run_analysis, "open_when_alone": True}
        parameters |= {name: value for name in ("years", "provider") if (value := getattr(request, name)) is not None}
        with self.pool.connection() as connection:
            # Symbols decide what is loaded; beside them a universe is a name only, and need not exist here.
            symbols = request.symbols or tuple(self.resolve(connection, request.universe or ""))
            wanted = RunRequest(
                job=LOAD_JOB,
                symbols=symbols,
                target=request.universe or ",".join(symbols),
                parameters=parameters,
                idempotency_key=request.key,
                origin=Origin("event", external_id=request.job_id, requested_by=request.requested_by),
                timeframes=request.timeframes,
            )
            with connection.transaction():
                run, is_new = record_run(connection, self.registry, wanted)
            if not is_new:
                return MessageResult("duplicate", "known", "its run exists already")
            self._enqueue(connection, run, request.job_id)
        return MessageResult("started", "new", "", (run.id,))

    def _record(
        self, connection: Connection, schedule: Schedule, message: LoadComplete, timeframe: str, sent_at: float
    ) -> Run | None:
        """Record the run of a message in a timeframe; None if it exists already."""
        key = message.key(timeframe)
        if key is not None:
            key = f"{schedule.name}:{key}"
        else:
            key, *neighbours = _list_content_keys(schedule.name, message, timeframe, sent_at)
            connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (message.digest,))
            if ledger.is_key_taken(connection, neighbours):
                return None
        run, is_new = record_scheduled_run(
            connection,
            self.registry,
            self.resolve,
            schedule,
            Origin("event", schedule.id, schedule.name, None, message.job_id or message.event_id, message.requested_by),
            Changes(symbols=message.symbols, timeframe=timeframe, idempotency_key=key),
        )
        return run if is_new else None

    def _enqueue(self, connection: Connection, run: Run, job_id: str | None) -> None:
        if job_id is not None:
            set_submitted(self.messages, connection, Submission(job_id, run), self.status_ttl_seconds)
        enqueue_committed(connection, self.streams, run)

    def _reject(self, raw: bytes, source: str, reason: str, detail: str) -> MessageResult:
        """Report why a message was rejected, and set the status of its job."""
        result = report_rejection(self.pool, self.messages, Rejection(raw, source, reason, detail))
        if result.kind == "duplicate":
            return result
        job_id = find_job_id(raw, self.limits)
        if job_id is not None:
            fields = {"status": "failed", "message": detail[:500]}
            self.messages.set_status(job_id, fields, self.status_ttl_seconds, only_new=True)
        return result


def require_provider(name: str, allowed: Collection[str]) -> None:
    """Raise RejectedError unless a message may choose this provider."""
    if name not in allowed:
        rule = f"only {', '.join(sorted(allowed))} may be" if allowed else "none may be"
        raise RejectedError(
            "bad_field", f"provider {name!r} is chosen by a message, and {rule}: STREAMWORKERS_MESSAGE_PROVIDERS"
        )


def _list_content_keys(schedule: str, message: LoadComplete, timeframe: str, sent_at: float) -> list[str]:
    """The key of a message without an id, and the keys of the neighbouring time slots.

    The same content within `SLOT_SECONDS` falls into the same slot or into a neighbouring one.
    """
    slot = int(sent_at // SLOT_SECONDS)
    stem = f"{schedule}:{DATA_LOAD_COMPLETE}:content:{message.digest}:{timeframe}"
    return [f"{stem}:{number}" for number in (slot, slot - 1, slot + 1)]
