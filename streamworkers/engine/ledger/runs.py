"""The table of runs, and the lock and the partitions that go with a run."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from streamworkers.database import Connection
from streamworkers.engine.redis.queue import ADD_AT_ONCE

OPEN_RUN_STATES = ("PENDING", "RUNNING")
SCHEDULES_NOTIFY = "streamworkers_schedules"  # PostgreSQL's channel; the triggers of `schedules` use it too
_ENQUEUE_LOCKS = 0x5357  # any fixed number: the class of our advisory locks

RUN_COLUMNS = (
    "id, job, queue, status, timeframe, as_of, parameters, run_day, max_attempts, item_count, enqueued_at IS NOT NULL,"
    " schedule, prepared_at IS NOT NULL, traceparent"
)
_SELECT_RUN = f"SELECT {RUN_COLUMNS} FROM runs "  # noqa: S608  # constants
_SELECT_UNFINISHED = f"""
    SELECT {RUN_COLUMNS}, floor(extract(epoch FROM enqueued_at) * 1000)::bigint
    FROM runs WHERE status IN ('PENDING', 'RUNNING') AND prepared_at IS NOT NULL
"""  # noqa: S608
SMALL_RUN = ADD_AT_ONCE
# The priority of a run, for statements about `runs r`; null of a submitted one that names none, until it is prepared.
PRIORITY_OF_RUN = """CASE WHEN r.prepared_at IS NULL THEN r.request ->> 'priority'
        ELSE coalesce(nullif(split_part(r.queue, '/', 2), ''), 'normal') END AS priority"""


@dataclass(frozen=True, slots=True)
class Run:
    """What the pool needs to know of a run; its `queue` is the lane that has its entries."""

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
    traceparent: str | None = None

    @property
    def is_open(self) -> bool:
        """True until the run has ended."""
        return self.status in OPEN_RUN_STATES

    @property
    def is_small(self) -> bool:
        """True if its items are inserted and added to Redis in one step each."""
        return self.item_count <= SMALL_RUN

    @property
    def is_unrecorded(self) -> bool:
        """True of a small run that nobody has taken, while the ledger does not say that Redis has its entries.

        If Redis has a count of its open items, it has: the step that adds the entries sets the count of such a run, and
        nothing else does.
        """
        return self.is_small and self.status == "PENDING" and not self.is_enqueued


class UnfinishedRun(NamedTuple):
    """An open run, and when all its entries were in the stream, in Unix milliseconds, if they ever were."""

    run: Run
    enqueued_ms: int | None


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
    # Not worth waiting for the disk: if it is lost, the reconciler adds the entries and records it again. For an array,
    # a plan that is kept from the time when the table was small reads all of it.
    condition, words = ("= %s", run_ids[0]) if len(run_ids) == 1 else ("= ANY(%s)", list(run_ids))
    connection.execute(
        f"""
        WITH quickly AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
        UPDATE runs SET enqueued_at = clock_timestamp() FROM quickly WHERE id {condition}
        """,  # noqa: S608  # one of two constants
        (words,),
    )


def mark_waiting(connection: Connection, run_ids: Collection[int]) -> None:
    """Record that Redis has the entries of these runs, which were unrecorded; outside of a transaction."""
    connection.execute(
        """
        WITH quickly AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)), due AS MATERIALIZED (
            SELECT id FROM runs WHERE id = ANY(%s) AND status = 'PENDING' AND enqueued_at IS NULL ORDER BY id FOR UPDATE
        )
        UPDATE runs SET enqueued_at = clock_timestamp() FROM quickly, due WHERE runs.id = due.id
        """,
        (list(run_ids),),
    )


def mark_running(connection: Connection, run_ids: Sequence[int]) -> None:
    """Record that a worker took the first items of runs; outside of a transaction.

    The entries of a small run come into the stream all at once, so that the first of them shows that it is enqueued.
    """
    # Not worth waiting for the disk: the commit of their items follows, and is lost with this or not at all. The rows
    # are locked in one order, so that two workers do not wait for each other.
    connection.execute(
        """
        WITH quickly AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)), due AS MATERIALIZED (
            SELECT id FROM runs WHERE id = ANY(%s) AND status = 'PENDING' ORDER BY id FOR UPDATE
        )
        UPDATE runs SET status = 'RUNNING', started_at = clock_timestamp(),
            enqueued_at = CASE WHEN item_count <= %s THEN coalesce(enqueued_at, clock_timestamp()) ELSE enqueued_at END
        FROM quickly, due WHERE runs.id = due.id
        """,
        (list(run_ids), SMALL_RUN),
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
