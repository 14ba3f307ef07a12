"""Ends a run at once, for a reason that concerns all of its items."""

from collections.abc import Sequence
from datetime import datetime

from streamworkers.database import Connection
from streamworkers.engine.ledger.items import ItemUpdate, count_items, fail_items
from streamworkers.engine.ledger.notices import with_notices
from streamworkers.engine.ledger.outbox import add_events
from streamworkers.engine.ledger.runs import Run
from streamworkers.engine.ledger.transitions import lock_run, make_failure_event, notify_scheduler

_CANCEL = """
    UPDATE run_items SET status = 'cancelled', finished_at = clock_timestamp(), error = %s
    WHERE run_day = %s AND run_id = %s AND status IN ('pending', 'retrying')
"""
_END = """
    UPDATE runs SET status = 'FAILED', reason = %s, completed_at = clock_timestamp(),
        started_at = coalesce(started_at, created_at), completed_count = %s, failed_count = %s, cancelled_count = %s
    WHERE id = %s
"""


def stop_run(
    connection: Connection, run: Run, worker: str, started_at: datetime, updates: Sequence[ItemUpdate]
) -> set[int]:
    """Fail the first of some items that is still open, end its run for the same reason, and cancel its other items.

    Returns the seq that failed. If the run has ended, or none of the items is open in its generation, nothing happens.
    To be called in a transaction that has locked the run before any of its items.
    """
    if not lock_run(connection, run.id):
        return set()
    failed = next((each for each in updates if fail_items(connection, run, worker, started_at, [each])), None)
    if failed is None:
        return set()
    connection.execute(_CANCEL, (failed.error, run.run_day, run.id))
    counts = count_items(connection, run)
    numbers = [counts.get(state, 0) for state in ("completed", "failed", "cancelled")]
    connection.execute(_END, (failed.error, *numbers, run.id))
    failure = make_failure_event(connection, run, "FAILED", counts.get("failed", 0), 0, failed.error)
    add_events(connection, with_notices(connection, [failure]))
    if run.schedule is not None:
        notify_scheduler(connection)
    return {failed.seq}
