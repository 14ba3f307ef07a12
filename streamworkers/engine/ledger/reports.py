"""What people ask of the job tables: runs, progress, dead items. Reads only."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from streamworkers.database import Connection
from streamworkers.engine.ledger.runs import Run

Row = dict[str, Any]

_RUN_REPORT = (
    "SELECT id AS run_id, job, queue, status, target, timeframe, as_of, item_count, completed_count, failed_count,"
    " cancelled_count, created_at, enqueued_at, started_at, completed_at, max_attempts, idempotency_key, trigger,"
    " schedule, scheduled_for, external_id, requested_by,"
    " extract(epoch FROM coalesce(completed_at, clock_timestamp()) - created_at)::float8 AS seconds"
    " FROM runs"
)


@dataclass(frozen=True, slots=True)
class DeadFilter:
    """Which dead items are meant; every field that is set must match."""

    run_id: int | None = None
    job: str | None = None
    symbol: str | None = None
    error_like: str | None = None
    since: datetime | None = None


def list_runs(
    connection: Connection, *, job: str | None, status: str | None, limit: int, since: datetime | None = None
) -> list[Row]:
    """The newest runs; `since` leaves out those that were made earlier."""
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            _RUN_REPORT + " WHERE (%(job)s::text IS NULL OR job = %(job)s)"
            " AND (%(status)s::text IS NULL OR status = %(status)s)"
            " AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s) ORDER BY id DESC LIMIT %(limit)s",
            {"job": job, "status": status, "limit": limit, "since": since},
        )
        .fetchall()
    )


def open_runs(connection: Connection, limit: int) -> list[Row]:
    """The newest open runs, with their closed and failed items."""
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            "SELECT r.id AS run_id, r.job, r.queue, r.status, r.target, r.schedule, r.created_at, r.item_count,"
            " c.closed, c.failed FROM runs r CROSS JOIN LATERAL"
            " (SELECT count(*) FILTER (WHERE status NOT IN ('pending', 'retrying')) AS closed,"
            "   count(*) FILTER (WHERE status = 'failed') AS failed"
            "  FROM run_items i WHERE i.run_day = r.run_day AND i.run_id = r.id) c"
            " WHERE r.status IN ('PENDING', 'RUNNING') ORDER BY r.id DESC LIMIT %s",
            (limit,),
        )
        .fetchall()
    )


def run_statistics(connection: Connection, since: datetime) -> list[Row]:
    """Of each job: its ended runs since then, how many succeeded, and how long they took, in seconds."""
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            "SELECT job, count(*) AS runs, count(*) FILTER (WHERE status = 'COMPLETED') AS succeeded,"
            " count(*) FILTER (WHERE status = 'COMPLETED_WITH_ERRORS') AS with_errors,"
            " count(*) FILTER (WHERE status = 'FAILED') AS failed,"
            " count(*) FILTER (WHERE status = 'CANCELLED') AS cancelled,"
            " sum(completed_count)::bigint AS items_completed, sum(failed_count)::bigint AS items_failed,"
            " percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS p50_seconds,"
            " percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95_seconds, max(seconds) AS max_seconds"
            " FROM (SELECT *, extract(epoch FROM completed_at - started_at)::float8 AS seconds"
            "  FROM runs WHERE completed_at >= %s) ended GROUP BY job ORDER BY job",
            (since,),
        )
        .fetchall()
    )


def dead_by_queue(connection: Connection) -> dict[str, int]:
    """The dead items of ended runs, by queue; queues without any are absent."""
    rows = connection.execute("SELECT queue, sum(failed_count)::bigint FROM runs WHERE failed_count > 0 GROUP BY queue")
    return dict(rows.fetchall())


def run_report(connection: Connection, run_id: int) -> Row | None:
    """One run as `list_runs` gives it, or None."""
    return connection.cursor(row_factory=dict_row).execute(_RUN_REPORT + " WHERE id = %s", (run_id,)).fetchone()


def items_with_result(connection: Connection, run: Run, key: str, limit: int) -> list[tuple[str, Any]]:
    """(symbol, value) of completed items whose result has a key, by symbol."""
    return connection.execute(
        "SELECT symbol, result -> %s FROM run_items WHERE run_day = %s AND run_id = %s AND status = 'completed'"
        " AND result ? %s ORDER BY symbol LIMIT %s",
        (key, run.run_day, run.id, key, limit),
    ).fetchall()


def item_results(connection: Connection, run: Run) -> list[tuple[str, Any]]:
    """(symbol, result) of every completed item that has a result, by seq."""
    return connection.execute(
        "SELECT symbol, result FROM run_items WHERE run_day = %s AND run_id = %s AND status = 'completed'"
        " AND result IS NOT NULL ORDER BY seq",
        (run.run_day, run.id),
    ).fetchall()


def failed_items(connection: Connection, run: Run, limit: int) -> list[Row]:
    """Dead items of a run by seq: symbol, timeframe, attempt, error."""
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            "SELECT seq, symbol, timeframe, attempt, error, finished_at FROM run_items"
            " WHERE run_day = %s AND run_id = %s AND status = 'failed' ORDER BY seq LIMIT %s",
            (run.run_day, run.id, limit),
        )
        .fetchall()
    )


def dead_items(connection: Connection, wanted: DeadFilter, limit: int) -> list[Row]:
    """Dead items of all runs, newest first. Runs that ended without one are not searched."""
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            "SELECT i.run_id, i.seq, r.job, i.symbol, i.timeframe, i.attempt, i.error, i.worker, i.finished_at,"
            " i.history"
            " FROM runs r JOIN run_items i ON i.run_day = r.run_day AND i.run_id = r.id"
            " WHERE i.status = 'failed' AND coalesce(r.failed_count, 1) > 0"
            " AND (%(run_id)s::bigint IS NULL OR r.id = %(run_id)s)"
            " AND (%(job)s::text IS NULL OR r.job = %(job)s)"
            " AND (%(symbol)s::text IS NULL OR i.symbol = %(symbol)s)"
            " AND (%(error_like)s::text IS NULL OR strpos(lower(i.error), lower(%(error_like)s)) > 0)"
            " AND (%(since)s::timestamptz IS NULL OR i.finished_at >= %(since)s)"
            " ORDER BY i.run_id DESC, i.seq LIMIT %(limit)s",
            {
                "run_id": wanted.run_id,
                "job": wanted.job,
                "symbol": wanted.symbol,
                "error_like": wanted.error_like,
                "since": wanted.since,
                "limit": limit,
            },
        )
        .fetchall()
    )


def dead_item(connection: Connection, run: Run, seq: int) -> Row | None:
    """One dead item with its history, or None."""
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            "SELECT run_id, seq, symbol, timeframe, attempt, error, worker, started_at, finished_at, history"
            " FROM run_items WHERE run_day = %s AND run_id = %s AND seq = %s AND status = 'failed'",
            (run.run_day, run.id, seq),
        )
        .fetchone()
    )


def rejected_entries(connection: Connection, queue: str | None, limit: int) -> list[Row]:
    """Entries that were found in a queue and are no items of ours, the newest first, without their bytes."""
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            "SELECT id, queue, entry_id, reason, size, rejected_at FROM rejected_entries"
            " WHERE %(queue)s::text IS NULL OR queue = %(queue)s ORDER BY id DESC LIMIT %(limit)s",
            {"queue": queue, "limit": limit},
        )
        .fetchall()
    )


def rejected_entry(connection: Connection, entry: int) -> Row | None:
    """One rejected entry with its bytes, or None."""
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            "SELECT id, queue, entry_id, reason, size, rejected_at, payload FROM rejected_entries WHERE id = %s",
            (entry,),
        )
        .fetchone()
    )


def runs_to_notify(connection: Connection, jobs: int) -> list[Row]:
    """The runs of up to so many job ids whose end has not been told, with their closed items and the last of them.

    Those that have ended come first, then the oldest.
    """
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            "SELECT r.id AS run_id, r.external_id, r.job, r.status, r.created_at, r.started_at, r.completed_at,"
            " r.item_count, r.failed_count, c.closed, l.symbol AS last_symbol, l.timeframe AS last_timeframe"
            " FROM runs r"
            " CROSS JOIN LATERAL (SELECT count(*) AS closed FROM run_items i"
            "  WHERE i.run_day = r.run_day AND i.run_id = r.id AND i.status IN ('completed', 'failed', 'cancelled')) c"
            " LEFT JOIN LATERAL (SELECT symbol, timeframe FROM run_items i"
            "  WHERE i.run_day = r.run_day AND i.run_id = r.id AND i.finished_at IS NOT NULL"
            "  ORDER BY i.finished_at DESC LIMIT 1) l ON true"
            " WHERE r.external_id IS NOT NULL AND NOT r.status_notified AND r.external_id IN"
            "  (SELECT external_id FROM runs WHERE external_id IS NOT NULL AND NOT status_notified"
            "   GROUP BY external_id ORDER BY bool_or(status IN ('PENDING', 'RUNNING')), min(id) LIMIT %s)"
            " ORDER BY r.id",
            (jobs,),
        )
        .fetchall()
    )


def bars_by_timeframe(connection: Connection, run: Run) -> list[Row]:
    """What a run that loads bars has loaded, by timeframe: items by how they ended, and sums of what their results say.

    `symbols` are those of completed items.
    """
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            "SELECT timeframe, count(*) AS items, count(*) FILTER (WHERE status = 'completed') AS completed,"
            " count(*) FILTER (WHERE status = 'failed') AS failed,"
            " coalesce(sum((result ->> 'bars')::bigint), 0)::bigint AS bars,"
            " coalesce(sum((result ->> 'missing_bars')::bigint), 0)::bigint AS missing_bars,"
            " count(*) FILTER (WHERE result ? 'rejected') AS with_rejected,"
            " coalesce(array_agg(symbol ORDER BY seq) FILTER (WHERE status = 'completed'), '{}') AS symbols"
            " FROM run_items WHERE run_day = %s AND run_id = %s GROUP BY timeframe ORDER BY min(seq)",
            (run.run_day, run.id),
        )
        .fetchall()
    )


def run_states(connection: Connection) -> list[Row]:
    """Every run that is open or has open items, with their number, in one snapshot.

    No index holds an item's state, so it reads all items that are kept.
    """
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            "SELECT r.id AS run_id, r.job, r.queue, r.status, coalesce(o.open_count, 0) AS open_count,"
            " r.status IN ('PENDING', 'RUNNING') AS is_open"
            " FROM runs r LEFT JOIN (SELECT run_day, run_id, count(*) AS open_count FROM run_items"
            "  WHERE status IN ('pending', 'retrying') GROUP BY run_day, run_id) o"
            " ON o.run_day = r.run_day AND o.run_id = r.id"
            " WHERE r.status IN ('PENDING', 'RUNNING') OR o.open_count > 0 ORDER BY r.id"
        )
        .fetchall()
    )


def late_events(connection: Connection, seconds: float) -> int:
    """The number of events that have waited in the outbox for longer."""
    row = connection.execute(
        "SELECT count(*) FROM outbox WHERE created_at < clock_timestamp() - make_interval(secs => %s)",
        (seconds,),
    ).fetchone()
    assert row is not None
    return int(row[0])


def items_enqueued(connection: Connection) -> list[tuple[tuple[str, str], int]]:
    """((queue, job), number of items ever enqueued)."""
    rows = connection.execute("SELECT queue, job, items_enqueued FROM enqueued_totals ORDER BY queue, job")
    return [((queue, job), count) for queue, job, count in rows]


def runs_by_state(connection: Connection) -> list[tuple[tuple[str, str], int]]:
    """((job, state), number of runs that the ledger keeps)."""
    rows = connection.execute("SELECT job, status, count(*) FROM runs GROUP BY job, status")
    return [((job, status), count) for job, status, count in rows]


def outbox_state(connection: Connection) -> tuple[int, float]:
    """The number of events in the outbox, and the age of the oldest in seconds."""
    row = connection.execute(
        "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 FROM outbox"
    ).fetchone()
    assert row is not None
    return row[0], row[1]
