"""Many schedules at once: finding the next one does not read the others, and a long backlog takes turns."""

from datetime import timedelta

import pytest

from scheduler.ticker import Ticker
from scheduling import MONDAY, Add, Clock, ticks_of
from streamworkers.database import Connection
from streamworkers.schedules import reports, store
from streamworkers.schedules.planner import MOST_STARTED

MANY = 500


def _rows_read(connection: Connection) -> int:
    """The rows of `schedules` that this transaction has read so far, in order or by an index."""
    row = connection.execute(
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'schedules'"
    ).fetchone()
    assert row is not None
    return int(row[0])


def _rows_to_find_the_next(connection: Connection) -> int:
    with connection.transaction(force_rollback=True):
        before = _rows_read(connection)
        assert store.lock_due(connection, MONDAY) is not None
        assert store.lock_due(connection, MONDAY - timedelta(days=MANY + 1)) is None
        assert store.next_due(connection) == MONDAY - timedelta(days=MANY)
        return _rows_read(connection) - before


def test_the_next_schedule_is_found_without_reading_the_others(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO schedules (name, job, target, cron, due_at) SELECT 'job_' || n, 'noop',"
        " '{\"symbols\": [\"A\"]}', '@daily', %s - n * interval '24 h' FROM generate_series(1, %s) n",
        (MONDAY, MANY),
    )
    connection.execute("ANALYZE schedules")
    assert _rows_to_find_the_next(connection) < 10
    connection.execute("DROP INDEX schedules_due")
    assert _rows_to_find_the_next(connection) > MANY


def test_a_schedule_that_is_not_planned_is_due_first(add: Add, connection: Connection) -> None:
    add("planned")
    add("unplanned")
    connection.execute("UPDATE schedules SET due_at = NULL WHERE name = 'unplanned'")
    connection.execute("UPDATE schedules SET due_at = '2020-01-01' WHERE name = 'planned'")
    due = store.lock_due(connection, MONDAY)
    assert due is not None
    assert due.name == "unplanned"


def test_a_long_backlog_takes_turns_with_the_schedules_that_are_due(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = add("behind", cron="* * * * * *", catch_up="all", max_instances=1000, misfire_grace_seconds=0)
    beside = [add(f"beside_{number}") for number in range(3)]
    clock.forward(hours=1, seconds=1)
    monkeypatch.setattr("scheduler.ticker._MOST_STEPS", 4)
    assert ticker.run_once() == 0
    assert [row["ticks"] for row in reports.ticks_of(connection, behind.id, 10)] == [1000]
    assert store.next_due(connection) == clock.now
    for schedule in beside:
        assert ticks_of(connection, schedule) == [("01 13:00", "started", None)]
    # Then it takes the others' steps too, of which one starts a bounded number of runs.
    for _ in range(3):
        ticker.run_once()
    rows = reports.ticks_of(connection, behind.id, 1000)
    assert sum(row["ticks"] for row in rows) == 3601
    assert sum(row["state"] == "started" for row in rows) == 100


def test_a_step_starts_a_bounded_number_of_runs(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = add(cron="* * * * * *", coalesce=False, max_instances=1000)
    clock.forward(seconds=25)
    monkeypatch.setattr("scheduler.ticker._MOST_STEPS", 1)
    ticker.run_once()
    assert len(ticks_of(connection, schedule)) == MOST_STARTED
    ticker.run_once()
    assert [state for _, state, _ in ticks_of(connection, schedule)] == ["started"] * 25


def test_the_backlog_of_a_paused_schedule_does_not_keep_the_others_waiting(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = add("paused", cron="* * * * * *")
    beside = add("beside")
    clock.forward(hours=1, seconds=1)
    connection.execute("UPDATE schedules SET enabled = false WHERE name = 'paused'")
    connection.execute("UPDATE schedule_timings SET valid_to = %s WHERE ended_by = 'pause'", (clock.now,))
    monkeypatch.setattr("scheduler.ticker._MOST_SKIPS", 2)
    monkeypatch.setattr("scheduler.ticker._MOST_STEPS", 2)
    assert ticker.run_once() == 0
    assert sum(row["ticks"] for row in reports.ticks_of(connection, paused.id, 1000)) == 2000
    assert ticks_of(connection, beside) == [("01 13:00", "started", None)]
    ticker.run_once()
    assert sum(row["ticks"] for row in reports.ticks_of(connection, paused.id, 1000)) == 3601
