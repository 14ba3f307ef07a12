"""Scheduled runs that are late: each is marked once, in the transaction that reports it."""

from datetime import datetime
from typing import NamedTuple

from streamworkers.database import Connection

_MARK = """
    UPDATE runs r SET late_at = clock_timestamp()
    FROM (
        SELECT id FROM runs
        WHERE status IN ('PENDING', 'RUNNING') AND trigger = 'schedule' AND late_at IS NULL
            AND scheduled_for < clock_timestamp() - make_interval(secs => %s)
        ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
    ) AS late
    WHERE r.id = late.id
    RETURNING r.id, r.job, r.schedule, r.schedule_id, r.scheduled_for, r.status, r.item_count
"""
_MARK_STARTED = "UPDATE runs SET late_at = clock_timestamp() WHERE id = %s AND late_at IS NULL"


class LateRun(NamedTuple):
    """An open run of a schedule, some time after its tick."""

    id: int
    job: str
    schedule: str
    schedule_id: int
    scheduled_for: datetime
    status: str
    item_count: int


def mark_late_runs(connection: Connection, seconds: float, most: int) -> list[LateRun]:
    """Mark runs that have not ended so many seconds after their ticks; returns those that were not marked yet."""
    rows = connection.execute(_MARK, (seconds, most)).fetchall()
    return sorted((LateRun(*row) for row in rows), key=lambda run: run.id)


def mark_started_late(connection: Connection, run_id: int) -> None:
    """Mark a run whose start was late already, so that its end is not reported as late as well."""
    connection.execute(_MARK_STARTED, (run_id,))
