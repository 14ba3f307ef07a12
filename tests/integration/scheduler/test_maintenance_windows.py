"""Ticks in maintenance windows, on real services, by a clock that the test turns."""

from datetime import timedelta
from typing import Any

import pytest

from scheduler.ticker import Ticker
from scheduling import MONDAY, Add, Clock, end_runs, runs_of, ticks_of
from streamworkers.database import Connection, fetch_value
from streamworkers.engine.ledger.outbox import take_notify_events
from streamworkers.schedules import store
from streamworkers.schedules.account import TickPeriod
from streamworkers.schedules.maintenance_store import NewWindow, add_window
from streamworkers.schedules.tick_accounts import account_for


def _window(connection: Connection, hours: float, until: float, **fields: Any) -> int:
    """A window that begins and ends so many hours after noon."""
    first, last = (MONDAY + timedelta(hours=each) for each in (hours, until))
    return add_window(connection, NewWindow(first, last, "America/New_York", **fields))


def _turn(ticker: Ticker, clock: Clock, hour: int, minute: int = 0) -> None:
    clock.now = clock.now.replace(hour=hour, minute=minute)
    ticker.run_once()


def test_ticks_in_a_window_are_skipped_without_a_notification_and_those_outside_start(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    one, other = add("one"), add("other")
    number = _window(connection, 1, 2.5, note="a new disk")
    _window(connection, 4, 5, schedules=["one"])
    for hour in (13, 14, 15, 16):
        _turn(ticker, clock, hour)
        end_runs(connection)
    why = f"maintenance window {number} from 2040-10-01 13:00 EDT until 2040-10-01 14:30 EDT: a new disk"
    assert ticks_of(connection, one)[:3] == [
        ("01 13:00", "skipped", why),
        ("01 14:00", "skipped", why),
        ("01 15:00", "started", None),
    ]
    assert [state for _, state, _ in ticks_of(connection, one)] == ["skipped", "skipped", "started", "skipped"]
    assert [state for _, state, _ in ticks_of(connection, other)] == ["skipped", "skipped", "started", "started"]
    assert take_notify_events(connection, 100) == []


@pytest.mark.parametrize("mode", ["skip", "wait"])
def test_ticks_in_a_window_during_which_no_scheduler_ran_are_decided_by_it(
    mode: str, ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    """Those that wait are due at its end, so that the newest is on time; those that it skips replace none before it."""
    schedule = add(misfire_grace_seconds=7200)
    _window(connection, 2, 5, mode=mode)
    ticker.run_once()
    _turn(ticker, clock, 17, 30)
    found = [(at, state) for at, state, _ in ticks_of(connection, schedule)]
    if mode == "skip":
        assert found == [
            *(("01 13:00", "missed"), ("01 14:00", "skipped"), ("01 15:00", "skipped"), ("01 16:00", "skipped")),
            ("01 17:00", "started"),
        ]
    else:
        assert [state for _, state in found] == ["missed", *["skipped"] * 3, "started"]
        reasons = [why for _, _, why in ticks_of(connection, schedule)[1:4]]
        assert reasons == ["coalesced into the tick of 2040-10-01 21:00:00 UTC"] * 3


def test_ticks_wait_for_the_end_of_a_window_and_only_the_newest_starts(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    newest = add("newest")
    each = add("each", coalesce=False, max_instances=2)
    once_a_day = add("once_a_day", cron="30 12 * * *")
    number = _window(connection, 0.25, 3.25, mode="wait")
    for hour, minute in ((12, 30), (13, 0), (14, 0), (15, 0)):
        _turn(ticker, clock, hour, minute)
    why = f"for the end of maintenance window {number} from 2040-10-01 12:15 EDT until 2040-10-01 15:15 EDT"
    assert ticks_of(connection, newest)[1:] == [
        ("01 14:00", "skipped", "coalesced into the tick of 2040-10-01 19:00:00 UTC"),
        ("01 15:00", "waiting", why),
    ]
    assert [state for _, state, _ in ticks_of(connection, each)] == ["waiting"] * 3
    assert fetch_value(connection, "SELECT count(*) FROM runs") == 0
    _turn(ticker, clock, 15, 15)
    waited = "waited until 2040-10-01 19:15 UTC for a maintenance window"
    assert ticks_of(connection, newest)[-1] == ("01 15:00", "started", waited)
    assert [state for _, state, _ in ticks_of(connection, each)] == ["started", "started", "skipped"]
    assert ticks_of(connection, once_a_day) == [("01 12:30", "started", waited)]
    assert len(runs_of(connection, newest)) == 1
    assert (
        fetch_value(connection, "SELECT count(*) FROM runs WHERE late_at IS NULL") == 0
    )  # it is no news that it is late


def test_a_dependency_counts_its_timeout_from_the_end_of_the_window(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    add("parent", cron="10 13 * * *")
    child = add("child", cron="20 13 * * *", after="parent", after_timeout_seconds=600)
    _window(connection, 1, 4, mode="wait")
    _turn(ticker, clock, 13, 10)
    _turn(ticker, clock, 13, 20)
    _turn(ticker, clock, 16)
    assert [state for _, state, _ in ticks_of(connection, child)] == ["waiting"]
    end_runs(connection)
    ticker.run_once()
    assert [state for _, state, _ in ticks_of(connection, child)] == ["started"]


def test_a_tick_that_waits_for_another_run_does_not_start_in_a_window(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    add("parent", cron="10 13 * * *")
    child = add("child", cron="20 13 * * *", after="parent")
    _turn(ticker, clock, 13, 10)
    _turn(ticker, clock, 13, 20)
    _window(connection, 1.4, 3, schedules=["child"])
    end_runs(connection)
    _turn(ticker, clock, 13, 30)
    assert [state for _, state, _ in ticks_of(connection, child)] == ["waiting"]
    _turn(ticker, clock, 15)
    assert [state for _, state, _ in ticks_of(connection, child)] == ["started"]


def test_a_schedule_for_one_moment_starts_one_run_and_is_over(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    once = add("once", cron="at 2040-10-01T12:30")
    for hour, minute in ((12, 29), (12, 30), (12, 31), (13, 0)):
        _turn(ticker, clock, hour, minute)
    assert ticks_of(connection, once) == [("01 12:30", "started", None)]
    after = store.require_schedule(connection, "once")
    assert (after.next_run_at, after.problem) == (None, None)
    clock.forward(days=3)
    ticker.run_once()
    assert len(runs_of(connection, once)) == 1


def test_a_moment_that_passed_while_no_scheduler_ran_is_caught_up(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    caught, skipped = add("caught", cron="at 2040-10-01T12:30"), add("b", cron="at 2040-10-01T12:30", catch_up="skip")
    clock.forward(hours=9)
    ticker.run_once()
    assert [state for _, state, _ in ticks_of(connection, caught)] == ["started"]
    assert [state for _, state, _ in ticks_of(connection, skipped)] == ["missed"]


def test_a_new_end_takes_effect_at_once_and_what_was_due_before_stays_due(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    schedule = add("ends", ends_at="2040-10-01T14:00")
    for hour in (13, 14, 15):
        _turn(ticker, clock, hour)
        end_runs(connection)
    assert [at for at, _, _ in ticks_of(connection, schedule)] == ["01 13:00"]
    assert store.require_schedule(connection, "ends").problem is None
    spans = "SELECT ends_at IS NOT NULL FROM schedule_timings ORDER BY id"
    assert [row[0] for row in connection.execute(spans)] == [True]
    connection.execute("UPDATE schedules SET ends_at = NULL")
    assert [row[0] for row in connection.execute(spans)] == [True, False]
    row = connection.execute("SELECT due_at, next_run_at, planned_from > now() - interval '1 hour' FROM schedules")
    assert row.fetchone() == (None, None, True)


def test_the_account_of_ticks_closes_over_windows_outages_and_an_end(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    """Ticks of a window that nobody decided for hours are few rows, which say how many ticks they are."""
    schedule = add("often", cron="* * * * *", ends_at="2040-10-01T17:43")
    ticker.run_once()
    _window(connection, 1, 4)
    _window(connection, 5, 5.5, mode="wait")
    for hour, minute in ((12, 30), (17, 10), (17, 20), (17, 40), (17, 50)):
        _turn(ticker, clock, hour, minute)
        end_runs(connection)
    (found,) = account_for(connection, TickPeriod(MONDAY, clock.now))
    assert (found.account.ticks, found.account.rows, sum(found.account.counts.values())) == (342, 342, 0)
    skipped = [row for row in ticks_of(connection, schedule) if (row[2] or "").startswith("180 ticks from")]
    assert [(at, state) for at, state, _ in skipped] == [("01 15:59", "skipped")]
