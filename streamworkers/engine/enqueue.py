"""Starts runs: writes the ledger first, then the stream."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import psycopg
from psycopg import errors

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger import NewRun, Run, SubmittedRun
from streamworkers.engine.preparation import has_own_prepare, prepare_request
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.worker.session import reset_session
from streamworkers.errors import SUBMIT_ERRORS, BadInputError, RedisUnavailableError
from streamworkers.faults import describe
from streamworkers.logger import get_logger
from streamworkers.tracing import trace_enqueue, trace_enqueues

log = get_logger()
_PIPELINE = 10_000
MOST_RUNS = 10_000
MOST_ITEMS_OF_RUNS = 500_000


def enqueue(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    request: RunRequest,
    *,
    note: Callable[[Run, bool], None] | None = None,
) -> tuple[Run, bool]:
    """Make a run of `request` and add its entries; returns it and whether it is new.

    `note` is called with both in the run's transaction.

    The run and its items are one transaction. A crash after it loses nothing: the reconciler finds a run without
    `enqueued_at` and adds its entries, or, if Redis has them, records it. Of a small run the worker that takes its
    first items records it, so that this call has one round trip to each service. If the idempotency key is taken by a
    run of the same request, nothing new happens.

    Raises UnknownNameError for the job, BadInputError for parameters, items or a key that break a rule, and
    KeyConflictError for a key that belongs to a run of another request.
    """
    compared = None if request.idempotency_key is None else describe_request(request)
    prepared = prepare_request(connection, registry[request.job], request)
    if note is None:
        run, is_new = _record(connection, registry, prepared, compared)
    else:
        with connection.transaction():
            run, is_new = _record(connection, registry, prepared, compared)
            note(run, is_new)
    if is_new and run.is_open:
        entries = make_entries(run, prepared)
        if run.is_small:
            with _naming(run):
                add_entries(streams, run, entries)
        else:
            finish_enqueue(connection, streams, run, entries)
    return run, is_new


def enqueue_runs(
    connection: Connection, streams: Streams, registry: Registry, requests: Sequence[RunRequest]
) -> list[tuple[Run, bool]]:
    """Do what `enqueue` does for up to 10,000 requests of 500,000 items; returns in the same order what it returns.

    All runs and their items are one transaction, whose rows are copied. Then the entries of small runs go to Redis,
    10,000 in one round trip. Raises what `enqueue` raises; then, unless Redis is at fault, there is none of the runs.
    """
    if len(requests) > MOST_RUNS:
        raise BadInputError(f"{len(requests)} requests are over the limit of {MOST_RUNS} for one call")
    prepared = [prepare_request(connection, registry[request.job], request) for request in requests]
    items = sum(request.item_count for request in prepared)
    if items > MOST_ITEMS_OF_RUNS:  # so that Redis has them before the reconciler looks at the runs
        raise BadInputError(
            f"the {items} items of the requests are over the limit of {MOST_ITEMS_OF_RUNS} for one call"
        )
    with trace_enqueues([(request.job, request.traceparent) for request in prepared]) as traceparents:
        traced = [replace(each, traceparent=trace) for each, trace in zip(prepared, traceparents, strict=True)]
        new = [_describe_new(registry, *each) for each in zip(requests, traced, strict=True)]
        made = ledger.create_runs(connection, new)
    for (run, _), request in zip(made, prepared, strict=True):
        _require_job(run, request)
    added = [(run, request) for (run, is_new), request in zip(made, prepared, strict=True) if is_new and run.is_open]
    if added:
        with _naming(*(run for run, _ in added)):
            _add_small_runs(streams, [each for each in added if each[0].is_small])
            for run, request in added:
                if not run.is_small:
                    finish_enqueue(connection, streams, run, make_entries(run, request))
    return made


def _describe_new(registry: Registry, request: RunRequest, prepared: RunRequest) -> NewRun:
    job = registry[prepared.job]
    compared = None if request.idempotency_key is None else describe_request(request)
    return NewRun(prepared, job.lane_of(prepared), prepared.max_attempts or job.max_attempts, compared)


def enqueue_many(connection: Connection, requests: Sequence[RunRequest]) -> list[SubmittedRun]:
    """Submit up to 10,000 runs in one statement; returns in the same order the run of each, and whether it is new.

    Needs neither Redis nor the jobs' code: a supervisor or scheduler that has the job prepares them, in the order of
    their ids, within about a second. It takes effect with the caller's transaction, if there is one.

    Raises BadInputError for a request that breaks a rule, UnknownJobError for a job that no process of the pool has,
    and KeyConflictError for a key that belongs to a run of another request.
    """
    return submit_described(connection, [describe_request(request) for request in requests])


def submit_described(connection: Connection, requests: Sequence[dict[str, Any]]) -> list[SubmittedRun]:
    """Do what `enqueue_many` does for requests that are JSON objects already, as `submit_runs` takes them."""
    try:
        with trace_enqueues([(str(each.get("job")), each.get("traceparent")) for each in requests]) as traceparents:
            if any(traceparents):
                requests = [{**each, "traceparent": trace} for each, trace in zip(requests, traceparents, strict=True)]
            return ledger.submit(connection, requests)
    except psycopg.Error as error:
        kind = SUBMIT_ERRORS.get(error.diag.sqlstate or "")
        if kind is None:
            raise
        raise kind(error.diag.message_primary or str(error)) from None


def describe_request(request: RunRequest) -> dict[str, Any]:
    """Return a request, as it was asked for, as the JSON object that `submit_run` takes."""
    fields = {
        "job": request.job,
        "parameters": request.parameters or {},
        "universe": request.universe,
        "items": list(request.symbols) if request.universe is None and request.symbols else None,
        "timeframe": request.timeframe,
        "timeframes": list(request.timeframes) or None,
        "as_of": request.as_of.isoformat() if request.as_of is not None else None,
        "max_attempts": request.max_attempts,
        "priority": request.priority,
        "key": request.idempotency_key,
        "user": request.origin.requested_by,
        "traceparent": request.traceparent,
        "start_at": request.start_at.isoformat() if request.start_at is not None else None,
        "after": list(request.after) or None,
        "after_when": request.after_when,
        "webhook": dict(request.webhook) if request.webhook is not None else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def record_run(connection: Connection, registry: Registry, request: RunRequest) -> tuple[Run, bool]:
    """Do the ledger's half of `enqueue`, for a caller whose transaction holds more than the run.

    After the commit `finish_enqueue` adds the entries, or else the reconciler does. Of an idempotency key that is taken
    it returns the run, whatever that run's request was. What a job's `prepare` does to the session is undone, if
    need be by the caller's rollback. A webhook is taken as it is: that of a schedule was checked when it was stored.
    Raises UnknownNameError and BadInputError as `enqueue` does.
    """
    job = registry[request.job]
    prepared = prepare_request(connection, job, replace(request, webhook=None))
    if has_own_prepare(job):
        reset_session(connection)
    if request.webhook is not None:
        ledger.keep_webhook_endpoint(connection, request.webhook)
        prepared = replace(prepared, webhook=request.webhook)
    return _record(connection, registry, prepared, None)


def finish_enqueue(connection: Connection, streams: Streams, run: Run, entries: Iterator[Entry]) -> None:
    """Add a run's entries and record it.

    While the entries of a large run are added, a lock keeps the reconciler away; if it is not free in time, the
    reconciler adds them. Those of a small run are added long before the reconciler looks at a new run.

    Raises RedisUnavailableError naming the run, which is in the ledger already and will be added by the reconciler.
    """
    try:
        with _naming(run):
            if run.is_small:
                add_entries(streams, run, entries)
                ledger.mark_enqueued(connection, run.id)
                return
            with ledger.enqueue_lock(connection, run.id, wait=True):
                while add_entries(streams, run, islice(entries, _PIPELINE)):
                    # Shows PostgreSQL that this session does not stand still.
                    connection.execute("SELECT 1")
                ledger.mark_enqueued(connection, run.id)
    except errors.LockNotAvailable:
        log.info("enqueue_deferred", run=run.id, error="the reconciler adds its entries")


def enqueue_committed(connection: Connection, streams: Streams, run: Run) -> RedisUnavailableError | None:
    """Add the entries of a committed run; while Redis is away, returns the error and leaves them to the reconciler."""
    try:
        finish_enqueue(connection, streams, run, ledger.iterate_open_items(connection, run))
    except RedisUnavailableError as error:
        log.warning("enqueue_deferred", run=run.id, error=describe(error))
        return error
    return None


@contextmanager
def _naming(*runs: Run) -> Iterator[None]:
    """Let the error say what the fault of Redis means for new runs."""
    try:
        yield
    except RedisUnavailableError as error:
        if len(runs) == 1:
            subject, them = f"run {runs[0].id} is", "it"
        else:
            subject, them = f"{len(runs)} runs from {runs[0].id} to {runs[-1].id} are", "them"
        raise RedisUnavailableError(
            f"{subject} in the ledger and will start when Redis can be used; do not enqueue {them} again. {error}",
            error.kind,
        ) from error


def finish_small_runs(connection: Connection, streams: Streams, runs: Sequence[tuple[Run, RunRequest]]) -> None:
    """Add the entries of small runs and record them: few round trips to Redis, and one statement."""
    _add_small_runs(streams, runs)
    if runs:
        ledger.mark_enqueued(connection, *(run.id for run, _ in runs))


def _add_small_runs(streams: Streams, runs: Iterable[tuple[Run, RunRequest]]) -> None:
    """Add the entries of small runs, in one round trip to Redis for each queue of a portion."""
    by_queue: dict[str, dict[int, list[bytes]]] = {}
    size = 0
    for run, request in runs:
        by_queue.setdefault(run.queue, {})[run.id] = [entry.pack() for entry in make_entries(run, request)]
        size += run.item_count
        if size >= _PIPELINE:
            _add_portion(streams, by_queue)
            size = 0
    _add_portion(streams, by_queue)


def _add_portion(streams: Streams, by_queue: dict[str, dict[int, list[bytes]]]) -> None:
    for queue, packed in by_queue.items():
        streams.queues.add_runs(queue, packed)
    by_queue.clear()


def make_entries(run: Run, request: RunRequest) -> Iterator[Entry]:
    """Yield the entries of a new run."""
    now_ms = time.time_ns() // 1_000_000
    return (
        Entry(run.id, seq, run.job, symbol, timeframe or "", now_ms)
        for seq, (symbol, timeframe) in enumerate(request.items())
    )


def add_entries(streams: Streams, run: Run, entries: Iterator[Entry]) -> int:
    """Add entries of a run to its queue; returns how many."""
    total = 0
    while packed := [entry.pack() for entry in islice(entries, _PIPELINE)]:
        streams.queues.add(run.queue, run.id, packed)
        total += len(packed)
    return total


def _record(
    connection: Connection, registry: Registry, prepared: RunRequest, compared: dict[str, Any] | None
) -> tuple[Run, bool]:
    job = registry[prepared.job]
    max_attempts = prepared.max_attempts or job.max_attempts
    with trace_enqueue(prepared.job, prepared.traceparent) as span:
        prepared = replace(prepared, traceparent=span.traceparent)
        run, is_new = ledger.create_run(connection, prepared, job.lane_of(prepared), max_attempts, compared)
        span.note(run.id, run.queue, run.item_count)
    _require_job(run, prepared)
    return run, is_new


def _require_job(run: Run, request: RunRequest) -> None:
    if run.job != request.job:
        raise BadInputError(f"key {request.idempotency_key!r} belongs to run {run.id} of job {run.job!r}")
