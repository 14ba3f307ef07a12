"""Starts runs: writes the ledger first, then the stream."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import structlog
from psycopg import errors
from pydantic import ValidationError

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.job import Job, RunRequest
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError, RedisUnavailableError, UnknownNameError

log = structlog.get_logger()
MAX_ITEMS = 5_000_000
_PIPELINE = 10_000
_MAX_SYMBOL_CHARACTERS = 64
MAX_KEY_CHARACTERS = 200


def enqueue(connection: Connection, streams: Streams, registry: Registry, request: RunRequest) -> tuple[Run, bool]:
    """Make a run of `request` and add its entries; returns it and whether it is new.

    The run and its items are one transaction. A crash after it loses nothing: the reconciler finds a run without
    `enqueued_at` and adds its entries. If the idempotency key is taken, nothing new happens.

    Raises UnknownNameError for the job, BadInputError for parameters, symbols or a key that break a rule.
    """
    prepared = _prepare(connection, registry, request)
    run, is_new = _record(connection, registry, prepared)
    if is_new:
        now_ms = time.time_ns() // 1_000_000
        entries = (
            Entry(run.id, seq, run.job, symbol, timeframe or "", now_ms)
            for seq, (symbol, timeframe) in enumerate(prepared.items())
        )
        finish_enqueue(connection, streams, run, entries)
    return run, is_new


def record_run(connection: Connection, registry: Registry, request: RunRequest) -> tuple[Run, bool]:
    """Do the ledger's half of `enqueue`, for a caller whose transaction holds more than the run; same errors.

    After the commit `finish_enqueue` adds the entries, or else the reconciler does.
    """
    return _record(connection, registry, _prepare(connection, registry, request))


def finish_enqueue(connection: Connection, streams: Streams, run: Run, entries: Iterator[Entry]) -> None:
    """Add a run's entries and record it; a lock keeps the reconciler away meanwhile.

    If the lock is not free in time, the reconciler adds the entries. Raises RedisUnavailableError naming the run, which
    is in the ledger already and will be added by the reconciler.
    """
    try:
        with ledger.enqueue_lock(connection, run.id, wait=True):
            while add_entries(streams, run, islice(entries, _PIPELINE)):
                # Shows PostgreSQL that this session does not stand still.
                connection.execute("SELECT 1")
            ledger.mark_enqueued(connection, run.id)
    except errors.LockNotAvailable:
        log.info("enqueue_deferred", run=run.id, error="the reconciler adds its entries")
    except RedisUnavailableError as error:
        raise RedisUnavailableError(
            f"run {run.id} is in the ledger and will start when Redis is back; do not enqueue it again. {error}"
        ) from error


def add_entries(streams: Streams, run: Run, entries: Iterator[Entry]) -> int:
    """Add entries of a run to its queue; returns how many."""
    total = 0
    while packed := [entry.pack() for entry in islice(entries, _PIPELINE)]:
        streams.queues.add(run.queue, run.id, packed)
        total += len(packed)
    return total


def _prepare(connection: Connection, registry: Registry, request: RunRequest) -> RunRequest:
    job = registry[request.job]
    symbols = request.symbols or job.parts
    _require_key(request.idempotency_key)
    _require_symbols(symbols)
    _require_size(replace(request, symbols=symbols))
    for symbol in symbols if job.parts else ():
        if symbol not in job.parts:
            raise UnknownNameError(f"part of job {job.name!r}", symbol, job.parts)
    require_parameters(job, request.parameters or {})
    return job.prepare(connection, replace(request, symbols=symbols))


def _record(connection: Connection, registry: Registry, prepared: RunRequest) -> tuple[Run, bool]:
    job = registry[prepared.job]
    max_attempts = prepared.max_attempts or job.max_attempts
    run, is_new = ledger.create_run(connection, prepared, job.queue, max_attempts)
    if run.job != job.name:
        raise BadInputError(f"key {prepared.idempotency_key!r} belongs to run {run.id} of job {run.job!r}")
    return run, is_new


def _require_key(key: str | None) -> None:
    if key is not None and not (0 < len(key) <= MAX_KEY_CHARACTERS and key.isprintable()):
        raise BadInputError(f"key {key[:80]!r} is not 1 to {MAX_KEY_CHARACTERS} printable characters")


def _require_symbols(symbols: Sequence[str]) -> None:
    if not symbols:
        raise BadInputError("a run needs at least one symbol")
    for symbol in symbols:
        if not symbol or len(symbol) > _MAX_SYMBOL_CHARACTERS or not symbol.isprintable() or " " in symbol:
            raise BadInputError(
                f"symbol {symbol!r} is not 1 to {_MAX_SYMBOL_CHARACTERS} printable characters without space"
            )
    if len(set(symbols)) != len(symbols):
        repeated = next(symbol for symbol in symbols if symbols.count(symbol) > 1)
        raise BadInputError(f"symbol {repeated!r} is named twice; each symbol of a run is one item")


def _require_size(request: RunRequest) -> None:
    if request.item_count > MAX_ITEMS:
        raise BadInputError(f"a run of {request.item_count} items is over the limit of {MAX_ITEMS}")
    if len(set(request.timeframes)) != len(request.timeframes):
        raise BadInputError(f"a timeframe is named twice in {', '.join(request.timeframes)}")


def require_parameters(job: Job[Any], parameters: dict[str, Any]) -> None:
    """Raise BadInputError naming the parameter that a job does not have, or that breaks its rule."""
    try:
        job.parameters.model_validate(parameters)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise BadInputError(f"parameter {name}={first['input']!r} of job {job.name!r}: {first['msg']}") from None
