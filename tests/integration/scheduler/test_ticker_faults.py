"""What one schedule, or one replica, cannot do to the others."""

from datetime import datetime
from typing import Any

import pytest
from psycopg import errors

from harness import wait_until
from scheduler.ticker import Ticker
from scheduling import MONDAY, Add, Clock, runs_of, ticks_of
from streamworkers.database import Connection, connect, fetch_value
from streamworkers.engine.job import Job, RunRequest
from streamworkers.schedules import store
from streamworkers.schedules.timing import Timing


def test_whatever_one_schedule_raises_the_others_tick(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("aa")
    other = add("bb")
    ticker.run_once()

    first = Timing.from_moment
    calls: list[int] = []

    def raise_once(timing: Timing, moment: datetime) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("a calendar")
        return first(timing, moment)

    monkeypatch.setattr(Timing, "from_moment", raise_once)
    clock.forward(hours=1)
    ticker.run_once()
    assert store.require_schedule(connection, "aa").problem == "ZeroDivisionError: a calendar"
    assert len(runs_of(connection, other)) == 1
    clock.forward(minutes=1)
    ticker.run_once()
    assert [state for _, state, _ in ticks_of(connection, store.require_schedule(connection, "aa"))] == ["started"]


def test_a_prepare_that_outlasts_the_limit_of_its_transaction_rejects_its_tick(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outlast(job: Job[Any], opened: Connection, request: RunRequest) -> RunRequest:
        del job
        if request.origin.schedule == "slow":
            opened.execute("SET LOCAL idle_in_transaction_session_timeout = 50")
            backend = opened.info.backend_pid
            gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = %s"
            wait_until(lambda: fetch_value(connection, gone, (backend,)), what="PostgreSQL ends the transaction")
            opened.execute("SELECT 1")
        return request

    monkeypatch.setattr(type(ticker.registry["noop"]), "prepare", outlast)
    slow, other = add("slow"), add("tidy")
    ticker.run_once()
    clock.forward(hours=1)
    for _ in range(2):
        with pytest.raises(errors.IdleInTransactionSessionTimeout):
            ticker.run_once()
    ticker.run_once()
    limit = "STREAMWORKERS_IDLE_TRANSACTION_SECONDS"
    reason = f"prepare of job 'noop' left its transaction idle for longer than {limit}, 2 times"
    assert [(state, why) for _, state, why in ticks_of(connection, slow)] == [("rejected", reason)]
    assert len(runs_of(connection, other)) == 1


def test_a_schedule_whose_calendar_the_package_cannot_make_is_named(
    ticker: Ticker, add: Add, connection: Connection
) -> None:
    add("odd", calendar="ASEX")
    other = add("sound")
    ticker.run_once()
    problem = store.require_schedule(connection, "odd").problem
    assert problem is not None
    assert problem.startswith("calendar 'ASEX' cannot be built: ")
    assert store.require_schedule(connection, other.name).next_run_at is not None


def test_a_calendar_that_ends_soon_is_told(ticker: Ticker, add: Add, connection: Connection, clock: Clock) -> None:
    clock.now = datetime(2026, 11, 20, tzinfo=MONDAY.tzinfo)
    add(calendar="XBOM", cron="@daily")
    ticker.run_once()
    problem = store.require_schedule(connection, "job").problem
    assert problem == "calendar XBOM is known for 41 more days: install a newer exchange_calendars"
    clock.now = datetime(2026, 12, 31, 12, tzinfo=MONDAY.tzinfo)
    ticker.run_once()
    schedule = store.require_schedule(connection, "job")
    assert schedule.next_run_at is None
    assert schedule.problem is not None
    assert schedule.problem.startswith("calendar XBOM ends, and no tick is left in it")
    assert ticker.run_once() == 86_400.0


def test_a_tick_whose_time_had_come_when_its_schedule_was_changed_is_recorded(
    ticker: Ticker, add: Add, connection: Connection
) -> None:
    schedule = add()
    ticker.run_once()
    connection.execute("UPDATE schedules SET next_run_at = '2026-01-05 15:00+00', due_at = '2026-01-05 15:00+00'")
    connection.execute("UPDATE schedules SET jitter_seconds = 5")
    assert store.require_schedule(connection, "job").next_run_at is not None
    assert ticks_of(connection, schedule) == []
    store.set_enabled(connection, "job", False)
    reason = "the schedule was changed before the tick was decided"
    assert ticks_of(connection, schedule) == [("05 10:00", "missed", reason)]


def test_a_row_that_somebody_holds_makes_nobody_spin(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock, database_url: str
) -> None:
    schedule = add()
    ticker.run_once()
    clock.forward(hours=1)
    with connect(database_url) as other, other.transaction():
        store.lock_schedule(other, "job")
        assert 0.0 < ticker.run_once() < 1.0
        assert runs_of(connection, schedule) == []
    ticker.run_once()
    assert len(runs_of(connection, schedule)) == 1


def test_ticks_that_wait_for_room_are_bounded(ticker: Ticker, add: Add, connection: Connection, clock: Clock) -> None:
    schedule = add(cron="* * * * *", catch_up="all")
    ticker.run_once()
    for _ in range(110):
        clock.forward(minutes=1)
        ticker.run_once()
    states = [state for _, state, _ in ticks_of(connection, schedule)]
    assert states == ["started"] + ["waiting"] * 100 + ["skipped"] * 9
    assert ticks_of(connection, schedule)[-1][2] == "100 ticks are waiting already"
