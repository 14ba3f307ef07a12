"""What one schedule, or one replica, cannot do to the others."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest

from harness import wait_until
from scheduler.ticker import Ticker
from scheduling import MONDAY, Add, Clock, runs_of, ticks_of
from streamworkers.database import Connection, connect, fetch_value
from streamworkers.engine.job import Job, RunRequest
from streamworkers.engine.preparation import MOST_LOST, LostInPrepareError
from streamworkers.schedules import store
from streamworkers.schedules.store import Schedule
from streamworkers.schedules.timing import Timing


def test_whatever_one_schedule_raises_the_others_tick(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("aa")
    other = add("bb")
    ticker.run_once()

    first = Timing.after
    calls: list[int] = []

    def raise_once(timing: Timing, moment: datetime) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("a calendar")
        return first(timing, moment)

    monkeypatch.setattr(Timing, "after", raise_once)
    clock.forward(hours=1)
    ticker._replanning._from = clock.now + timedelta(hours=1)  # it would meet the error, and leave it to deciding
    ticker.run_once()
    assert store.require_schedule(connection, "aa").problem == "ZeroDivisionError: a calendar"
    assert len(runs_of(connection, other)) == 1
    clock.forward(minutes=1)
    ticker.run_once()
    assert [state for _, state, _ in ticks_of(connection, store.require_schedule(connection, "aa"))] == ["started"]


Prepare = Callable[[Connection], object]
MakeDue = Callable[[Prepare], tuple[Schedule, Schedule]]


def _outlast(opened: Connection) -> None:
    opened.execute("SET LOCAL idle_in_transaction_session_timeout = 50")
    gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = %s"
    backend = opened.info.backend_pid
    with connect(opened.info.dsn) as other:
        wait_until(lambda: fetch_value(other, gone, (backend,)), what="PostgreSQL ends the transaction")


def _outlast_and_read(opened: Connection) -> None:
    _outlast(opened)
    opened.execute("SELECT 1")


def _wrap(opened: Connection) -> None:
    opened.pgconn.finish()
    try:
        opened.execute("SELECT 1")
    except psycopg.Error:
        raise ValueError("no rows") from None


def _ask_another_database(opened: Connection) -> None:
    del opened
    raise psycopg.OperationalError("my other database is away")


def _swallow(opened: Connection) -> None:
    with suppress(psycopg.Error):
        opened.execute("SELECT 1 / 0")


@pytest.fixture
def make_due(ticker: Ticker, add: Add, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> MakeDue:
    """Let the job do something in its `prepare` for a schedule, and return that one and another when both are due."""

    def make(action: Prepare) -> tuple[Schedule, Schedule]:
        def prepare(job: Job[Any], opened: Connection, request: RunRequest) -> RunRequest:
            if request.origin.schedule == "slow":
                action(opened)
            return request

        monkeypatch.setattr(type(ticker.registry["noop"]), "prepare", prepare)
        due = add("slow"), add("tidy")
        ticker.run_once()
        clock.forward(hours=1)
        return due

    return make


@pytest.mark.parametrize("action", [_outlast, _outlast_and_read, _wrap, Connection.close])
def test_a_prepare_that_loses_its_connection_again_and_again_rejects_its_tick(
    action: Prepare, make_due: MakeDue, ticker: Ticker, connection: Connection
) -> None:
    slow, other = make_due(action)
    for _ in range(MOST_LOST):
        with pytest.raises(LostInPrepareError, match="during prepare of job 'noop': "):
            ticker.run_once()
    ticker.run_once()
    reason = (
        "PostgreSQL was lost 3 times while the job prepared this run: does its `prepare` take longer than"
        " STREAMWORKERS_IDLE_TRANSACTION_SECONDS, or close its connection?"
    )
    assert [(state, why) for _, state, why in ticks_of(connection, slow)] == [("rejected", reason)]
    assert len(runs_of(connection, other)) == 1


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (_ask_another_database, "job 'noop' cannot prepare a run: OperationalError: my other database is away"),
        (_swallow, "prepare of job 'noop' caught an error of the database"),
        (
            partial(Connection.execute, query="COMMIT"),
            "prepare of job 'noop' ended the transaction that it was called in",
        ),
        (
            partial(Connection.execute, query="SET TRANSACTION READ ONLY"),
            "prepare of job 'noop' made its transaction read-only",
        ),
    ],
)
def test_a_prepare_that_fails_rejects_its_tick_at_once(
    action: Prepare, reason: str, make_due: MakeDue, ticker: Ticker, connection: Connection
) -> None:
    slow, other = make_due(action)
    ticker.run_once()
    assert [(state, why) for _, state, why in ticks_of(connection, slow)] == [("rejected", f"PrepareError: {reason}")]
    assert len(runs_of(connection, other)) == 1


def test_what_a_prepare_does_to_the_session_ends_with_it(
    make_due: MakeDue, ticker: Ticker, connection: Connection
) -> None:
    schedules = make_due(partial(Connection.execute, query="SET default_transaction_read_only = on"))
    ticker.run_once()
    assert [len(runs_of(connection, schedule)) for schedule in schedules] == [1, 1]


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
