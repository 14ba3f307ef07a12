"""The limits that schedules set for their runs: the longest time, and the deadline. Each is judged once a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from streamworkers.database import Connection
from streamworkers.schedules.deadline import find_deadline
from streamworkers.schedules.store import Schedule
from streamworkers.schedules.ticks import OTHER_SUBJECT
from streamworkers.schedules.timing import Tick, zone_named

TOO_LONG = "max_run_seconds"  # how the reason begins of a run that was cancelled for its length

_OVERLONG = """
    SELECT r.id, s.id, s.name, s.max_run_seconds,
        extract(epoch FROM clock_timestamp() - greatest(r.started_at, r.reopened_at))::float8
    FROM schedules s JOIN runs r ON r.schedule_id = s.id
    WHERE s.max_run_seconds IS NOT NULL AND r.status IN ('PENDING', 'RUNNING')
        AND r.started_at IS NOT NULL
        AND greatest(r.started_at, r.reopened_at) < clock_timestamp() - make_interval(secs => s.max_run_seconds)
    ORDER BY r.id LIMIT %s
"""
# A run that was triggered by hand after the tick, about the same, makes up for the run of the tick.
_DUE = """
    SELECT t.schedule_id, s.name, t.scheduled_for, t.done_by_at, t.state, t.reason, r.id, r.status, r.item_count,
        EXISTS (
            SELECT FROM ticks u JOIN runs d ON d.id = u.run_id
            WHERE u.schedule_id = t.schedule_id AND u.session = t.session AND u.scheduled_for >= t.scheduled_for
                AND NOT coalesce(u.detail ? %(other)s, false)
                AND d.status IN ('COMPLETED', 'COMPLETED_WITH_ERRORS') AND d.completed_at <= t.done_by_at
        )
    FROM ticks t JOIN schedules s ON s.id = t.schedule_id LEFT JOIN runs r ON r.id = t.run_id
    WHERE t.done_by_at <= clock_timestamp() AND t.is_done_in_time IS NULL
    ORDER BY t.done_by_at, t.schedule_id LIMIT %(most)s FOR UPDATE OF t SKIP LOCKED
"""
_JUDGE = "UPDATE ticks SET is_done_in_time = %s WHERE schedule_id = %s AND scheduled_for = %s"
_SET = "UPDATE ticks SET done_by_at = %s WHERE schedule_id = %s AND scheduled_for = %s"


class OverlongRun(NamedTuple):
    """An open run that takes longer than its schedule allows."""

    id: int
    schedule_id: int
    schedule: str
    most_seconds: int
    seconds: float

    def describe(self) -> str:
        """The reason that the cancelled run has."""
        return f"{TOO_LONG}: after {self.seconds:,.0f} s, because {self.schedule} allows {self.most_seconds:,} s"


@dataclass(frozen=True, slots=True)
class MissedDeadline:
    """A tick whose work was not done by its deadline."""

    schedule_id: int
    schedule: str
    scheduled_for: datetime
    done_by_at: datetime
    state: str
    reason: str | None
    run_id: int | None
    run_status: str | None
    item_count: int | None

    def describe(self) -> str:
        """How far it is, in words."""
        if self.run_id is None:
            return f"The tick is {self.state}" + (f": {self.reason}" if self.reason else "")
        return f"Run {self.run_id} is {self.run_status} ({self.item_count} items)"


def find_overlong_runs(connection: Connection, most: int) -> list[OverlongRun]:
    """The open runs that take longer than their schedules allow, since a worker began them, or since a retry."""
    return [OverlongRun(*row) for row in connection.execute(_OVERLONG, (most,))]


def set_deadline(connection: Connection, schedule: Schedule, tick: Tick) -> None:
    """Store by when the run of a tick is to be done, if its schedule has a deadline."""
    definition = schedule.require_definition()
    if definition.done_by is not None:
        deadline = find_deadline(tick.moment, definition.done_by, zone_named(definition.timezone))
        connection.execute(_SET, (deadline, schedule.id, tick.moment))


def judge_deadlines(connection: Connection, most: int) -> tuple[Sequence[MissedDeadline], int]:
    """Judge deadlines that have passed, each once; returns those that were missed, and how many were judged.

    To be called in a transaction, with what is reported about them.
    """
    rows = connection.execute(_DUE, {"other": OTHER_SUBJECT, "most": most}).fetchall()
    missed = []
    for *fields, is_done in rows:
        found = MissedDeadline(*fields)
        connection.execute(_JUDGE, (is_done, found.schedule_id, found.scheduled_for))
        if not is_done:
            missed.append(found)
    return missed, len(rows)
