"""What keeps the account of ticks closed, each taken out by one function: the account must then not close."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from streamworkers.database import Connection
from streamworkers.schedules import store, timings
from streamworkers.schedules.cursor import Cursor
from streamworkers.schedules.store import Schedule
from streamworkers.schedules.timing import Tick, Timing


def plan_from_the_planned_tick(patch: pytest.MonkeyPatch) -> None:
    """Plan from the planned tick on, and not from the last decided one."""
    lock = store.lock_due

    def lock_due(*words: Any) -> Schedule | None:
        schedule = lock(*words)
        if schedule is None or schedule.next_run_at is None:
            return schedule
        return replace(schedule, cursor=Cursor(schedule.next_run_at - timedelta(microseconds=1)))

    patch.setattr(store, "lock_due", lock_due)


def forget_changed_timings(patch: pytest.MonkeyPatch) -> None:
    """Decide nothing that was due before a change."""
    patch.setattr(timings, "lock_changed", lambda connection, schedule_id: [])


def forget_dropped_timings(patch: pytest.MonkeyPatch) -> None:
    """Decide nothing that was due before a pause or a removal."""
    patch.setattr(timings, "lock_dropped", lambda connection: None)


def forget_labels(patch: pytest.MonkeyPatch) -> None:
    """Know decided ticks by their moments alone."""

    def past(cursor: Cursor, timing: Timing, tick: Tick | None) -> Cursor:
        return cursor if tick is None else Cursor(cursor.valid_from, tick.moment)

    patch.setattr(Cursor, "past", past)


def remove_ticks_with_schedules(patch: pytest.MonkeyPatch) -> None:
    """Delete the ticks of a schedule with it."""
    remove = store.remove_schedule

    def remove_schedule(connection: Connection, name: str) -> None:
        connection.execute("DELETE FROM ticks t USING schedules s WHERE s.id = t.schedule_id AND s.name = %s", (name,))
        remove(connection, name)

    patch.setattr(store, "remove_schedule", remove_schedule)


MENDS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "cursor": plan_from_the_planned_tick,
    "changes": forget_changed_timings,
    "drops": forget_dropped_timings,
    "labels": forget_labels,
    "kept-ticks": remove_ticks_with_schedules,
}
