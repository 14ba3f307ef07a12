"""Drives a backfill: records which of its runs have ended, and starts others, a few at once.

One transaction holds the backfill's row, and writes a tick together with its run: whichever process drives, and however
often it is killed, a tick has one run.
"""

from datetime import UTC, timedelta
from typing import NamedTuple

from streamworkers.database import Connection, fetch_rows, fetch_value
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import submit_described
from streamworkers.engine.job import Origin
from streamworkers.errors import UnknownJobError, UsageError
from streamworkers.faults import printable
from streamworkers.logger import get_logger
from streamworkers.schedules.backfills.done import describe_done, find_done
from streamworkers.schedules.backfills.store import BACKFILL_PRIORITY, Backfill, count_ticks, find_backfill
from streamworkers.schedules.store import database_clock
from streamworkers.schedules.timing import Tick

log = get_logger()
_MOST_STEPS = 500
_LONGEST_WAIT = timedelta(hours=1)
_OPEN = "SELECT id FROM backfills WHERE ended_at IS NULL ORDER BY id"
_LOCK = "SELECT 1 FROM backfills WHERE id = %s AND ended_at IS NULL FOR UPDATE SKIP LOCKED"
_CLOSE = """
    UPDATE backfill_ticks b SET changed_at = clock_timestamp(),
        state = CASE r.status WHEN 'COMPLETED' THEN 'completed' ELSE 'failed' END,
        reason = CASE WHEN r.status <> 'COMPLETED'
                      THEN concat_ws(': ', 'run ' || r.id || ' is ' || r.status, r.reason) END
    FROM runs r
    WHERE b.backfill_id = %s AND b.state = 'started' AND r.id = b.run_id AND r.status NOT IN ('PENDING', 'RUNNING')
"""
_LOSE = """
    UPDATE backfill_ticks SET state = 'failed', reason = 'its run was removed', changed_at = clock_timestamp()
    WHERE backfill_id = %s AND state = 'started' AND run_id IS NULL
"""
_ABANDON = """
    UPDATE backfill_ticks SET state = 'cancelled', reason = 'the schedule was removed', changed_at = clock_timestamp()
    WHERE backfill_id = %s AND state = 'waiting'
"""
# The scheduler decides first about a tick that it has not decided yet, for an hour: it may never be able to.
_NEXT = """
    SELECT b.scheduled_for, b.session FROM backfill_ticks b
    WHERE b.backfill_id = %(backfill)s AND b.state = 'waiting'
        AND (b.changed_at < clock_timestamp() - interval '1 hour' OR NOT EXISTS (
            SELECT FROM schedules s WHERE s.id = %(schedule)s AND s.enabled AND s.next_run_at <= b.scheduled_for))
        AND NOT EXISTS (
            SELECT FROM ticks t LEFT JOIN runs r ON r.id = t.run_id
            WHERE t.schedule_id = %(schedule)s AND t.scheduled_for = b.scheduled_for
                AND (t.state = 'waiting' OR r.status IN ('PENDING', 'RUNNING')))
        AND NOT EXISTS (
            SELECT FROM backfill_ticks o JOIN runs r ON r.id = o.run_id
            WHERE o.subject = b.subject AND o.scheduled_for = b.scheduled_for AND r.status IN ('PENDING', 'RUNNING'))
    ORDER BY b.scheduled_for LIMIT 1
"""
_DECIDE = """
    UPDATE backfill_ticks SET state = %s, reason = %s, run_id = %s, changed_at = clock_timestamp()
    WHERE backfill_id = %s AND scheduled_for = %s
"""


class Driven(NamedTuple):
    """What a backfill has after a step: open runs, and whether it has ended."""

    open_runs: int
    has_ended: bool


def list_open(connection: Connection) -> list[int]:
    """The backfills that have not ended, the oldest first."""
    return [number for (number,) in connection.execute(_OPEN)]


def drive(connection: Connection, backfill_id: int) -> Driven | None:
    """Do a step of a backfill; None if another process does it now, or if it has ended."""
    with connection.transaction():
        if fetch_value(connection, _LOCK, (backfill_id,)) is None:
            return None
        backfill = find_backfill(connection, backfill_id)
        assert backfill is not None
        connection.execute(_CLOSE, (backfill_id,))
        connection.execute(_LOSE, (backfill_id,))
        if backfill.schedule is not None and backfill.schedule_id is None:
            connection.execute(_ABANDON, (backfill_id,))
        open_runs = count_ticks(connection, [backfill_id]).get(backfill_id, {}).get("started", 0)
        for _ in range(_MOST_STEPS):
            if open_runs >= backfill.parallel or (tick := _find_next(connection, backfill)) is None:
                break
            state = _start(connection, backfill, tick)
            if state == "waiting":
                break
            open_runs += state == "started"
        counts = count_ticks(connection, [backfill_id]).get(backfill_id, {})
        has_ended = not counts.get("waiting") and not counts.get("started")
        if has_ended:
            connection.execute("UPDATE backfills SET ended_at = clock_timestamp() WHERE id = %s", (backfill_id,))
    if has_ended:
        log.info("backfill_ended", backfill=backfill_id, schedule=backfill.schedule, **counts)
    return Driven(open_runs, has_ended)


def _find_next(connection: Connection, backfill: Backfill) -> Tick | None:
    rows = fetch_rows(connection, _NEXT, {"backfill": backfill.id, "schedule": backfill.schedule_id})
    return Tick(rows[0]["scheduled_for"], rows[0]["session"]) if rows else None


def _start(connection: Connection, backfill: Backfill, tick: Tick) -> str:
    """Start the run of a tick that waits, unless it has a successful run by now; returns the tick's state."""
    key = (backfill.id, tick.moment)
    if not backfill.again:
        done = find_done(connection, backfill.subject, backfill.schedule_id, [tick], by_hand=False)
        if tick.moment in done:
            connection.execute(_DECIDE, ("skipped", describe_done(done[tick.moment]), None, *key))
            return "skipped"
    own = {"as_of": tick.moment.astimezone(UTC).isoformat(), "user": backfill.requested_by}
    request = {"priority": BACKFILL_PRIORITY, **backfill.request, **own}
    try:
        with connection.transaction():
            (run,) = submit_described(connection, [request])
            ledger.set_origin(connection, run.id, Origin("manual", None, backfill.schedule, tick.moment))
    except UsageError as error:
        # A pool that has just been started has not recorded its jobs yet.
        if isinstance(error, UnknownJobError) and database_clock(connection) < backfill.created_at + _LONGEST_WAIT:
            return "waiting"
        connection.execute(_DECIDE, ("failed", printable(str(error)), None, *key))
        return "failed"
    connection.execute(_DECIDE, ("started", None, run.id, *key))
    log.info("backfill_started", backfill=backfill.id, scheduled_for=tick.moment.isoformat(), run=run.id)
    return "started"
