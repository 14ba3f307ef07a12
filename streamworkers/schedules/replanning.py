"""Looks regularly whether a planned tick comes earlier than planned: by a new early close, or newer time zones."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from streamworkers.database import Connection
from streamworkers.schedules import store
from streamworkers.schedules.cursor import find_undecided
from streamworkers.schedules.next_tick import NextTick, plan_next, require_timing
from streamworkers.schedules.store import Schedule

EVERY = timedelta(hours=1)
AT_ONCE = 100


@dataclass
class Replanning:
    """Plans all schedules again when a process begins and every hour, `AT_ONCE` of them in a step."""

    _from: datetime | None = None
    _after_id: int = 0

    def step(self, connection: Connection, now: datetime) -> None:
        """Look at the next schedules if it is time to."""
        if self._from is not None and now < self._from:
            return
        schedules = store.list_planned(connection, self._after_id, AT_ONCE)
        for schedule in schedules:
            planned = _plan(schedule, now)
            if planned is not None and schedule.due_at is not None and planned.due_at < schedule.due_at:
                store.advance_tick(connection, schedule, planned)
        self._after_id = schedules[-1].id if schedules else 0
        if len(schedules) < AT_ONCE:
            self._from, self._after_id = now + EVERY, 0


def _plan(schedule: Schedule, now: datetime) -> NextTick | None:
    """The next tick as it is now; None if it cannot be found, which is noticed when the planned one is due."""
    try:
        definition = schedule.require_definition()
        following = next(find_undecided(require_timing(definition), schedule.cursor, now), None)
        return plan_next(schedule.id, definition, following, now)
    except Exception:  # noqa: BLE001  # a package of calendars may raise anything; deciding reports it
        return None
