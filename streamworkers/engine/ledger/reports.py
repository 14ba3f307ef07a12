"""What people ask of runs and items: lists, progress, dead items, statistics. Reads only."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from streamworkers.database import Connection, fetch_row, fetch_rows
from streamworkers.engine.ledger.item_lists import ItemFilter, list_items, read_item_row
from streamworkers.engine.ledger.runs import PRIORITY_OF_RUN, Run
from streamworkers.engine.ledger.webhooks import WEBHOOK_OF_RUN

Row = dict[str, Any]

_RUN = f"""
    SELECT id AS run_id, job, split_part(queue, '/', 1) AS queue, {PRIORITY_OF_RUN},
        status, target, timeframe, as_of, item_count, completed_count, failed_count,
        cancelled_count, stale_count,
        CASE WHEN stale_count IS NOT NULL AND jsonb_typeof(parameters -> 'max_stale') = 'number'
             THEN greatest(0, least(1, (parameters -> 'max_stale')::numeric))::float8 END AS max_stale,
        created_at, prepared_at, enqueued_at, started_at, completed_at, max_attempts,
        coalesce(idempotency_key, submit_key) AS idempotency_key, trigger, schedule, scheduled_for, external_id,
        requested_by, submitted_by, reason, start_at, is_waiting AND status = 'PENDING' AS is_waiting,
        (SELECT jsonb_agg(jsonb_build_object('run_id', d.awaited_id, 'needs', d.needs, 'status', a.status)
                          ORDER BY d.awaited_id)
         FROM run_dependencies d LEFT JOIN runs a ON a.id = d.awaited_id WHERE d.run_id = r.id) AS "after",
        {WEBHOOK_OF_RUN},
        extract(epoch FROM coalesce(completed_at, clock_timestamp()) - started_at)::float8 AS seconds
    FROM runs r
"""  # noqa: S608  # constants
_LIST_RUNS = (
    _RUN
    + """
    WHERE (%(job)s::text IS NULL OR job = %(job)s) AND (%(status)s::text IS NULL OR status = %(status)s)
        AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
    ORDER BY id DESC LIMIT %(limit)s
"""
)
_OPEN_RUNS = f"""
    SELECT r.id AS run_id, r.job, split_part(r.queue, '/', 1) AS queue, {PRIORITY_OF_RUN},
        r.status, r.target, r.schedule, r.created_at, r.item_count, r.started_at, r.parameters, c.closed, c.failed
    FROM runs r CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE status NOT IN ('pending', 'retrying')) AS closed,
            count(*) FILTER (WHERE status = 'failed') AS failed
        FROM run_items i WHERE i.run_day = r.run_day AND i.run_id = r.id) c
    WHERE r.status IN ('PENDING', 'RUNNING') ORDER BY r.id DESC LIMIT %s
"""  # noqa: S608  # constants
_STATISTICS = """
    SELECT job, count(*) AS runs, count(*) FILTER (WHERE status = 'COMPLETED') AS succeeded,
        count(*) FILTER (WHERE status = 'COMPLETED_WITH_ERRORS') AS with_errors,
        count(*) FILTER (WHERE status = 'FAILED') AS failed,
        count(*) FILTER (WHERE status = 'CANCELLED') AS cancelled,
        sum(completed_count)::bigint AS items_completed, sum(failed_count)::bigint AS items_failed,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS p50_seconds,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95_seconds, max(seconds) AS max_seconds
    FROM (SELECT *, extract(epoch FROM completed_at - started_at)::float8 AS seconds
          FROM runs WHERE completed_at >= %s) ended
    GROUP BY job ORDER BY job
"""
_OF_DEAD = (*("run_id", "seq", "job", "symbol", "timeframe", "attempt", "error", "worker", "finished_at", "history"),)
_ERRORS = """
    WITH errors AS (
        SELECT error, count(*) AS items, count(*) OVER () AS "distinct" FROM run_items
        WHERE run_day = %(day)s AND run_id = %(run)s AND status IN ('failed', 'retrying') AND error IS NOT NULL
        GROUP BY error ORDER BY items DESC, error LIMIT %(limit)s)
    SELECT e.*, newest.* FROM errors e CROSS JOIN LATERAL (
        SELECT i.run_id || ':' || i.seq AS item, i.symbol, i.status, i.attempt, i.worker,
            i.history -> -1 ->> 'at' AS at, i.history -> -1 ->> 'stack' AS stack
        FROM run_items i
        WHERE i.run_day = %(day)s AND i.run_id = %(run)s AND i.status IN ('failed', 'retrying') AND i.error = e.error
        ORDER BY coalesce(i.finished_at, i.started_at) DESC NULLS LAST, i.seq LIMIT 1) newest
    ORDER BY e.items DESC, e.error
"""
_RUNS_TO_NOTIFY = """
    SELECT r.id AS run_id, r.external_id, r.job, r.status, r.created_at, r.started_at, r.completed_at, r.item_count,
        r.failed_count, r.parameters, c.closed, l.symbol AS last_symbol, l.timeframe AS last_timeframe
    FROM runs r
    CROSS JOIN LATERAL (
        SELECT count(*) AS closed FROM run_items i
        WHERE i.run_day = r.run_day AND i.run_id = r.id AND i.status IN ('completed', 'failed', 'cancelled')) c
    LEFT JOIN LATERAL (
        SELECT symbol, timeframe FROM run_items i
        WHERE i.run_day = r.run_day AND i.run_id = r.id AND i.finished_at IS NOT NULL
        ORDER BY i.finished_at DESC LIMIT 1) l ON true
    WHERE r.external_id IS NOT NULL AND NOT r.status_notified AND r.external_id IN (
        SELECT external_id FROM runs WHERE external_id IS NOT NULL AND NOT status_notified
        GROUP BY external_id ORDER BY bool_or(status IN ('PENDING', 'RUNNING')), min(id) LIMIT %s)
    ORDER BY r.id
"""
_LOADED_BARS = """
    SELECT timeframe, count(*) AS items, count(*) FILTER (WHERE status = 'completed') AS completed,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        coalesce(sum(CASE WHEN jsonb_typeof(result -> 'bars') = 'number' THEN (result -> 'bars')::numeric END)
                 FILTER (WHERE result @? '$.bars ? (@ < 1000000000000)'), 0)::bigint AS bars,
        coalesce(sum(CASE WHEN jsonb_typeof(result -> 'missing_bars') = 'number'
                          THEN (result -> 'missing_bars')::numeric END)
                 FILTER (WHERE result @? '$.missing_bars ? (@ < 1000000000000)'), 0)::bigint AS missing_bars,
        count(*) FILTER (WHERE result ? 'rejected') AS with_rejected,
        min(result ->> 'why') FILTER (WHERE result -> 'bars' = '0') AS why,
        min(result ->> 'history_from') AS history_from,
        coalesce(array_agg(symbol ORDER BY seq) FILTER (WHERE status = 'completed'), '{}') AS symbols
    FROM run_items WHERE run_day = %s AND run_id = %s GROUP BY timeframe ORDER BY min(seq)
"""
# Of runs about the same, the newest counts: once it has its bars, nothing is wrong any more.
_STALE_RUNS = """
    SELECT run_id, job, timeframe, target, schedule, as_of, stale_count, item_count FROM (
        SELECT DISTINCT ON (job, timeframe, target) id AS run_id, job, timeframe, target, schedule, as_of, stale_count,
            item_count, parameters
        FROM runs WHERE completed_at >= %s AND stale_count IS NOT NULL ORDER BY job, timeframe, target, id DESC) newest
    WHERE CASE WHEN stale_count IS NOT NULL AND jsonb_typeof(parameters -> 'max_stale') = 'number'
               THEN stale_count > greatest(0, least(1, (parameters -> 'max_stale')::numeric))::float8 * item_count END
    ORDER BY run_id DESC LIMIT %s
"""
_RUN_STATES = """
    SELECT r.id AS run_id, r.job, r.queue, r.status, coalesce(o.open_count, 0) AS open_count,
        r.status IN ('PENDING', 'RUNNING') AS is_open, r.prepared_at IS NOT NULL AS is_prepared
    FROM runs r LEFT JOIN (
        SELECT run_day, run_id, count(*) AS open_count FROM run_items
        WHERE status IN ('pending', 'retrying') GROUP BY run_day, run_id) o ON o.run_day = r.run_day AND o.run_id = r.id
    WHERE r.status IN ('PENDING', 'RUNNING') OR o.open_count > 0 ORDER BY r.id
"""


@dataclass(frozen=True, slots=True)
class DeadFilter:
    """Which dead items are wanted; every field that is set must match."""

    run_id: int | None = None
    job: str | None = None
    symbol: str | None = None
    error_like: str | None = None
    since: datetime | None = None


def list_runs(
    connection: Connection, *, job: str | None, status: str | None, limit: int, since: datetime | None = None
) -> list[Row]:
    """Return the newest runs; `since` leaves out runs that were made earlier."""
    return fetch_rows(connection, _LIST_RUNS, {"job": job, "status": status, "limit": limit, "since": since})


def list_open_runs(connection: Connection, limit: int) -> list[Row]:
    """Return the newest open runs, with their closed and failed items."""
    return fetch_rows(connection, _OPEN_RUNS, (limit,))


def read_run_statistics(connection: Connection, since: datetime) -> list[Row]:
    """Return for each job its runs that ended since then, how many succeeded, and how long they took, in seconds."""
    return fetch_rows(connection, _STATISTICS, (since,))


def count_dead_by_queue(connection: Connection) -> dict[str, int]:
    """Count the dead items of ended runs by queue; queues without any are absent."""
    rows = connection.execute(
        """
        SELECT split_part(queue, '/', 1) AS name, sum(failed_count)::bigint
        FROM runs WHERE failed_count > 0 GROUP BY name
        """
    )
    return dict(rows.fetchall())


def read_run(connection: Connection, run_id: int) -> Row | None:
    """Return one run as `list_runs` does, or None."""
    return fetch_row(connection, _RUN + " WHERE id = %s", (run_id,))


def list_items_with_result(connection: Connection, run: Run, key: str, limit: int) -> list[tuple[str, Any]]:
    """Return (symbol, value) of completed items whose result has a key, by symbol."""
    return connection.execute(
        """
        SELECT symbol, result -> %s FROM run_items
        WHERE run_day = %s AND run_id = %s AND status = 'completed' AND result ? %s ORDER BY symbol LIMIT %s
        """,
        (key, run.run_day, run.id, key, limit),
    ).fetchall()


def list_item_results(connection: Connection, run: Run) -> list[tuple[str, Any]]:
    """Return (symbol, result) of every completed item that has a result, by seq."""
    return connection.execute(
        """
        SELECT symbol, result FROM run_items
        WHERE run_day = %s AND run_id = %s AND status = 'completed' AND result IS NOT NULL ORDER BY seq
        """,
        (run.run_day, run.id),
    ).fetchall()


def list_failed_items(connection: Connection, run: Run, limit: int) -> list[Row]:
    """Return dead items of a run by seq: symbol, timeframe, attempt, error."""
    return fetch_rows(
        connection,
        """
        SELECT seq, symbol, timeframe, attempt, error, finished_at FROM run_items
        WHERE run_day = %s AND run_id = %s AND status = 'failed' ORDER BY seq LIMIT %s
        """,
        (run.run_day, run.id, limit),
    )


def list_errors(connection: Connection, run: Run, limit: int) -> list[Row]:
    """Return the distinct errors of a run's failed and retrying items, the most frequent first.

    Each has the number of its items, the newest of them, and the stack of that one. `distinct` is the number of all
    distinct errors.
    """
    return fetch_rows(connection, _ERRORS, {"day": run.run_day, "run": run.id, "limit": limit})


def list_dead_items(connection: Connection, wanted: DeadFilter, limit: int) -> list[Row]:
    """Return dead items of all runs, newest run first. Runs that ended without one are not searched."""
    dead = ItemFilter(wanted.run_id, wanted.job, symbol=wanted.symbol, status="failed", error=wanted.error_like)
    rows = list_items(connection, replace(dead, ended_since=wanted.since), limit, with_history=True)
    return [{name: row[name] for name in _OF_DEAD} for row in rows]


def read_dead_item(connection: Connection, run: Run, seq: int) -> Row | None:
    """Return one dead item with its history, or None."""
    row = read_item_row(connection, run, seq)
    return None if row is None or row["status"] != "failed" else row


def list_rejected(connection: Connection, queue: str | None, limit: int) -> list[Row]:
    """Return rejected entries, the newest first, without their bytes."""
    return fetch_rows(
        connection,
        """
        SELECT id, queue, entry_id, reason, size, rejected_at FROM rejected_entries
        WHERE %(queue)s::text IS NULL OR queue = %(queue)s ORDER BY id DESC LIMIT %(limit)s
        """,
        {"queue": queue, "limit": limit},
    )


def read_rejected(connection: Connection, entry: int) -> Row | None:
    """Return one rejected entry with its bytes, or None."""
    return fetch_row(
        connection,
        "SELECT id, queue, entry_id, reason, size, rejected_at, payload FROM rejected_entries WHERE id = %s",
        (entry,),
    )


def list_runs_to_notify(connection: Connection, jobs: int) -> list[Row]:
    """Return the runs of up to so many job ids whose status hash does not show their end yet.

    Each row has the number of closed items and the last of them. Ended runs come first, then the oldest.
    """
    return fetch_rows(connection, _RUNS_TO_NOTIFY, (jobs,))


def sum_loaded_bars(connection: Connection, run: Run) -> list[Row]:
    """Return by timeframe the items of a run that loads bars by state, and the sums of their results.

    `symbols` are those of completed items.
    """
    return fetch_rows(connection, _LOADED_BARS, (run.run_day, run.id))


def list_unprepared(connection: Connection, seconds: float, limit: int) -> list[Row]:
    """Return the oldest submitted runs that have waited for longer to be prepared: run_id, job, since.

    A run that waits for a moment or for other runs is one of them when nobody has looked at it for as long.
    """
    return fetch_rows(
        connection,
        """
        SELECT id AS run_id, job, coalesce(ready_at, created_at) AS since FROM runs
        WHERE prepared_at IS NULL AND status = 'PENDING' AND NOT is_waiting
            AND coalesce(ready_at, created_at) < now() - make_interval(secs => %(seconds)s)
        UNION ALL
        SELECT r.id, r.job, c.at FROM run_checks c JOIN runs r ON r.id = c.run_id
        WHERE c.at < now() - make_interval(secs => %(seconds)s) AND r.is_waiting AND r.status = 'PENDING'
        ORDER BY run_id LIMIT %(limit)s
        """,
        {"seconds": seconds, "limit": limit},
    )


def list_stale_runs(connection: Connection, since: datetime, limit: int) -> list[Row]:
    """Return the newest runs that ended since then with too many stale items, of runs with one target the newest."""
    return fetch_rows(connection, _STALE_RUNS, (since, limit))


def list_run_states(connection: Connection) -> list[Row]:
    """Return every run that is open or has open items, with their number, in one snapshot.

    No index holds an item's state, so this reads all items that are kept.
    """
    return fetch_rows(connection, _RUN_STATES)


def count_open_runs(connection: Connection) -> dict[str, int]:
    """Count the open runs by the lane that has their entries; '' has those that are not prepared yet."""
    statement = "SELECT queue, count(*) FROM runs WHERE status IN ('PENDING', 'RUNNING') GROUP BY queue"
    return dict(connection.execute(statement).fetchall())


def read_enqueued_totals(connection: Connection) -> list[tuple[tuple[str, str], int]]:
    """Return ((queue, job), number of items ever enqueued)."""
    rows = connection.execute(
        """
        SELECT queue, job, sum(items)::bigint FROM (
            SELECT queue, job, items_enqueued AS items FROM enqueued_totals
            UNION ALL SELECT queue, job, items FROM enqueued_counts
        ) AS counted GROUP BY queue, job ORDER BY queue, job
        """
    )
    return [((queue, job), count) for queue, job, count in rows]


def count_runs_by_state(connection: Connection) -> list[tuple[tuple[str, str], int]]:
    """Return ((job, state), number of runs in the ledger)."""
    rows = connection.execute("SELECT job, status, count(*) FROM runs GROUP BY job, status")
    return [((job, status), count) for job, status, count in rows]
