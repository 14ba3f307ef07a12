"""The end of a run in the ledger, and what people change of runs: cancel, open again, purge."""

from collections.abc import Sequence

from streamworkers.database import Connection
from streamworkers.engine.ledger.runs import (
    OPEN_RUN_STATES,
    OPEN_STATES,
    SCHEDULES_NOTIFY,
    Run,
    add_events,
    count_items,
    load_run,
)
from streamworkers.engine.outcome import Event
from streamworkers.engine.redis.keys import ERRORS_CHANNEL

MOST_FAILURES_SENT = 10


def complete_run(connection: Connection, run: Run) -> tuple[str | None, int]:
    """Close a run none of whose items is open.

    Returns the state that this call gave it, or None when it was not this call that closed it, and the open items.
    """
    with connection.transaction():
        if not _lock_run(connection, run.id):
            return None, 0
        counts = count_items(connection, run)
        open_count = sum(counts.get(state, 0) for state in OPEN_STATES)
        if open_count:
            return None, open_count
        completed, failed = counts.get("completed", 0), counts.get("failed", 0)
        status = "COMPLETED" if failed == 0 else "COMPLETED_WITH_ERRORS" if completed else "FAILED"
        connection.execute(
            "UPDATE runs SET status = %s, completed_at = clock_timestamp(), completed_count = %s,"
            " started_at = coalesce(started_at, created_at), failed_count = %s, cancelled_count = %s WHERE id = %s",
            (status, completed, failed, counts.get("cancelled", 0), run.id),
        )
        if failed:
            add_events(connection, [_failure_event(connection, run, status, failed)])
        _tell_scheduler(connection, run)
    return status, 0


def cancel_run(connection: Connection, run: Run) -> int | None:
    """Close a run and its open items as cancelled; returns the number of items, or None when it had ended."""
    with connection.transaction():
        row = connection.execute(
            "UPDATE runs SET status = 'CANCELLED', completed_at = clock_timestamp() WHERE id = %s"
            " AND status IN ('PENDING', 'RUNNING') RETURNING id",
            (run.id,),
        ).fetchone()
        if row is None:
            return None
        cursor = connection.execute(
            "UPDATE run_items SET status = 'cancelled', finished_at = clock_timestamp()"
            " WHERE run_day = %s AND run_id = %s AND status IN ('pending', 'retrying')",
            (run.run_day, run.id),
        )
        counts = count_items(connection, run)
        connection.execute(
            "UPDATE runs SET completed_count = %s, failed_count = %s, cancelled_count = %s WHERE id = %s",
            (counts.get("completed", 0), counts.get("failed", 0), counts.get("cancelled", 0), run.id),
        )
        _tell_scheduler(connection, run)
    return cursor.rowcount


def reopen_items(connection: Connection, run: Run, states: Sequence[str], seqs: Sequence[int] | None) -> list[int]:
    """Open closed items of a run again at attempt 1, keeping their history, and the run with them; returns the seqs."""
    with connection.transaction():
        _lock_run(connection, run.id)
        rows = connection.execute(
            "UPDATE run_items SET status = 'pending', generation = generation + 1, attempt = 0, error = NULL,"
            " finished_at = NULL"
            " WHERE run_day = %s AND run_id = %s AND status = ANY(%s) AND (%s::int[] IS NULL OR seq = ANY(%s))"
            " AND NOT coalesce(result ? 'purged', false) RETURNING seq",
            (run.run_day, run.id, list(states), seqs, seqs),
        )
        reopened = sorted(seq for (seq,) in rows)
        if reopened:
            connection.execute(
                "UPDATE runs SET status = 'RUNNING', enqueued_at = NULL, completed_at = NULL,"
                " completed_count = NULL, failed_count = NULL, cancelled_count = NULL, status_notified = false"
                " WHERE id = %s",
                (run.id,),
            )
    return reopened


def purge_items(connection: Connection, run: Run, seqs: Sequence[int]) -> int:
    """Give dead items up for good: they become `cancelled` and keep their error; the run's counts follow."""
    with connection.transaction():
        _lock_run(connection, run.id)
        cursor = connection.execute(
            "UPDATE run_items SET status = 'cancelled', result = '{\"purged\": true}'"
            " WHERE run_day = %s AND run_id = %s AND status = 'failed'"
            " AND seq = ANY(%s)",
            (run.run_day, run.id, list(seqs)),
        )
        connection.execute(
            "UPDATE runs SET failed_count = failed_count - %s, cancelled_count = cancelled_count + %s"
            " WHERE id = %s AND completed_at IS NOT NULL",
            (cursor.rowcount, cursor.rowcount, run.id),
        )
    return cursor.rowcount


def repair_ended_run(connection: Connection, run: Run) -> bool:
    """Make an ended run agree with items of it that are open: cancelled with it, or it is open again for them.

    Returns whether it is open again, and to be enqueued.
    """
    with connection.transaction():
        if _lock_run(connection, run.id):
            return False
        now = load_run(connection, run.id)
        if now is None or now.status != "CANCELLED":
            return bool(reopen_items(connection, run, OPEN_STATES, None))
        stray = connection.execute(
            "UPDATE run_items SET status = 'cancelled', finished_at = clock_timestamp()"
            " WHERE run_day = %s AND run_id = %s AND status IN ('pending', 'retrying')",
            (run.run_day, run.id),
        ).rowcount
        connection.execute("UPDATE runs SET cancelled_count = cancelled_count + %s WHERE id = %s", (stray, run.id))
    return False


def _failure_event(connection: Connection, run: Run, status: str, failed: int) -> Event:
    """That items of a run failed, and why the first of them did."""
    rows = connection.execute(
        "SELECT symbol, timeframe, attempt, error FROM run_items"
        " WHERE run_day = %s AND run_id = %s AND status = 'failed' ORDER BY seq LIMIT %s",
        (run.run_day, run.id, MOST_FAILURES_SENT),
    ).fetchall()
    return Event(
        ERRORS_CHANNEL,
        {
            "schema_version": 1,
            "kind": "run_failed",
            "run_id": run.id,
            "job": run.job,
            "schedule": run.schedule,
            "status": status,
            "items": run.item_count,
            "failed": failed,
            "failures": [
                {"symbol": symbol, "timeframe": timeframe, "attempt": attempt, "error": error}
                for symbol, timeframe, attempt, error in rows
            ],
        },
    )


def _tell_scheduler(connection: Connection, run: Run) -> None:
    """Wake those that wait for the end of a scheduled run: they would look within a second anyway."""
    if run.schedule is not None:
        connection.execute("SELECT pg_notify(%s, '')", (SCHEDULES_NOTIFY,))


def _lock_run(connection: Connection, run_id: int) -> bool:
    """Lock a run's row to the end of the transaction, before its items are counted or opened; False if it has ended."""
    row = connection.execute("SELECT status FROM runs WHERE id = %s FOR UPDATE", (run_id,)).fetchone()
    return row is not None and row[0] in OPEN_RUN_STATES
