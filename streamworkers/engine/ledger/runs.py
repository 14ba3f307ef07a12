"""The tables of runs and of what was enqueued, and the locks and partitions that go with a run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from streamworkers.database import Connection
from streamworkers.engine.job import RunRequest

OPEN_RUN_STATES = ("PENDING", "RUNNING")
SCHEDULES_NOTIFY = "streamworkers_schedules"  # PostgreSQL's channel; the triggers of `schedules` use it too
_ENQUEUE_LOCKS = 0x5357  # any fixed number: the class of our advisory locks

_SELECT_RUN = """
    SELECT id, job, queue, status, timeframe, as_of, parameters, run_day, max_attempts, item_count,
        enqueued_at IS NOT NULL, schedule
    FROM runs
"""
_SELECT_UNFINISHED = """
    SELECT id, job, queue, status, timeframe, as_of, parameters, run_day, max_attempts, item_count,
        enqueued_at IS NOT NULL, schedule, floor(extract(epoch FROM enqueued_at) * 1000)::bigint
    FROM runs WHERE status IN ('PENDING', 'RUNNING')
"""
_INSERT_RUN = """
    INSERT INTO runs (job, queue, target, timeframe, as_of, parameters, idempotency_key, item_count, max_attempts,
                      trigger, schedule_id, schedule, scheduled_for, external_id, requested_by)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (idempotency_key) DO NOTHING RETURNING id
"""
_ADD_COUNT = "INSERT INTO enqueued_counts (queue, job, items) VALUES (%s, %s, %s)"
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

    @property
    def is_open(self) -> bool:
        """True until the run has ended."""
        return self.status in OPEN_RUN_STATES


class UnfinishedRun(NamedTuple):
    """An open run, and when all its entries were in the stream, in Unix milliseconds, if they ever were."""

    run: Run
    enqueued_ms: int | None


def create_run(connection: Connection, request: RunRequest, queue: str, max_attempts: int) -> tuple[Run, bool]:
    """Insert a run and its items in one transaction.

    Returns the run and True, or, if the idempotency key is taken, the run that has it and False.
    """
    with connection.transaction():
        row = connection.execute(
            _INSERT_RUN,
            (
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
            ),
        ).fetchone()
        if row is None:
            existing = connection.execute(
                _SELECT_RUN + "WHERE idempotency_key = %s", (request.idempotency_key,)
            ).fetchone()
            assert existing is not None
            return Run(*existing), False
        run = load_run(connection, row[0])
        assert run is not None
        connection.execute("SELECT ensure_run_items_partition(%s)", (run.run_day,))
        with connection.cursor().copy(_COPY_ITEMS) as copy:
            copy.set_types(["date", "int8", "int4", "text", "text"])
            for seq, (symbol, timeframe) in enumerate(request.items()):
                copy.write_row((run.run_day, run.id, seq, symbol, timeframe))
        connection.execute(_ADD_COUNT, (queue, run.job, run.item_count))
    return run, True


def fold_enqueued_counts(connection: Connection, limit: int) -> None:
    """Move the counts of up to `limit` runs to the totals of their jobs; the sum of both stays the same."""
    connection.execute(_FOLD_COUNTS, (limit,))


def load_run(connection: Connection, run_id: int) -> Run | None:
    """Return the run of that id, or None."""
    row = connection.execute(_SELECT_RUN + "WHERE id = %s", (run_id,)).fetchone()
    return Run(*row) if row else None


def is_key_taken(connection: Connection, idempotency_keys: Sequence[str]) -> bool:
    """True if a run has one of these keys."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM runs WHERE idempotency_key = ANY(%s))", (list(idempotency_keys),)
    ).fetchone()
    assert row is not None
    return bool(row[0])


def mark_enqueued(connection: Connection, run_id: int) -> None:
    """Record that all entries of a run are in the stream."""
    with connection.transaction():
        # Not worth waiting for the disk: if it is lost, the reconciler adds the entries and records it again.
        connection.execute("SET LOCAL synchronous_commit TO off")
        connection.execute("UPDATE runs SET enqueued_at = clock_timestamp() WHERE id = %s", (run_id,))


def mark_running(connection: Connection, run_id: int) -> None:
    """Record that a worker took the first item of a run."""
    connection.execute(
        "UPDATE runs SET status = 'RUNNING', started_at = clock_timestamp() WHERE id = %s AND status = 'PENDING'",
        (run_id,),
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
    """Return the next open runs of a queue, by id, that were neither made nor enqueued since `before`.

    The pause keeps the reconciler away from an enqueue in progress.
    """
    rows = connection.execute(
        _SELECT_UNFINISHED
        + "AND queue = %s AND id > %s AND coalesce(enqueued_at, created_at) < %s ORDER BY id LIMIT %s",
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
