"""Changes of a run's state: its end, and what people do to it (cancel, reopen, purge)."""

from collections.abc import Sequence

from streamworkers.database import Connection
from streamworkers.engine.ledger.items import OPEN_STATES, count_items
from streamworkers.engine.ledger.outbox import add_events
from streamworkers.engine.ledger.runs import OPEN_RUN_STATES, SCHEDULES_NOTIFY, Run, load_run
from streamworkers.engine.outcome import Event
from streamworkers.engine.redis.keys import ERRORS_CHANNEL

MOST_FAILURES_SENT = 10
_REOPEN_RUN = """
    UPDATE runs SET status = 'RUNNING', enqueued_at = NULL, completed_at = NULL, completed_count = NULL,
        failed_count = NULL, cancelled_count = NULL, status_notified = false
    WHERE id = %s
"""
_REOPEN_ITEMS = """
    UPDATE run_items SET status = 'pending', generation = generation + 1, attempt = 0, error = NULL, finished_at = NULL
    WHERE run_day = %s AND run_id = %s AND status = ANY(%s) AND (%s::int[] IS NULL OR seq = ANY(%s))
        AND NOT coalesce(result ? 'purged', false)
    RETURNING seq
"""
_CANCEL_OPEN_ITEMS = """
    UPDATE run_items SET status = 'cancelled', finished_at = clock_timestamp()
    WHERE run_day = %s AND run_id = %s AND status IN ('pending', 'retrying')
"""


def close_run(connection: Connection, run: Run) -> tuple[str | None, int]:
    """Close a run that has no open items.

    Returns the state that this call gave it, or None if it closed nothing, and the number of open items.
    """
    with connection.transaction():
        if not _lock_run(connection, run.id, prepared=True):
            return None, 0
        counts = count_items(connection, run)
        open_count = sum(counts.get(state, 0) for state in OPEN_STATES)
        if open_count:
            return None, open_count
        completed, failed = counts.get("completed", 0), counts.get("failed", 0)
        status = "COMPLETED" if failed == 0 else "COMPLETED_WITH_ERRORS" if completed else "FAILED"
        connection.execute(
            """
            UPDATE runs SET status = %s, completed_at = clock_timestamp(),
                started_at = coalesce(started_at, created_at),
                completed_count = %s, failed_count = %s, cancelled_count = %s
            WHERE id = %s
            """,
            (status, completed, failed, counts.get("cancelled", 0), run.id),
        )
        if failed:
            add_events(connection, [_failure_event(connection, run, status, failed)])
        _notify_scheduler(connection, run)
    return status, 0


def cancel_run(connection: Connection, run: Run) -> int | None:
    """Cancel a run and its open items; returns the number of items cancelled, or None if the run had ended."""
    with connection.transaction():
        row = connection.execute(
            """
            UPDATE runs SET status = 'CANCELLED', completed_at = clock_timestamp()
            WHERE id = %s AND status IN ('PENDING', 'RUNNING') RETURNING id
            """,
            (run.id,),
        ).fetchone()
        if row is None:
            return None
        cancelled = connection.execute(_CANCEL_OPEN_ITEMS, (run.run_day, run.id)).rowcount
        counts = count_items(connection, run)
        connection.execute(
            "UPDATE runs SET completed_count = %s, failed_count = %s, cancelled_count = %s WHERE id = %s",
            (counts.get("completed", 0), counts.get("failed", 0), counts.get("cancelled", 0), run.id),
        )
        _notify_scheduler(connection, run)
    return cancelled


def reopen_items(connection: Connection, run: Run, states: Sequence[str], seqs: Sequence[int] | None) -> list[int]:
    """Reopen closed items of a run at attempt 1, keeping their history, and the run with them; returns the seqs."""
    with connection.transaction():
        _lock_run(connection, run.id)
        rows = connection.execute(_REOPEN_ITEMS, (run.run_day, run.id, list(states), seqs, seqs))
        reopened = sorted(seq for (seq,) in rows)
        if reopened:
            connection.execute(_REOPEN_RUN, (run.id,))
    return reopened


def purge_items(connection: Connection, run: Run, seqs: Sequence[int]) -> int:
    """Give dead items up for good: they become `cancelled` and keep their error; the run's counts follow."""
    with connection.transaction():
        _lock_run(connection, run.id)
        purged = connection.execute(
            """
            UPDATE run_items SET status = 'cancelled', result = '{"purged": true}'
            WHERE run_day = %s AND run_id = %s AND status = 'failed' AND seq = ANY(%s)
            """,
            (run.run_day, run.id, list(seqs)),
        ).rowcount
        connection.execute(
            """
            UPDATE runs SET failed_count = failed_count - %s, cancelled_count = cancelled_count + %s
            WHERE id = %s AND completed_at IS NOT NULL
            """,
            (purged, purged, run.id),
        )
    return purged


def repair_ended_run(connection: Connection, run: Run) -> bool:
    """Make an ended run agree with its open items: they are cancelled with it, or it is reopened for them.

    Returns True if it was reopened and is to be enqueued.
    """
    with connection.transaction():
        if _lock_run(connection, run.id):
            return False
        now = load_run(connection, run.id)
        if now is None or now.status != "CANCELLED":
            return bool(reopen_items(connection, run, OPEN_STATES, None))
        cancelled = connection.execute(_CANCEL_OPEN_ITEMS, (run.run_day, run.id)).rowcount
        connection.execute("UPDATE runs SET cancelled_count = cancelled_count + %s WHERE id = %s", (cancelled, run.id))
    return False


def _failure_event(connection: Connection, run: Run, status: str, failed: int) -> Event:
    """Return the event that reports failed items of a run, with the errors of the first ones."""
    rows = connection.execute(
        """
        SELECT symbol, timeframe, attempt, error FROM run_items
        WHERE run_day = %s AND run_id = %s AND status = 'failed' ORDER BY seq LIMIT %s
        """,
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


def _notify_scheduler(connection: Connection, run: Run) -> None:
    """Wake the schedulers that wait for the end of a scheduled run; without it they would look within a second."""
    if run.schedule is not None:
        connection.execute("SELECT pg_notify(%s, '')", (SCHEDULES_NOTIFY,))


def _lock_run(connection: Connection, run_id: int, *, prepared: bool = False) -> bool:
    """Lock a run's row to the end of the transaction, before its items change; False if it has ended.

    With `prepared`, also False if it has no items yet.
    """
    row = connection.execute(
        "SELECT status, prepared_at IS NOT NULL FROM runs WHERE id = %s FOR UPDATE", (run_id,)
    ).fetchone()
    return row is not None and row[0] in OPEN_RUN_STATES and (row[1] or not prepared)
