"""A saved schedule has its next tick at once, the one that a ticker would have planned."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler.metrics import SchedulerMetrics
from scheduler.ticker import Ticker
from scheduling import MONDAY, NEW_YORK, Add, Clock, plan_from, runs_of, ticks_of
from streamworkers.database import Connection
from streamworkers.schedules import store
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.store import Schedule
from streamworkers.schedules.timing import jittered

YEARLY = {"job": "noop", "target": {"symbols": ["A"]}, "cron": "0 0 1 1 *"}


def _save(connection: Connection, old_name: str | None = None, **fields: Any) -> Schedule:
    definition = ScheduleDefinition.parse({"name": "job"} | YEARLY | fields)
    store.save_schedule(connection, definition, old_name=old_name)
    return store.require_schedule(connection, definition.name)


def _next_new_year() -> datetime:
    return datetime(datetime.now(NEW_YORK).year + 1, 1, 1, tzinfo=NEW_YORK).astimezone(UTC)


@pytest.mark.parametrize("jitter_seconds", [0, 600])
def test_a_new_schedule_has_its_next_tick_and_when_it_is_due(jitter_seconds: int, connection: Connection) -> None:
    schedule = _save(connection, jitter_seconds=jitter_seconds)
    assert schedule.next_run_at == _next_new_year()
    assert schedule.due_at == jittered(schedule.next_run_at, schedule.id, jitter_seconds)
    assert (schedule.due_at > schedule.next_run_at) == (jitter_seconds > 0)
    assert schedule.problem is None


def test_paused_schedules_and_those_without_a_cron_have_none(connection: Connection) -> None:
    assert _save(connection, enabled=False).next_run_at is None
    event = _save(connection, name="event", cron=None, on_event="data_load_complete", target=None)
    assert (event.next_run_at, event.due_at) == (None, None)
    store.set_enabled(connection, "job", True)
    assert store.require_schedule(connection, "job").next_run_at == _next_new_year()
    store.set_enabled(connection, "job", False)
    assert store.require_schedule(connection, "job").next_run_at is None


def test_a_changed_schedule_is_planned_again(connection: Connection) -> None:
    before = _save(connection)
    jittery = _save(connection, "job", jitter_seconds=600)
    assert jittery.next_run_at == before.next_run_at
    assert jittery.due_at == jittered(_next_new_year(), before.id, 600)
    moved = _save(connection, "job", cron="0 6 1 1 *", name="moved")
    assert moved.next_run_at == _next_new_year() + timedelta(hours=6)
    assert _save(connection, "moved", name="moved", cron=None, on_event="data_load_complete").next_run_at is None


def test_a_schedule_whose_next_tick_cannot_be_computed_says_why(connection: Connection) -> None:
    before = datetime.now(UTC)
    odd = _save(connection, name="odd", calendar="ASEX")
    assert odd.next_run_at is None
    assert odd.problem is not None
    assert odd.problem.startswith("calendar 'ASEX' cannot be built: ")
    assert odd.due_at is not None
    assert odd.due_at - before < timedelta(minutes=5)  # planned again soon
    connection.execute("UPDATE schedules SET enabled = false")
    connection.execute('UPDATE schedules SET target = \'{"universe": "u", "symbols": ["A"]}\'')
    store.set_enabled(connection, "odd", True)
    broken = store.require_schedule(connection, "odd").problem
    assert broken is not None
    assert "a target is either a universe or symbols" in broken


def test_the_end_of_a_calendar_is_noted_when_the_schedule_is_saved(
    add: Add, connection: Connection, clock: Clock
) -> None:
    clock.now = datetime(2026, 11, 20, tzinfo=NEW_YORK)
    schedule = add(calendar="XBOM", cron="@daily")
    assert schedule.problem == "calendar XBOM is known for 41 more days: install a newer exchange_calendars"
    clock.now = datetime(2026, 12, 31, 12, tzinfo=NEW_YORK)
    plan_from(connection, clock.now, "job")
    schedule = store.require_schedule(connection, "job")
    assert (schedule.next_run_at, schedule.due_at) == (None, clock.now + timedelta(days=1))
    assert schedule.problem is not None
    assert schedule.problem.startswith("calendar XBOM ends, and no tick is left in it")


@pytest.mark.parametrize("is_planned", [True, False])
def test_the_first_tick_is_decided_once_whoever_planned_it(
    is_planned: bool, ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    schedule = add(cron="10 12 * * *")
    assert schedule.next_run_at == MONDAY + timedelta(minutes=10)
    if not is_planned:  # as after an INSERT by hand
        connection.execute("UPDATE schedules SET next_run_at = NULL, due_at = NULL")
    clock.forward(minutes=9, seconds=59)
    ticker.run_once()
    assert ticks_of(connection, schedule) == []
    clock.forward(seconds=1)
    ticker.run_once()
    ticker.run_once()
    assert ticks_of(connection, schedule) == [("01 12:10", "started", None)]
    assert len(runs_of(connection, schedule)) == 1


def test_a_tick_that_was_due_before_a_scheduler_ran_is_decided_by_the_policy(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    skips, latest = add("skips", cron="10 * * * *", catch_up="skip"), add("latest", cron="10 * * * *")
    clock.forward(hours=2)
    ticker.run_once()
    assert [state for _, state, _ in ticks_of(connection, skips)] == ["missed", "missed"]
    assert [state for _, state, _ in ticks_of(connection, latest)] == ["missed", "started"]


def test_the_counters_of_a_planned_schedule_begin_at_zero(ticker: Ticker, add: Add, metrics: SchedulerMetrics) -> None:
    add()
    ticker.run_once()
    labels = {"schedule": "job", "state": "started"}
    assert metrics.registry.get_sample_value("streamworkers_schedule_ticks_total", labels) == 0
