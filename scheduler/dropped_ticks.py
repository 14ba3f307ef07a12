"""Ticks that were due before a pause or a removal, and were not decided: they are skipped, each with a row."""

from collections.abc import Callable
from datetime import datetime

from streamworkers.database import Connection
from streamworkers.schedules import ticks, timings
from streamworkers.schedules.planner import plan_skipped
from streamworkers.schedules.store import Schedule
from streamworkers.schedules.ticks import TickRow
from streamworkers.schedules.timing import Tick

Report = Callable[[Schedule, Tick, str, str | None, int], None]


def skip_dropped(connection: Connection, clock: Callable[[Connection], datetime], report: Report) -> bool:
    """Skip the ticks of one timing that ended so, up to about a thousand; False if there is none."""
    with connection.transaction():
        dropped = timings.lock_dropped(connection)
        if dropped is None:
            return False
        now, span = clock(connection), dropped.span
        plan = plan_skipped(span.find_undecided(now), dropped.reason)
        schedule = Schedule(dropped.schedule_id, dropped.schedule, None, None, None, span.cursor, None)
        for tick, state, reason, count in plan.decisions:
            if ticks.insert_tick(connection, schedule, tick, TickRow(state, reason, count, span.timing_id), now):
                report(schedule, tick, state, reason, count)
        timings.set_decided(connection, [span], plan, now)
    return True
