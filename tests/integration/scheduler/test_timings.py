"""No tick is lost or doubled by a change, a pause, a removal, or a session that moves: each has its row."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from scheduler.ticker import Ticker
from scheduling import MONDAY, NEW_YORK, Add, Clock, changing_at, end_runs, runs_of, ticks_of
from streamworkers.database import Connection, fetch_value
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.market.calendar.sessions import compute_sessions, keep_sessions
from streamworkers.schedules import run_factory, store
from streamworkers.schedules.account import TickPeriod
from streamworkers.schedules.tick_accounts import account_for

UseCalendar = Callable[[int | None], None]
WEDNESDAY = date(2040, 10, 3)
BEFORE_PAUSE = "the schedule was paused before the tick was decided"


@pytest.fixture
def use_calendar() -> Iterator[UseCalendar]:
    """Let this process read that the NYSE closes at an hour on Wednesday; None is as it was."""
    first, last = date(2039, 1, 1), date(2042, 12, 31)
    sessions = compute_sessions("XNYS", first, last).sessions

    def use(hour: int | None) -> None:
        closes = None if hour is None else datetime(2040, 10, 3, hour, tzinfo=NEW_YORK)
        moved = [replace(each, closes=closes) if closes and each.day == WEDNESDAY else each for each in sessions]
        keep_sessions("XNYS", first, last, moved)

    yield use
    keep_sessions("XNYS", None, None, ())


def _turn_to(clock: Clock, day: int, hour: int, minute: int = 0) -> None:
    clock.now = datetime(2040, 10, day, hour, minute, tzinfo=NEW_YORK)


def _require_closed(connection: Connection, clock: Clock, ticks: int) -> None:
    (found,) = account_for(connection, TickPeriod(MONDAY - timedelta(days=1), clock.now))
    assert (found.account.ticks, found.account.differences, found.account.undecided) == (ticks, [], 0)


@pytest.mark.parametrize("looks", [True, False], ids=["in time", "when the planned tick is due"])
def test_a_tick_that_moves_earlier_after_it_was_planned_has_its_row(
    looks: bool, ticker: Ticker, add: Add, connection: Connection, clock: Clock, use_calendar: UseCalendar
) -> None:
    use_calendar(None)
    schedule = add(cron="session_close+10m", calendar="XNYS")
    for day in (1, 2):
        _turn_to(clock, day, 16, 10)
        ticker.run_once()
        end_runs(connection)
    _turn_to(clock, 3, 11)
    use_calendar(13)  # the early close is announced on its day
    if looks:
        ticker.run_once()
        assert store.require_schedule(connection, "job").next_run_at == datetime(2040, 10, 3, 13, 10, tzinfo=NEW_YORK)
        _turn_to(clock, 3, 13, 10)
        ticker.run_once()
    _turn_to(clock, 3, 16, 10)
    ticker._replanning._from = None if looks else clock.now + timedelta(days=1)
    ticker.run_once()
    assert [(when, state) for when, state, _ in ticks_of(connection, schedule)] == [
        ("01 16:10", "started"),
        ("02 16:10", "started"),
        ("03 13:10", "started"),
    ]
    late = fetch_value(connection, "SELECT decided_at - scheduled_for FROM ticks ORDER BY scheduled_for DESC LIMIT 1")
    assert late == timedelta(hours=0 if looks else 3)
    _require_closed(connection, clock, 3)


def test_replicas_with_different_calendars_decide_a_session_once(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock, use_calendar: UseCalendar
) -> None:
    use_calendar(None)
    schedule = add(cron="session_close+10m", calendar="XNYS", max_instances=100)
    for day in (1, 2, 3, 4, 5):
        for hour in (12, 13, 14, 15, 16):
            _turn_to(clock, day, hour, 30)
            for close in (13, None, 14) if (hour + day) % 2 else (None, 14, 13):
                use_calendar(close)
                ticker.run_once()
    use_calendar(13)
    days = [when[:2] for when, _, _ in ticks_of(connection, schedule)]
    assert days == ["01", "02", "03", "04", "05"]
    assert len(runs_of(connection, schedule)) == 5
    _require_closed(connection, clock, 5)
    use_calendar(None)
    _require_closed(connection, clock, 5)


@pytest.mark.parametrize(
    ("catch_up", "states"),
    [
        ("skip", ["missed"] * 6),
        ("latest", ["missed"] * 5 + ["started"]),
        ("all", ["started"] + ["waiting"] * 5),
    ],
)
@pytest.mark.parametrize("door", ["the command", "SQL"])
def test_what_was_due_before_a_change_is_decided_by_the_times_from_before(
    door: str, catch_up: str, states: list[str], ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    schedule = add(cron="0 * * * *", catch_up=catch_up)
    clock.forward(hours=3, minutes=20)
    with changing_at(connection, clock.now):  # no scheduler runs
        if door == "SQL":
            connection.execute("UPDATE schedules SET cron = '30 * * * *'")
        else:
            definition = schedule.require_definition().model_copy(update={"cron": "30 * * * *"})
            store.save_schedule(connection, definition, old_name="job")
    clock.forward(hours=2, minutes=40)
    ticker.run_once()
    found = ticks_of(connection, schedule)
    assert [when for when, _, _ in found] == [
        f"01 {word}" for word in ["13:00", "14:00", "15:00", "15:30", "16:30", "17:30"]
    ]
    assert [state for _, state, _ in found] == states
    _require_closed(connection, clock, 6)
    clock.forward(minutes=31)
    ticker.run_once()
    assert len(ticks_of(connection, schedule)) == 7


def test_what_was_due_before_a_pause_is_skipped_and_nothing_during_it(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    schedule = add(cron="0 * * * *", catch_up="all")
    clock.forward(hours=2, minutes=20)
    with changing_at(connection, clock.now):
        store.set_enabled(connection, "job", False)
    clock.forward(hours=2)
    with changing_at(connection, clock.now):
        store.set_enabled(connection, "job", True)
    clock.forward(hours=1)
    ticker.run_once()
    skipped = [(f"01 {hour}:00", "skipped", BEFORE_PAUSE) for hour in (13, 14)]
    assert ticks_of(connection, schedule) == [*skipped, ("01 17:00", "started", None)]
    _require_closed(connection, clock, 3)


def test_a_long_backlog_before_a_pause_is_counted_in_few_rows(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    add(cron="* * * * * *")
    clock.forward(hours=1)
    with changing_at(connection, clock.now):
        store.set_enabled(connection, "job", False)
    ticker.run_once()
    rows = connection.execute("SELECT tick_count, reason FROM ticks ORDER BY scheduled_for").fetchall()
    assert rows[0] == (1000, f"1000 ticks from 2040-10-01 16:00:01 UTC on: {BEFORE_PAUSE}")
    assert sum(count for count, _ in rows) == 3600
    assert len(rows) < 1200
    _require_closed(connection, clock, 3600)


def test_a_long_backlog_is_counted_apart_before_and_after_a_change(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    add(cron="*/2 * * * * *", misfire_grace_seconds=1)
    for cron in ("* * * * * *", "*/3 * * * * *"):
        clock.forward(minutes=50)
        with changing_at(connection, clock.now):
            connection.execute("UPDATE schedules SET cron = %s", (cron,))
    clock.forward(hours=1)
    while ticker.run_once() == 0.0:
        continue
    assert fetch_value(connection, "SELECT sum(tick_count) FROM ticks") == 1500 + 3000 + 1200
    _require_closed(connection, clock, 5700)


def test_a_removed_schedule_keeps_its_ticks_and_what_was_due_is_skipped(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock, streams: Streams, registry: Registry
) -> None:
    add("parent")
    schedule = add("job", after="parent", catch_up="all", misfire_grace_seconds=60)
    run_factory.trigger(connection, streams, registry, "job")
    clock.forward(hours=1)
    ticker.run_once()
    clock.forward(hours=1, minutes=20)
    with changing_at(connection, clock.now):
        store.remove_schedule(connection, "job")
    ticker.run_once()
    assert [(state, reason) for _, state, reason in ticks_of(connection, schedule)] == [
        ("started", "triggered by hand"),
        ("skipped", "the schedule was removed while the tick waited"),
        ("skipped", "the schedule was removed before the tick was decided"),
    ]
    parent, removed = account_for(connection, TickPeriod(MONDAY, clock.now), None)[::-1]
    assert (removed.schedule, removed.account.ticks, removed.account.unaccounted) == ("job", 2, 0)
    assert parent.account.unaccounted == 0


def test_times_that_cannot_be_evaluated_any_more_stop_nothing(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    schedule = add()
    with changing_at(connection, clock.now):
        connection.execute("UPDATE schedules SET cron = '61 * * * *'")
    ticker.run_once()
    with changing_at(connection, clock.now):
        connection.execute("UPDATE schedules SET cron = '0 * * * *'")
    clock.forward(hours=1)
    ticker.run_once()
    assert [state for _, state, _ in ticks_of(connection, schedule)] == ["started"]
    problem = fetch_value(connection, "SELECT problem FROM schedule_timings WHERE problem IS NOT NULL")
    assert "minute '61' is not * or of 0-59" in problem


def test_a_session_that_has_ticked_does_not_tick_again_after_a_pause(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock, use_calendar: UseCalendar
) -> None:
    use_calendar(13)
    _turn_to(clock, 3, 12)
    schedule = add(cron="session_close+10m", calendar="XNYS")
    _turn_to(clock, 3, 13, 10)
    ticker.run_once()
    _turn_to(clock, 3, 13, 20)
    for enabled in (False, True):
        with changing_at(connection, clock.now):
            store.set_enabled(connection, "job", enabled)
    use_calendar(None)  # it closes at 16:00 after all
    _turn_to(clock, 3, 16, 10)
    ticker.run_once()
    assert [when for when, _, _ in ticks_of(connection, schedule)] == ["03 13:10"]
    _require_closed(connection, clock, 1)


def test_a_scheduler_that_dies_at_any_statement_leaves_the_account_closed(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = add(cron="0 * * * *", misfire_grace_seconds=7200)
    execute, left = psycopg.Cursor.execute, 0

    def execute_or_die(cursor: Any, *words: Any, **fields: Any) -> Any:
        nonlocal left
        left -= cursor.connection is not connection
        if left == 0 and cursor.connection is not connection:
            cursor.connection.pgconn.finish()
            raise psycopg.OperationalError("the process was killed")
        return execute(cursor, *words, **fields)

    monkeypatch.setattr(psycopg.Cursor, "execute", execute_or_die)
    for statement in range(1, 37, 2):
        clock.forward(hours=1)
        with changing_at(connection, clock.now + timedelta(minutes=20)):
            connection.execute("UPDATE schedules SET cron = '*/30 * * * *'")
        clock.forward(hours=1)
        with changing_at(connection, clock.now + timedelta(minutes=10)):
            store.set_enabled(connection, "job", False)
        clock.forward(hours=1)
        with changing_at(connection, clock.now):
            store.set_enabled(connection, "job", True)
            connection.execute("UPDATE schedules SET cron = '0 * * * *'")
        left = statement
        with suppress(psycopg.OperationalError):
            ticker.run_once()
        left = -1
    monkeypatch.undo()
    ticker.run_once()
    (found,) = account_for(connection, TickPeriod(MONDAY, clock.now))
    assert (found.account.unaccounted, found.account.undecided) == (0, 0)
    started = [state for _, state, _ in ticks_of(connection, schedule) if state == "started"]
    assert len(runs_of(connection, schedule)) == len(started)
