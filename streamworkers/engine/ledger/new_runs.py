"""Makes runs: their rows, the rows of their items, and the counts of what was enqueued."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from psycopg.errors import CheckViolation
from psycopg.pq import TransactionStatus
from psycopg.types.json import Jsonb

from streamworkers.database import Connection
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger.runs import RUN_COLUMNS, SMALL_RUN, Run
from streamworkers.engine.redis.lanes import queue_of
from streamworkers.errors import KeyConflictError

_COLUMNS = (
    "job, queue, target, timeframe, as_of, parameters, item_count, max_attempts, trigger, schedule_id, schedule,"
    " scheduled_for, external_id, requested_by, traceparent, webhook"
)
_VALUES = """(%s, %s, %s, %s, %s::timestamptz, %s::jsonb, %s::integer, %s::integer, %s, %s::bigint, %s,
              %s::timestamptz, %s, %s, %s, %s::jsonb"""
_INSERT_RUN = f"INSERT INTO runs ({_COLUMNS}) VALUES {_VALUES}) RETURNING {RUN_COLUMNS}"  # noqa: S608  # constants
# The columns of a run that has an idempotency key, or ends as it begins because it has no items. The digest is that of
# a key whose requests are compared.
_INSERT_ANY_RUN = f"""
    INSERT INTO runs ({_COLUMNS}, reason, idempotency_key, status, enqueued_at, started_at, completed_at,
                      completed_count, failed_count, cancelled_count, canonical_request, request_digest)
    SELECT r.*, e.status, e.at, e.at, e.at, e.count, e.count, e.count, c.form, sha256(convert_to(c.form::text, 'UTF8'))
    FROM (VALUES {_VALUES}, %s, %s)) AS r,
        (VALUES (%s, %s::timestamptz, %s::integer)) AS e(status, at, count), (SELECT canonical_request(%s)) AS c(form)
    ON CONFLICT (idempotency_key) DO NOTHING RETURNING {RUN_COLUMNS}
"""  # noqa: S608
# One statement, and so one round trip and no transaction to begin and end: most of what a small run costs. The names of
# items are JSON, which costs a third of an array of PostgreSQL.
_WITH_ITEMS = """
    WITH run AS ({}), items AS (
        INSERT INTO run_items (run_day, run_id, seq, symbol, timeframe)
        SELECT run.run_day, run.id, i.place - 1, i.symbol, coalesce(i.timeframe, run.timeframe)
        FROM run, ROWS FROM (json_array_elements_text(%s::json), json_array_elements_text(%s::json))
            WITH ORDINALITY AS i(symbol, timeframe, place)
    ), counted AS (
        INSERT INTO enqueued_counts (queue, job, items) SELECT split_part(queue, '/', 1), job, item_count FROM run
        WHERE item_count > 0
    )
    SELECT * FROM run
"""
_INSERT_SMALL_RUN = _WITH_ITEMS.format(_INSERT_RUN)
_INSERT_ANY_SMALL_RUN = _WITH_ITEMS.format(_INSERT_ANY_RUN)
_ADD_COUNTS = """
    INSERT INTO enqueued_counts (queue, job, items) SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[])
"""
_FOLD_COUNTS = """
    WITH moved AS (
        DELETE FROM enqueued_counts WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM enqueued_counts LIMIT %s FOR UPDATE SKIP LOCKED
        )) RETURNING queue, job, items
    )
    INSERT INTO enqueued_totals AS t (queue, job, items_enqueued)
    SELECT queue, job, sum(items) FROM moved GROUP BY queue, job ORDER BY queue, job
    ON CONFLICT (queue, job) DO UPDATE SET items_enqueued = t.items_enqueued + excluded.items_enqueued
"""
_ensured: set[tuple[str, int, str, date]] = set()  # the database and day whose partition this process has seen
_SELECT_BY_KEY = f"""
    SELECT {RUN_COLUMNS}, request_differences(canonical_request(%s), canonical_request)
    FROM runs WHERE idempotency_key = %s
"""  # noqa: S608
_GIVE_KEY = """
    UPDATE runs SET idempotency_key = %s, canonical_request = c.form,
        request_digest = sha256(convert_to(c.form::text, 'UTF8'))
    FROM (SELECT canonical_request(%s)) AS c(form) WHERE id = %s
"""
_NEXT_RUNS = """
    SELECT nextval(pg_get_serial_sequence('runs', 'id')), (now() AT TIME ZONE 'UTC')::date FROM generate_series(1, %s)
"""
_COPY_RUNS = f"COPY runs ({_COLUMNS}, id, run_day) FROM STDIN"
_COPY_ITEMS = "COPY run_items (run_day, run_id, seq, symbol, timeframe) FROM STDIN (FORMAT BINARY)"


class NewRun(NamedTuple):
    """A run to make: its prepared request, and the other arguments of `create_run`."""

    request: RunRequest
    queue: str
    max_attempts: int
    compared: dict[str, Any] | None


def create_run(
    connection: Connection,
    request: RunRequest,
    queue: str,
    max_attempts: int,
    compared: dict[str, Any] | None = None,
) -> tuple[Run, bool]:
    """Insert a run and its items, all or nothing.

    Returns the run and True, or, if the idempotency key is taken, the run that has it and False. With `compared`, the
    request as it was asked for, raises KeyConflictError if that run is of another request.
    """
    is_plain = _is_plain(request)
    values = _list_values(request, queue, max_attempts)
    if not is_plain:
        values += _list_more_values(request, compared)
    if request.item_count <= SMALL_RUN:
        run = _insert_small(connection, _INSERT_SMALL_RUN if is_plain else _INSERT_ANY_SMALL_RUN, request, values)
    else:
        with connection.transaction():
            run = _read_run(connection, _INSERT_RUN if is_plain else _INSERT_ANY_RUN, values)
            if run is not None:
                ensure_partition(connection)
                copy_items(connection, [(run, request)])
                add_counts(connection, [run])
    return (run, True) if run is not None else (find_by_key(connection, request, compared), False)


def create_runs(connection: Connection, new: Sequence[NewRun]) -> list[tuple[Run, bool]]:
    """Insert many runs and their items, all or nothing; returns for each what `create_run` does."""
    plain = [each for each in new if _is_plain(each.request)]
    with connection.transaction():
        ensure_partition(connection)
        made = iter(_copy_runs(connection, plain) if plain else ())
        return [(next(made), True) if _is_plain(each.request) else create_run(connection, *each) for each in new]


def _is_plain(request: RunRequest) -> bool:
    """True if nothing can be in the way of a new run, which has something to do."""
    return request.idempotency_key is None and request.item_count > 0


def _copy_runs(connection: Connection, new: Sequence[NewRun]) -> list[Run]:
    places = connection.execute(_NEXT_RUNS, (len(new),)).fetchall()
    runs = [
        make_run(run_id, run_day, each.request, each.queue, each.max_attempts)
        for (run_id, run_day), each in zip(places, new, strict=True)
    ]
    with connection.cursor().copy(_COPY_RUNS) as copy:
        for place, (request, queue, max_attempts, _) in zip(places, new, strict=True):
            copy.write_row((*_list_values(request, queue, max_attempts), *place))
    copy_items(connection, [(run, each.request) for run, each in zip(runs, new, strict=True)])
    add_counts(connection, runs)
    return runs


def make_run(run_id: int, run_day: date, request: RunRequest, queue: str, max_attempts: int) -> Run:
    """Return a new run as it is stored, before anybody has taken it."""
    return Run(
        run_id,
        request.job,
        queue,
        "PENDING",
        request.timeframe,
        request.as_of,
        request.parameters or {},
        run_day,
        request.max_attempts or max_attempts,
        request.item_count,
        is_enqueued=False,
        schedule=request.origin.schedule,
    )


def _list_values(request: RunRequest, queue: str, max_attempts: int) -> tuple[Any, ...]:
    origin = request.origin
    return (
        request.job,
        queue,
        request.target,
        request.timeframe,
        request.as_of,
        json.dumps(request.parameters or {}),
        request.item_count,
        max_attempts,
        origin.trigger,
        origin.schedule_id,
        origin.schedule,
        origin.scheduled_for,
        origin.external_id,
        origin.requested_by,
        request.traceparent,
        None if request.webhook is None else json.dumps(dict(request.webhook)),
    )


def _list_more_values(request: RunRequest, compared: dict[str, Any] | None) -> tuple[Any, ...]:
    key = request.idempotency_key
    return (
        request.note,
        key,
        *(("PENDING", None, None) if request.item_count else ("COMPLETED", datetime.now(UTC), 0)),
        Jsonb(compared) if compared is not None and key is not None else None,
    )


def _insert_small(connection: Connection, statement: str, request: RunRequest, values: tuple[Any, ...]) -> Run | None:
    words = (*values, *_list_items(request))
    if connection.info.transaction_status != TransactionStatus.IDLE:
        ensure_partition(connection)
        return _read_run(connection, statement, words)
    day = (connection.info.host, connection.info.port, connection.info.dbname, datetime.now(UTC).date())
    if day not in _ensured:
        ensure_partition(connection)
        _ensured.clear()
        _ensured.add(day)
    try:
        return _read_run(connection, statement, words)
    except CheckViolation:
        # It was dropped, or another day has begun for PostgreSQL.
        ensure_partition(connection)
        return _read_run(connection, statement, words)


def _list_items(request: RunRequest) -> tuple[str, str | None]:
    """Return the symbols of the items as JSON, and their timeframes if these are not the run's."""
    if not request.timeframes:
        return json.dumps(request.symbols), None
    items = list(request.items())
    return json.dumps([symbol for symbol, _ in items]), json.dumps([timeframe for _, timeframe in items])


def _read_run(connection: Connection, statement: str, values: tuple[Any, ...]) -> Run | None:
    row = connection.execute(statement, values).fetchone()
    return Run(*row) if row else None


def keep_webhook_endpoint(connection: Connection, webhook: Mapping[str, Any]) -> None:
    """Make the endpoint of a webhook that was checked, unless it is there: a run that is submitted has it made."""
    connection.execute("SELECT keep_webhook_endpoint(%s)", (Jsonb(dict(webhook)),))


def give_key(connection: Connection, run_id: int, key: str, compared: dict[str, Any]) -> None:
    """Give a run that was submitted in this transaction an idempotency key. Raises UniqueViolation if it is taken."""
    connection.execute(_GIVE_KEY, (key, Jsonb(compared), run_id))


def find_by_key(connection: Connection, request: RunRequest, compared: dict[str, Any] | None) -> Run:
    """Return the run that has the request's key. Raises KeyConflictError if it is of another request."""
    row = connection.execute(
        _SELECT_BY_KEY, (Jsonb(compared) if compared is not None else None, request.idempotency_key)
    ).fetchone()
    assert row is not None
    *columns, names = row
    run = Run(*columns)
    if compared is not None and run.job != request.job:
        raise KeyConflictError(f"key {request.idempotency_key!r} belongs to run {run.id} of job {run.job!r}")
    if names:
        raise KeyConflictError(
            f"key {request.idempotency_key!r} belongs to run {run.id}, whose request differs in: {names}"
        )
    return run


def copy_items(connection: Connection, runs: Iterable[tuple[Run, RunRequest]]) -> None:
    """Insert the items of runs, whose partition exists."""
    with connection.cursor().copy(_COPY_ITEMS) as copy:
        copy.set_types(["date", "int8", "int4", "text", "text"])
        for run, request in runs:
            for seq, (symbol, timeframe) in enumerate(request.items()):
                copy.write_row((run.run_day, run.id, seq, symbol, timeframe))


def add_counts(connection: Connection, runs: Iterable[Run]) -> None:
    """Count the items of new runs by queue and job."""
    counts: Counter[tuple[str, str]] = Counter()
    for run in runs:
        counts[queue_of(run.queue), run.job] += run.item_count
    words = ([queue for queue, _ in counts], [job for _, job in counts], list(counts.values()))
    connection.execute(_ADD_COUNTS, words)


def ensure_partition(connection: Connection) -> None:
    """Make the partition of the items of runs that are made now."""
    connection.execute("SELECT ensure_run_items_partition((now() AT TIME ZONE 'UTC')::date)")


def fold_enqueued_counts(connection: Connection, limit: int) -> None:
    """Move the counts of up to `limit` runs to the totals of their jobs; the sum of both stays the same."""
    connection.execute(_FOLD_COUNTS, (limit,))
