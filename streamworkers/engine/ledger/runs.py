"""The tables of runs and of what was enqueued, and the locks and partitions that go with a run."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from psycopg.errors import CheckViolation
from psycopg.pq import TransactionStatus
from psycopg.types.json import Jsonb

from streamworkers.database import Connection
from streamworkers.engine.job import RunRequest
from streamworkers.errors import KeyConflictError

OPEN_RUN_STATES = ("PENDING", "RUNNING")
SCHEDULES_NOTIFY = "streamworkers_schedules"  # PostgreSQL's channel; the triggers of `schedules` use it too
_ENQUEUE_LOCKS = 0x5357  # any fixed number: the class of our advisory locks

RUN_COLUMNS = (
    "id, job, queue, status, timeframe, as_of, parameters, run_day, max_attempts, item_count, enqueued_at IS NOT NULL,"
    " schedule, prepared_at IS NOT NULL"
)
_SELECT_RUN = f"SELECT {RUN_COLUMNS} FROM runs "  # noqa: S608  # constants
_SELECT_UNFINISHED = f"""
    SELECT {RUN_COLUMNS}, floor(extract(epoch FROM enqueued_at) * 1000)::bigint
    FROM runs WHERE status IN ('PENDING', 'RUNNING') AND prepared_at IS NOT NULL
"""  # noqa: S608
# A run without items has nothing to do and ends as it begins. The digest is that of a key whose requests are compared.
_INSERT_RUN = f"""
    INSERT INTO runs (job, queue, target, timeframe, as_of, parameters, idempotency_key, item_count, max_attempts,
                      trigger, schedule_id, schedule, scheduled_for, external_id, requested_by, traceparent, reason,
                      status, enqueued_at, started_at, completed_at, completed_count, failed_count, cancelled_count,
                      canonical_request, request_digest)
    SELECT r.*, e.status, e.at, e.at, e.at, e.count, e.count, e.count, c.form, sha256(convert_to(c.form::text, 'UTF8'))
    FROM (VALUES (%s, %s, %s, %s, %s::timestamptz, %s::jsonb, %s, %s::integer, %s::integer,
                  %s, %s::bigint, %s, %s::timestamptz, %s, %s, %s, %s)) AS r,
        (VALUES (%s, %s::timestamptz, %s::integer)) AS e(status, at, count), (SELECT canonical_request(%s)) AS c(form)
    ON CONFLICT (idempotency_key) DO NOTHING RETURNING {RUN_COLUMNS}
"""  # noqa: S608
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
# One statement, and so one round trip and no transaction to begin and end: most of what a small run costs.
_INSERT_SMALL_RUN = f"""
    WITH run AS ({_INSERT_RUN}), items AS (
        INSERT INTO run_items (run_day, run_id, seq, symbol, timeframe)
        SELECT run.run_day, run.id, i.place - 1, i.symbol, i.timeframe
        FROM run, unnest(%s::text[], %s::text[]) WITH ORDINALITY AS i(symbol, timeframe, place)
    ), counted AS (
        INSERT INTO enqueued_counts (queue, job, items) SELECT queue, job, item_count FROM run WHERE item_count > 0
    )
    SELECT * FROM run
"""  # noqa: S608
_SMALL_RUN = 1000
_ensured: set[tuple[str, int, str, date]] = set()  # the database and day whose partition this process has seen
_SELECT_BY_KEY = f"""
    SELECT {RUN_COLUMNS}, request_differences(canonical_request(%s), canonical_request)
    FROM runs WHERE idempotency_key = %s
"""  # noqa: S608
_COPY_ITEMS = "COPY run_items (run_day, run_id, seq, symbol, timeframe) FROM STDIN (FORMAT BINARY)"


@dataclass(frozen=True, slots=True)
class Run:
    """What the pool needs to know of a run."""

    id: int
    job: str
    queue: str
    status: str
    timeframe: str | None
    as_of: datetime | None
    parameters: dict[str, Any]
    run_day: date
    max_attempts: int
    item_count: int
    is_enqueued: bool
    schedule: str | None = None
    is_prepared: bool = True

    @property
    def is_open(self) -> bool:
        """True until the run has ended."""
        return self.status in OPEN_RUN_STATES

    @property
    def is_small(self) -> bool:
        """True if its items are inserted and added to Redis in one step each."""
        return self.item_count <= _SMALL_RUN


class UnfinishedRun(NamedTuple):
    """An open run, and when all its entries were in the stream, in Unix milliseconds, if they ever were."""

    run: Run
    enqueued_ms: int | None


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
    values = _list_values(request, queue, max_attempts, compared)
    if request.item_count <= _SMALL_RUN:
        run = _insert_small(connection, request, values)
    else:
        with connection.transaction():
            run = _read_inserted(connection.execute(_INSERT_RUN, values).fetchone())
            if run is not None:
                ensure_partition(connection)
                copy_items(connection, [(run, request)])
                add_counts(connection, [run])
    return (run, True) if run is not None else (_find_by_key(connection, request, compared), False)


def _list_values(
    request: RunRequest, queue: str, max_attempts: int, compared: dict[str, Any] | None
) -> tuple[Any, ...]:
    is_empty = request.item_count == 0
    return (
        request.job,
        queue,
        request.target,
        request.timeframe,
        request.as_of,
        Jsonb(request.parameters or {}),
        request.idempotency_key,
        request.item_count,
        max_attempts,
        *astuple(request.origin),
        request.traceparent,
        request.note,
        *(("COMPLETED", datetime.now(UTC), 0) if is_empty else ("PENDING", None, None)),
        Jsonb(compared) if compared is not None and request.idempotency_key is not None else None,
    )


def _insert_small(connection: Connection, request: RunRequest, values: tuple[Any, ...]) -> Run | None:
    items = list(request.items())
    timeframes = [timeframe for _, timeframe in items] if request.timeframe or request.timeframes else None
    words = (*values, [symbol for symbol, _ in items], timeframes)
    if connection.info.transaction_status != TransactionStatus.IDLE:
        ensure_partition(connection)
        return _read_inserted(connection.execute(_INSERT_SMALL_RUN, words).fetchone())
    day = (connection.info.host, connection.info.port, connection.info.dbname, datetime.now(UTC).date())
    if day not in _ensured:
        ensure_partition(connection)
        _ensured.clear()
        _ensured.add(day)
    try:
        return _read_inserted(connection.execute(_INSERT_SMALL_RUN, words).fetchone())
    except CheckViolation:
        # It was dropped, or another day has begun for PostgreSQL.
        ensure_partition(connection)
        return _read_inserted(connection.execute(_INSERT_SMALL_RUN, words).fetchone())


def _read_inserted(row: tuple[Any, ...] | None) -> Run | None:
    return Run(*row) if row else None


def _find_by_key(connection: Connection, request: RunRequest, compared: dict[str, Any] | None) -> Run:
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
        counts[run.queue, run.job] += run.item_count
    words = ([queue for queue, _ in counts], [job for _, job in counts], list(counts.values()))
    connection.execute(_ADD_COUNTS, words)


def ensure_partition(connection: Connection) -> None:
    """Make the partition of the items of runs that are made now."""
    connection.execute("SELECT ensure_run_items_partition((now() AT TIME ZONE 'UTC')::date)")


def fold_enqueued_counts(connection: Connection, limit: int) -> None:
    """Move the counts of up to `limit` runs to the totals of their jobs; the sum of both stays the same."""
    connection.execute(_FOLD_COUNTS, (limit,))


def load_run(connection: Connection, run_id: int) -> Run | None:
    """Return the run of that id, or None."""
    row = connection.execute(_SELECT_RUN + "WHERE id = %s", (run_id,)).fetchone()
    return Run(*row) if row else None


def load_runs(connection: Connection, run_ids: Sequence[int]) -> dict[int, Run]:
    """Return those of these runs that exist, by id."""
    rows = connection.execute(_SELECT_RUN + "WHERE id = ANY(%s)", (list(run_ids),))
    return {row[0]: Run(*row) for row in rows}


def is_key_taken(connection: Connection, idempotency_keys: Sequence[str]) -> bool:
    """True if a run has one of these keys."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM runs WHERE idempotency_key = ANY(%s))", (list(idempotency_keys),)
    ).fetchone()
    assert row is not None
    return bool(row[0])


def mark_enqueued(connection: Connection, *run_ids: int) -> None:
    """Record that all entries of these runs are in the stream; outside of a transaction."""
    # Not worth waiting for the disk: if it is lost, the reconciler adds the entries and records it again.
    connection.execute(
        """
        WITH quickly AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
        UPDATE runs SET enqueued_at = clock_timestamp() FROM quickly WHERE id = ANY(%s)
        """,
        (list(run_ids),),
    )


def mark_running(connection: Connection, run_ids: Sequence[int]) -> None:
    """Record that a worker took the first items of runs; outside of a transaction."""
    # Not worth waiting for the disk: the commit of their items follows, and is lost with this or not at all. The rows
    # are locked in one order, so that two workers do not wait for each other.
    connection.execute(
        """
        WITH quickly AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)), due AS MATERIALIZED (
            SELECT id FROM runs WHERE id = ANY(%s) AND status = 'PENDING' ORDER BY id FOR UPDATE
        )
        UPDATE runs SET status = 'RUNNING', started_at = clock_timestamp() FROM quickly, due WHERE runs.id = due.id
        """,
        (list(run_ids),),
    )


def mark_notified(connection: Connection, run_ids: Sequence[int]) -> set[int]:
    """Record that the status hash shows the end of these runs, unless one was reopened meanwhile.

    Returns the runs for which this call was the first to record it.
    """
    rows = connection.execute(
        """
        UPDATE runs SET status_notified = true
        WHERE id = ANY(%s) AND status NOT IN ('PENDING', 'RUNNING') AND NOT status_notified RETURNING id
        """,
        (list(run_ids),),
    )
    return {run_id for (run_id,) in rows}


def read_unfinished_runs(
    connection: Connection, queue: str, before: datetime, after_id: int, limit: int
) -> list[UnfinishedRun]:
    """Return the next open runs of a queue, by id, that were neither prepared nor enqueued since `before`.

    The pause keeps the reconciler away from an enqueue in progress.
    """
    rows = connection.execute(
        _SELECT_UNFINISHED
        + "AND queue = %s AND id > %s AND coalesce(enqueued_at, prepared_at) < %s ORDER BY id LIMIT %s",
        (queue, after_id, before, limit),
    )
    return [UnfinishedRun(Run(*row[:-1]), row[-1]) for row in rows]


def read_unfinished_run(connection: Connection, run_id: int) -> UnfinishedRun | None:
    """Return the run of that id as `read_unfinished_runs` does, or None if it has ended."""
    row = connection.execute(_SELECT_UNFINISHED + "AND id = %s", (run_id,)).fetchone()
    return UnfinishedRun(Run(*row[:-1]), row[-1]) if row else None


def find_open_runs(connection: Connection, queue: str, run_ids: Sequence[int]) -> set[int]:
    """Return the ids of those of these runs that are open and of this queue."""
    rows = connection.execute(
        "SELECT id FROM runs WHERE id = ANY(%s) AND queue = %s AND status IN ('PENDING', 'RUNNING')",
        (list(run_ids), queue),
    )
    return {run_id for (run_id,) in rows}


def ensure_partitions(connection: Connection, days_ahead: int) -> None:
    """Make the partitions of today and the days ahead, so that no enqueue has to."""
    connection.execute(
        """
        SELECT ensure_run_items_partition((now() AT TIME ZONE 'UTC')::date + day) FROM generate_series(0, %s) AS day
        """,
        (days_ahead,),
    )


@contextmanager
def enqueue_lock(connection: Connection, run_id: int, *, wait: bool) -> Iterator[bool]:
    """Hold the right to add a run's entries for a block; yields False, without it, if another session has it.

    It keeps the reconciler from adding what an enqueue in progress still adds. It is a transaction's, so PostgreSQL
    frees it at once when the process dies, and after the session's limit when the process stands still. Waiting is
    limited by the session's lock timeout.
    """
    function = "pg_advisory_xact_lock" if wait else "pg_try_advisory_xact_lock"
    with connection.transaction():
        row = connection.execute(f"SELECT {function}(%s, hashint8(%s))", (_ENQUEUE_LOCKS, run_id)).fetchone()
        assert row is not None
        yield wait or bool(row[0])


def read_moment_before(connection: Connection, seconds: float) -> datetime:
    """Return the moment that many seconds ago, by PostgreSQL's clock."""
    row = connection.execute("SELECT clock_timestamp() - make_interval(secs => %s)", (seconds,)).fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment
