"""Changes of a run's state: its end, and what people do to it (cancel, reopen, purge)."""

from collections.abc import Mapping, Sequence
from typing import Any

from streamworkers.database import Connection
from streamworkers.engine.ledger.items import OPEN_STATES, count_items_of_runs, count_stale_items
from streamworkers.engine.ledger.notices import with_notices
from streamworkers.engine.ledger.outbox import add_events
from streamworkers.engine.ledger.runs import OPEN_RUN_STATES, SCHEDULES_NOTIFY, Run, load_run
from streamworkers.engine.outcome import Event
from streamworkers.engine.redis.keys import ERRORS_CHANNEL

MOST_FAILURES_SENT = 10
MAX_STALE = "max_stale"  # the parameter of jobs that say how large a share of their items may be stale
# Who opens a run again knows that it is late.
_REOPEN_RUN = """
    UPDATE runs SET status = 'RUNNING', enqueued_at = NULL, completed_at = NULL, completed_count = NULL,
        failed_count = NULL, cancelled_count = NULL, stale_count = NULL, reason = NULL, status_notified = false,
        late_at = coalesce(late_at, clock_timestamp()), reopened_at = clock_timestamp()
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


def close_runs(connection: Connection, runs: Sequence[Run]) -> tuple[dict[int, str], dict[int, int]]:
    """Close those of these runs that have no open items.

    Returns the state that this call gave to each run that it closed, and the number of open items of each run.
    """
    with connection.transaction():
        locked = _lock_prepared(connection, [run.id for run in runs])
        counts = count_items_of_runs(connection, [run for run in runs if run.id in locked])
        open_counts = {run_id: sum(states.get(state, 0) for state in OPEN_STATES) for run_id, states in counts.items()}
        done = [run for run in runs if run.id in locked and not open_counts[run.id]]
        stale = count_stale_items(connection, [run for run in done if _limit_stale(run) is not None])
        ended = {run.id: _end_state(run, counts[run.id], stale.get(run.id, 0)) for run in done}
        if done:
            _end_runs(connection, ended, counts, stale)
            _report_ends(connection, done, ended, counts, stale)
    return ended, {run.id: open_counts.get(run.id, 0) for run in runs}


def _end_state(run: Run, counts: Mapping[str, int], stale: int) -> str:
    if not counts.get("failed", 0) and not _is_too_stale(run, stale):
        return "COMPLETED"
    return "COMPLETED_WITH_ERRORS" if counts.get("completed", 0) else "FAILED"


def _limit_stale(run: Run) -> float | None:
    """The share of items that may be stale; None for a job that sets no limit."""
    limit = run.parameters.get(MAX_STALE)
    # A job of another package may mean something else by this name.
    return limit if type(limit) in (int, float) else None


def _is_too_stale(run: Run, stale: int) -> bool:
    limit = _limit_stale(run)
    return limit is not None and stale > limit * run.item_count


def _end_runs(
    connection: Connection,
    ended: Mapping[int, str],
    counts: Mapping[int, Mapping[str, int]],
    stale: Mapping[int, int],
) -> None:
    numbers = [[counts[run_id].get(state, 0) for run_id in ended] for state in ("completed", "failed", "cancelled")]
    connection.execute(
        """
        UPDATE runs r SET status = d.status, completed_at = clock_timestamp(),
            started_at = coalesce(r.started_at, r.created_at),
            completed_count = d.completed, failed_count = d.failed, cancelled_count = d.cancelled, stale_count = d.stale
        FROM unnest(%s::bigint[], %s::text[], %s::int[], %s::int[], %s::int[], %s::int[])
            AS d(id, status, completed, failed, cancelled, stale)
        WHERE r.id = d.id
        """,
        (list(ended), list(ended.values()), *numbers, [stale.get(run_id) for run_id in ended]),
    )


def _report_ends(
    connection: Connection,
    runs: Sequence[Run],
    ended: Mapping[int, str],
    counts: Mapping[int, Mapping[str, int]],
    stale: Mapping[int, int],
) -> None:
    events = [
        make_failure_event(connection, run, ended[run.id], counts[run.id].get("failed", 0), stale.get(run.id, 0))
        for run in runs
        if counts[run.id].get("failed", 0) or _is_too_stale(run, stale.get(run.id, 0))
    ]
    if events:
        add_events(connection, with_notices(connection, events))
    if any(run.schedule is not None for run in runs):
        notify_scheduler(connection)


def cancel_run(connection: Connection, run: Run, reason: str | None = None) -> int | None:
    """Cancel a run and its open items; returns the number of items cancelled, or None if the run had ended.

    With a reason, which the run then has, it is to be called in a transaction.
    """
    if reason is not None:
        if not lock_run(connection, run.id):
            return None
        connection.execute("UPDATE runs SET reason = %s WHERE id = %s", (reason, run.id))
    row = connection.execute("SELECT cancel_run(%s)", (run.id,)).fetchone()
    assert row is not None
    cancelled: int | None = row[0]
    return cancelled


def reopen_items(connection: Connection, run: Run, states: Sequence[str], seqs: Sequence[int] | None) -> list[int]:
    """Reopen closed items of a run at attempt 1, keeping their history, and the run with them; returns the seqs."""
    with connection.transaction():
        lock_run(connection, run.id)
        rows = connection.execute(_REOPEN_ITEMS, (run.run_day, run.id, list(states), seqs, seqs))
        reopened = sorted(seq for (seq,) in rows)
        if reopened:
            connection.execute(_REOPEN_RUN, (run.id,))
    return reopened


def purge_items(connection: Connection, run: Run, seqs: Sequence[int]) -> int:
    """Give dead items up for good: they become `cancelled` and keep their error; the run's counts follow."""
    with connection.transaction():
        lock_run(connection, run.id)
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
        if lock_run(connection, run.id):
            return False
        now = load_run(connection, run.id)
        if now is None or now.status != "CANCELLED":
            return bool(reopen_items(connection, run, OPEN_STATES, None))
        cancelled = connection.execute(_CANCEL_OPEN_ITEMS, (run.run_day, run.id)).rowcount
        connection.execute("UPDATE runs SET cancelled_count = cancelled_count + %s WHERE id = %s", (cancelled, run.id))
    return False


def make_failure_event(
    connection: Connection, run: Run, status: str, failed: int, stale: int, reason: str | None = None
) -> Event:
    """Return the event that reports failed and stale items of a run, with the errors of the first ones.

    `reason` is that of all items, if one error has ended the run.
    """
    rows = connection.execute(
        """
        SELECT symbol, timeframe, attempt, error FROM run_items
        WHERE run_day = %s AND run_id = %s AND status = 'failed' ORDER BY seq LIMIT %s
        """,
        (run.run_day, run.id, MOST_FAILURES_SENT),
    ).fetchall()
    failures = [
        {"symbol": symbol, "timeframe": timeframe, "attempt": attempt, "error": error}
        for symbol, timeframe, attempt, error in rows
    ]
    return make_run_failed(
        run.id,
        run.job,
        status,
        schedule=run.schedule,
        items=run.item_count,
        failed=failed,
        failures=failures,
        stale=stale,
        **({} if reason is None else {"reason": reason}),
    )


def make_run_failed(run_id: int, job: str, status: str, **details: Any) -> Event:
    """Return the event of a run that failed, without items unless the details say so."""
    payload = {"schema_version": 1, "kind": "run_failed", "run_id": run_id, "job": job, "schedule": None}
    return Event(
        ERRORS_CHANNEL, payload | {"status": status, "items": 0, "failed": 0, "stale": 0, "failures": []} | details
    )


def notify_scheduler(connection: Connection) -> None:
    """Wake the schedulers that wait for the end of a scheduled run; without it they would look within a second."""
    connection.execute("SELECT pg_notify(%s, '')", (SCHEDULES_NOTIFY,))


def lock_run(connection: Connection, run_id: int) -> bool:
    """Lock a run's row to the end of the transaction, before its items change; False if it has ended."""
    row = connection.execute("SELECT status FROM runs WHERE id = %s FOR UPDATE", (run_id,)).fetchone()
    return row is not None and row[0] in OPEN_RUN_STATES


def _lock_prepared(connection: Connection, run_ids: Sequence[int]) -> set[int]:
    """Lock the rows of runs, in one order for all; returns the ids of those that have items and have not ended."""
    rows = connection.execute(
        "SELECT id, status FROM runs WHERE id = ANY(%s) AND prepared_at IS NOT NULL ORDER BY id FOR UPDATE",
        (list(run_ids),),
    )
    return {run_id for run_id, status in rows if status in OPEN_RUN_STATES}
