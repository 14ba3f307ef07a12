"""Messages of other programs become runs, once each, whoever heard them and however often they were sent."""

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

import structlog
from psycopg_pool import ConnectionPool

from scheduler import store
from scheduler.message import LoadComplete, LoadRequest, RefusedError, job_id_of, parse_message
from scheduler.metrics import SchedulerMetrics
from scheduler.starter import Changes, Resolve, record_scheduled_run
from scheduler.status import Submission, announce
from scheduler.store import Schedule
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import finish_enqueue
from streamworkers.engine.executor import describe
from streamworkers.engine.job import Origin
from streamworkers.engine.keys import DATA_LOAD_COMPLETE, ERRORS_CHANNEL
from streamworkers.engine.ledger import Run
from streamworkers.engine.messages import Messages
from streamworkers.engine.registry import Registry
from streamworkers.engine.stream import Streams
from streamworkers.errors import BadInputError, RedisUnavailableError, UnknownNameError

log = structlog.get_logger()
LOAD_JOB = "load_ohlcv"
SAME_CONTENT_SECONDS = 600
_REFUSED_ONCE_SECONDS = 60

Kind = Literal["started", "duplicate", "ignored", "refused"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message, for counting in one word, and for people."""

    kind: Kind
    reason: str
    detail: str = ""
    runs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Intake:
    """Accepts messages. Raises what PostgreSQL raises, and RedisUnavailableError: the message may be given again."""

    pool: "ConnectionPool[Connection]"
    streams: Streams
    messages: Messages
    registry: Registry
    resolve: Resolve
    metrics: SchedulerMetrics
    status_ttl_seconds: int

    def accept(self, raw: bytes | None, source: str) -> Outcome:
        """Make of a message what can be made of it."""
        try:
            if raw is None:
                raise RefusedError("no_message", "the entry has no field `message`")
            match parse_message(raw):
                case LoadComplete() as message:
                    outcome = self._load_complete(message)
                case LoadRequest():
                    raise RefusedError(
                        "unknown_job", f"job {LOAD_JOB!r}, which loads bars, is not installed: load them yourself"
                    )
        except (BadInputError, UnknownNameError) as error:
            reason = error.reason if isinstance(error, RefusedError) else "bad_field"
            outcome = self._refuse(raw or b"", source, reason, str(error))
        self.metrics.messages.labels(source, outcome.kind, outcome.reason).inc()
        log.info(
            "message_taken",
            source=source,
            outcome=outcome.kind,
            reason=outcome.reason,
            detail=outcome.detail,
            runs=outcome.runs,
        )
        return outcome

    def _load_complete(self, message: LoadComplete) -> Outcome:
        if not message.run_analysis:
            return Outcome("ignored", "run_analysis", "run_analysis is false")
        with self.pool.connection() as connection:
            schedules = store.schedules_for_event(connection, DATA_LOAD_COMPLETE)
            if not schedules:
                raise RefusedError(
                    "no_schedule",
                    f"no schedule is started by {DATA_LOAD_COMPLETE}: `streamworkers schedules install-defaults`",
                )
            awake = [schedule for schedule in schedules if schedule.require_definition().enabled]
            if not awake:
                return Outcome("ignored", "paused", f"schedule {schedules[0].name} is paused")
            started: list[Run] = []
            with connection.transaction():
                # All runs of a message or none: it is given again as a whole.
                for schedule in awake:
                    for timeframe in message.timeframes:
                        run = self._record(connection, schedule, message, timeframe)
                        if run is not None:
                            started.append(run)
            for run in started:
                self._begin(connection, run, message)
        if not started:
            return Outcome("duplicate", "known", "its runs are there already")
        return Outcome("started", "new", "", tuple(run.id for run in started))

    def _record(self, connection: Connection, schedule: Schedule, message: LoadComplete, timeframe: str) -> Run | None:
        """The run of a message in a timeframe, or None when it is there already."""
        key = message.key(timeframe)
        key = self._content_key(connection, schedule, message, timeframe) if key is None else f"{schedule.name}:{key}"
        if key is None:
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

    def _content_key(
        self, connection: Connection, schedule: Schedule, message: LoadComplete, timeframe: str
    ) -> str | None:
        """A key for a message without an id; None when the same content came within `SAME_CONTENT_SECONDS`.

        A key holds for a slot of time. At a slot's beginning the one before may still forbid a repetition.
        """
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (message.digest,))
        now = store.database_clock(connection)
        slot = int(now.timestamp() // SAME_CONTENT_SECONDS)
        stem = f"{schedule.name}:{DATA_LOAD_COMPLETE}:content:{message.digest}:{timeframe}"
        keys = [f"{stem}:{slot}", f"{stem}:{slot - 1}"]
        before = ledger.newest_with_key(connection, keys)
        if before is not None and (now - before).total_seconds() < SAME_CONTENT_SECONDS:
            return None
        return keys[0]

    def _begin(self, connection: Connection, run: Run, message: LoadComplete) -> None:
        if message.job_id is not None or message.event_id is not None:
            submission = Submission(message.job_id or message.event_id or "", run)
            announce(self.messages, connection, submission, self.status_ttl_seconds)
        try:
            finish_enqueue(connection, self.streams, run, ledger.all_open_items(connection, run))
        except RedisUnavailableError as error:
            # The run is in the ledger, and the reconciler adds it.
            log.warning("enqueue_put_off", run=run.id, error=describe(error))

    def _refuse(self, raw: bytes, source: str, reason: str, detail: str) -> Outcome:
        """Say once what was wrong, though every replica heard it."""
        digest = hashlib.sha256(raw).hexdigest()
        if not self.messages.is_first(f"refused:{source}:{digest}", _REFUSED_ONCE_SECONDS):
            return Outcome("duplicate", "refused", detail)
        payload = {
            "schema_version": 1,
            "kind": "message_refused",
            "source": source,
            "reason": reason,
            "detail": detail,
            "message": raw[:500].decode("utf-8", "replace"),
        }
        self.messages.publish(ERRORS_CHANNEL, json.dumps(payload))
        job_id = job_id_of(raw)
        if job_id is not None:
            fields = {"status": "failed", "message": detail[:500]}
            self.messages.set_status(job_id, fields, self.status_ttl_seconds, only_new=True)
        return Outcome("refused", reason, detail)
