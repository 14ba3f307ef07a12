"""Ticks become runs, on real services, by a clock that the test turns."""

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from psycopg_pool import ConnectionPool

from harness import subscribe, wait_until
from patience import patient
from scheduler.metrics import SchedulerMetrics
from scheduler.ticker import Ticker
from scheduling import MONDAY, Add, Clock, end_runs, plan_from, runs_of, ticks_of
from streamworkers.database import Connection, connect
from streamworkers.engine.completion import complete_run
from streamworkers.engine.ledger import load_run
from streamworkers.engine.redis.keys import ERRORS_CHANNEL
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.outbox_relay import OutboxRelay
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.market.universes.store import resolve
from streamworkers.schedules import reports as history
from streamworkers.schedules import run_factory as starter
from streamworkers.schedules import store, ticks
from streamworkers.schedules.store import Schedule
from streamworkers.schedules.ticks import TickRow
from streamworkers.schedules.timing import Tick


def _value(metrics: SchedulerMetrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"streamworkers_{name}", labels) or 0.0


def test_a_tick_is_a_run_of_the_job_over_the_target(
    ticker: Ticker, add: Add, connection: Connection, streams: Streams, clock: Clock, metrics: SchedulerMetrics
) -> None:
    schedule = add(parameters={}, cron="30 12 * * *")
    assert ticker.run_once() == 1800.0
    assert store.require_schedule(connection, "job").next_run_at == MONDAY + timedelta(minutes=30)
    clock.forward(minutes=30, milliseconds=20)
    ticker.run_once()
    (run_id,) = runs_of(connection, schedule)
    run = load_run(connection, run_id)
    assert run is not None
    assert (run.job, run.schedule, run.item_count, run.is_enqueued) == ("noop", "job", 2, True)
    row = connection.execute("SELECT trigger, scheduled_for, target FROM runs").fetchone()
    assert row == ("schedule", MONDAY + timedelta(minutes=30), "A,B")
    assert streams.inspector.read_backlog("bench").waiting == 2
    assert ticks_of(connection, schedule) == [("01 12:30", "started", None)]
    assert ticker.run_once() == pytest.approx(86_400 - 0.02)
    assert len(runs_of(connection, schedule)) == 1
    assert _value(metrics, "schedule_ticks_total", schedule="job", state="started") == 1.0
    assert _value(metrics, "schedule_lateness_seconds_sum", schedule="job") == pytest.approx(0.02)


def test_a_universe_is_resolved_when_its_tick_comes(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    connection.execute("INSERT INTO definition_groups (name, type) VALUES ('u', 'UNIVERSE')")
    schedule = add(target={"universe": "u"})
    ticker.run_once()
    connection.execute("INSERT INTO group_memberships SELECT id, 'X' FROM definition_groups")
    clock.forward(hours=1)
    ticker.run_once()
    assert connection.execute("SELECT symbol FROM run_items").fetchall() == [("X",)]
    assert len(runs_of(connection, schedule)) == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"target": {"universe": "nobody"}}, "no universe is named 'nobody'; there is no universe yet"),
        ({"job": "gone"}, "no job is named 'gone'"),
        ({"parameters": {"x": 1}}, "parameter x=1 of job 'noop': nothing has this name"),
        ({"job": "database_cleanup"}, "no part of job 'database_cleanup' is named 'A'"),
    ],
)
def test_a_tick_that_can_start_no_run_is_rejected_with_its_reason_and_the_next_is_tried(
    fields: dict[str, Any],
    reason: str,
    ticker: Ticker,
    add: Add,
    connection: Connection,
    streams: Streams,
    pool: "ConnectionPool[Connection]",
    metrics: SchedulerMetrics,
    clock: Clock,
) -> None:
    schedule, other = add("broken", **fields), add("sound")
    ticker.run_once()
    clock.forward(hours=1)
    ticker.run_once()
    ((_, state, why),) = ticks_of(connection, schedule)
    assert state == "rejected"
    assert why is not None
    assert reason in why
    assert runs_of(connection, schedule) == []
    assert len(runs_of(connection, other)) == 1
    listener = subscribe(streams, ERRORS_CHANNEL)
    OutboxRelay(pool, streams, metrics).run_once()
    told = listener.get_message(timeout=patient(5))
    listener.close()
    assert b'"kind": "tick_rejected"' in told["data"]
    clock.forward(hours=1)
    ticker.run_once()
    assert [state for _, state, _ in ticks_of(connection, schedule)] == ["rejected", "rejected"]


def test_a_row_that_was_broken_by_hand_is_named_and_holds_nobody_up(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    add("broken")
    connection.execute("UPDATE schedules SET cron = '61 * * * *'")
    other = add("sound")
    clock.forward(hours=1)
    ticker.run_once()
    problem = store.require_schedule(connection, "broken").problem
    assert problem is not None
    assert "minute '61' is not * or of 0-59" in problem
    assert len(runs_of(connection, other)) == 1
    connection.execute("UPDATE schedules SET cron = '0 * * * *' WHERE name = 'broken'")
    assert store.require_schedule(connection, "broken").problem is None


def test_a_row_that_is_no_definition_is_named_too(ticker: Ticker, add: Add, connection: Connection) -> None:
    schedule = add("broken")
    connection.execute('UPDATE schedules SET cron = \'30 * * * *\', target = \'{"universe": "u", "symbols": ["A"]}\'')
    ticker.run_once()
    problem = store.require_schedule(connection, "broken").problem
    assert problem is not None
    assert "a target is either a universe or symbols" in problem
    with pytest.raises(BadInputError, match="a target is either"):
        store.require_schedule(connection, schedule.name).require_definition()


def test_while_a_run_is_open_the_next_tick_is_skipped_and_says_so(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    schedule = add()
    for _ in range(3):
        ticker.run_once()
        clock.forward(hours=1)
    (run_id,) = runs_of(connection, schedule)
    reason = f"run {run_id} is open, and max_instances is 1"
    assert ticks_of(connection, schedule) == [("01 13:00", "started", None), ("01 14:00", "skipped", reason)]
    end_runs(connection)
    ticker.run_once()
    assert len(runs_of(connection, schedule)) == 2


def test_as_many_runs_as_max_instances_are_open_at_once(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    schedule = add(max_instances=2)
    for _ in range(4):
        ticker.run_once()
        clock.forward(hours=1)
    assert [state for _, state, _ in ticks_of(connection, schedule)] == ["started", "started", "skipped"]


@pytest.mark.parametrize(
    ("catch_up", "states"),
    [
        ("skip", ["missed"] * 12),
        ("latest", ["missed"] * 11 + ["started"]),
        ("all", ["started"] + ["waiting"] * 11),
    ],
)
def test_an_hour_without_a_scheduler_is_caught_up_as_the_policy_says(
    catch_up: str, states: list[str], ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    schedule = add(cron="*/5 * * * *", catch_up=catch_up, misfire_grace_seconds=60)
    ticker.run_once()
    clock.forward(minutes=62)
    ticker.run_once()
    assert [state for _, state, _ in ticks_of(connection, schedule)] == states
    if catch_up == "all":
        for count in range(2, 13):
            end_runs(connection)
            ticker.run_once()
            assert len(runs_of(connection, schedule)) == count
        assert {state for _, state, _ in ticks_of(connection, schedule)} == {"started"}
        rows = connection.execute("SELECT scheduled_for FROM runs ORDER BY id").fetchall()
        assert rows == sorted(rows)


def test_a_long_downtime_of_a_schedule_of_every_second_is_recorded_in_bounded_steps(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    schedule = add(cron="* * * * * *", misfire_grace_seconds=1)
    ticker.run_once()
    clock.forward(hours=3)
    ticker.run_once()
    rows = history.ticks_of(connection, schedule.id, 10_000)
    assert sum(row["ticks"] for row in rows) == 3 * 3600
    assert len(rows) < 1200
    assert len(runs_of(connection, schedule)) == 1
    assert rows[-1]["reason"] == "1000 ticks from 2040-10-01 16:00:01 UTC on are too old to be caught up"


def test_pausing_starts_nothing_and_resuming_goes_on_from_then(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    schedule = add()
    ticker.run_once()
    store.set_enabled(connection, "job", False)
    clock.forward(hours=5)
    ticker.run_once()
    assert ticks_of(connection, schedule) == []
    store.set_enabled(connection, "job", True)
    plan_from(connection, clock.now, "job")
    ticker.run_once()
    clock.forward(hours=1)
    ticker.run_once()
    assert ticks_of(connection, schedule) == [("01 18:00", "started", None)]


def test_a_schedule_added_while_no_scheduler_runs_has_its_ticks_from_then(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    schedule = add(cron="10 12 * * *")
    clock.forward(minutes=30)
    ticker.run_once()
    assert [state for _, state, _ in ticks_of(connection, schedule)] == ["started"]


def test_jitter_puts_a_tick_off_by_the_same_for_all(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    schedule = add(jitter_seconds=600)
    ticker.run_once()
    planned = store.require_schedule(connection, "job")
    assert planned.next_run_at == MONDAY + timedelta(hours=1)
    assert planned.due_at is not None
    assert planned.next_run_at < planned.due_at < planned.next_run_at + timedelta(minutes=10)
    clock.now = planned.due_at - timedelta(milliseconds=1)
    ticker.run_once()
    assert runs_of(connection, schedule) == []
    clock.now = planned.due_at
    ticker.run_once()
    assert ticks_of(connection, schedule) == [("01 13:00", "started", None)]


def _race(tickers: list[Ticker]) -> None:
    barrier = threading.Barrier(len(tickers))

    def go(ticker: Ticker) -> None:
        barrier.wait()
        ticker.run_once()

    threads = [threading.Thread(target=go, args=(ticker,)) for ticker in tickers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("taken_out", ["nothing", "the lock of the row"])
def test_replicas_that_tick_at_once_make_one_run(
    taken_out: str, ticker: Ticker, add: Add, connection: Connection, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    if taken_out == "the lock of the row":
        monkeypatch.setattr(store, "lock_due", _due_without_lock)
    schedule = add(max_instances=1000)
    ticker.run_once()
    for count in range(1, 11):
        clock.forward(hours=1)
        _race([ticker, ticker])
        assert len(runs_of(connection, schedule)) == count
    assert {state for _, state, _ in ticks_of(connection, schedule)} == {"started"}


def test_without_the_key_of_a_tick_replicas_would_contend_for_the_run_itself(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "lock_due", _due_without_lock)
    monkeypatch.setattr(ticks, "insert_tick", lambda *_, **__: True)
    schedule = add(max_instances=1000)
    ticker.run_once()
    tried = []
    record = starter.record_scheduled_run

    def count(*words: Any) -> Any:
        tried.append(1)
        return record(*words)

    monkeypatch.setattr("scheduler.ticker.record_scheduled_run", count)
    for _ in range(10):
        clock.forward(hours=1)
        _race([ticker, ticker])
    assert len(tried) > 10
    assert len(runs_of(connection, schedule)) == 10


def _due_without_lock(connection: Connection, now: datetime) -> Schedule | None:
    (schedule,) = store.list_schedules(connection)
    return schedule if schedule.due_at is None or schedule.due_at <= now else None


def test_a_tick_while_redis_is_away_is_a_run_that_the_reconciler_enqueues(
    ticker: Ticker,
    add: Add,
    connection: Connection,
    clock: Clock,
    registry: Registry,
    metrics: SchedulerMetrics,
    pool: "ConnectionPool[Connection]",
) -> None:
    told = []
    away = Ticker(
        pool,
        open_streams("redis://127.0.0.1:1/0", "nowhere"),
        registry,
        resolve,
        metrics,
        clock,
        on_redis_away=lambda error: told.append(str(error)),
    )
    schedule = add()
    away.run_once()
    clock.forward(hours=1)
    away.run_once()
    (run_id,) = runs_of(connection, schedule)
    run = load_run(connection, run_id)
    assert run is not None
    assert not run.is_enqueued
    assert len(told) == 1
    assert "run 1 is in the ledger and will start when Redis can be used" in told[0]


def test_by_hand_a_run_starts_now_paused_or_not_but_not_beside_an_open_one(
    add: Add, connection: Connection, streams: Streams, registry: Registry
) -> None:
    schedule = add(enabled=False)
    run = starter.trigger(connection, streams, registry, "job")
    assert runs_of(connection, schedule) == [run.id]
    ((_, state, reason),) = ticks_of(connection, schedule)
    assert (state, reason) == ("started", "triggered by hand")
    expected = f"schedule 'job' has max_instances 1, and run {run.id} is open: wait for it, or cancel it"
    with pytest.raises(BadInputError, match=expected):
        starter.trigger(connection, streams, registry, "job")
    with pytest.raises(UnknownNameError, match="no schedule is named 'jop'; did you mean 'job'"):
        starter.trigger(connection, streams, registry, "jop")


def test_ticks_of_sessions_alone_when_there_is_a_calendar(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    clock.now = datetime(2025, 11, 26, 12, tzinfo=MONDAY.tzinfo)
    schedule = add(cron="session_close+10m", calendar="XNYS")
    for _ in range(24 * 7):
        ticker.run_once()
        clock.forward(hours=1)
        end_runs(connection)
    rows = connection.execute("SELECT scheduled_for, session FROM ticks ORDER BY 1").fetchall()
    local = [(moment.astimezone(MONDAY.tzinfo).strftime("%m-%d %H:%M"), f"{session:%m-%d}") for moment, session in rows]
    assert local[:3] == [("11-26 16:10", "11-26"), ("11-28 13:10", "11-28"), ("12-01 16:10", "12-01")]
    assert len(runs_of(connection, schedule)) == len(rows)


def test_a_change_is_told_to_every_replica_and_planning_is_not(
    ticker: Ticker, add: Add, connection: Connection, database_url: str, clock: Clock
) -> None:
    add()
    with connect(database_url) as listening:
        listening.execute("LISTEN streamworkers_schedules")
        store.set_enabled(connection, "job", False)
        assert len(list(listening.notifies(timeout=patient(5), stop_after=1))) == 1
        store.set_enabled(connection, "job", True)
        assert len(list(listening.notifies(timeout=patient(5), stop_after=1))) == 1
        ticker.run_once()
        clock.forward(hours=1)
        ticker.run_once()
        assert list(listening.notifies(timeout=0.2)) == []


def test_the_end_of_a_scheduled_run_is_told(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock, database_url: str, streams: Streams
) -> None:
    schedule = add()
    ticker.run_once()
    clock.forward(hours=1)
    ticker.run_once()
    run = load_run(connection, runs_of(connection, schedule)[0])
    assert run is not None
    connection.execute("UPDATE run_items SET status = 'completed'")
    with connect(database_url) as listening:
        listening.execute("LISTEN streamworkers_schedules")
        complete_run(connection, streams, run)
        wait_until(lambda: list(listening.notifies(timeout=0.1, stop_after=1)), 5)


def test_a_tick_that_is_decided_is_not_decided_again(add: Add, connection: Connection, clock: Clock) -> None:
    schedule = add()
    tick = Tick(clock.now, clock.now.date())
    assert ticks.insert_tick(connection, schedule, tick, TickRow("missed", "x"), clock.now)
    assert not ticks.insert_tick(connection, schedule, tick, TickRow("started"), clock.now)
