"""Backfills: each tick of a period gets one successful run, a few at once, also with several drivers and kills."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from psycopg_pool import ConnectionPool

from scheduler.backfill_runs import BackfillRuns
from scheduling import NEW_YORK
from streamworkers.actor import LOCAL
from streamworkers.database import Connection, fetch_value
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError
from streamworkers.schedules import run_factory, store
from streamworkers.schedules.backfills.done import MissingTick, list_missing
from streamworkers.schedules.backfills.driver import drive
from streamworkers.schedules.backfills.period import Period
from streamworkers.schedules.backfills.retention import count_old_backfills, delete_old_backfills
from streamworkers.schedules.backfills.store import (
    AddedBackfill,
    BackfillOptions,
    add_backfill,
    cancel_backfill,
    count_ticks,
    read_ticks,
    require_backfill,
)
from streamworkers.schedules.backfills.subject import plan_backfill, require_ticks, subject_of_schedule
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.run_factory import Changes
from streamworkers.schedules.store import Schedule
from submitting import end_submitted_runs, install_jobs

_WEEK = Period(date(2024, 7, 1), date(2024, 7, 8))  # five sessions: the fourth of July is a holiday
_DAYS = [f"2024-07-0{day}" for day in (1, 2, 3, 5, 8)]
Backfill = Callable[..., AddedBackfill]


@pytest.fixture
def schedule(connection: Connection, registry: Registry) -> Schedule:
    """A schedule of the job `noop` at 18:10 on sessions, paused: its own ticks are written by the tests."""
    install_jobs(connection, registry)
    fields = {"name": "evening", "job": "noop", "target": {"symbols": ["A"]}, "cron": "10 18 * * *", "calendar": "XNYS"}
    store.save_schedule(connection, ScheduleDefinition.parse(fields | {"enabled": False}))
    return store.require_schedule(connection, "evening")


@pytest.fixture
def backfill(connection: Connection, schedule: Schedule) -> Backfill:
    """Add a backfill of the schedule over the week."""

    def add(period: Period = _WEEK, *, again: bool = False, parallel: int = 2, on: Connection = connection) -> Any:
        timing = require_ticks(schedule.name, schedule.require_definition())
        plan = plan_backfill(on, subject_of_schedule(schedule), timing, period, again=again)
        return add_backfill(on, plan.subject, period, plan.ticks, BackfillOptions(parallel, again, "ann"), LOCAL)

    return add


def _tick(day: str) -> datetime:
    return datetime.fromisoformat(f"{day}T18:10").replace(tzinfo=NEW_YORK)


def _record_tick(
    connection: Connection, schedule: Schedule, day: str, state: str, *, status: str | None = None
) -> None:
    """A tick of the schedule as the scheduler writes it, with its run in that state."""
    run = None
    if status is not None:
        run = fetch_value(
            connection,
            "INSERT INTO runs (job, queue, target, item_count, max_attempts, status, schedule_id, schedule,"
            " scheduled_for, trigger) VALUES ('noop', 'bench', 'A', 1, 1, %s, %s, %s, %s, 'schedule') RETURNING id",
            (status, schedule.id, schedule.name, _tick(day)),
        )
    connection.execute(
        "INSERT INTO ticks (schedule_id, scheduled_for, session, state, reason, run_id)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (schedule.id, _tick(day), day, state, None if run else f"it was {state}", run),
    )


def _states(connection: Connection, backfill_id: int | None) -> dict[str, str]:
    assert backfill_id is not None
    return {row["session"].isoformat(): row["state"] for row in read_ticks(connection, backfill_id, 100)}


def _finish(connection: Connection, backfill_id: int | None, most: int = 20) -> Counter[str]:
    """Drive to the end, where every run succeeds."""
    assert backfill_id is not None
    for _ in range(most):
        step = drive(connection, backfill_id)
        if step is None or step.has_ended:
            break
        end_submitted_runs(connection)
    assert require_backfill(connection, backfill_id).state == "ended"
    return Counter(count_ticks(connection, [backfill_id])[backfill_id])


def _runs_by_tick(connection: Connection) -> Counter[datetime]:
    return Counter(moment for (moment,) in connection.execute("SELECT scheduled_for FROM runs"))


def test_each_tick_of_the_period_has_one_run_as_of_itself_and_few_are_open(
    backfill: Backfill, connection: Connection, pool: "ConnectionPool[Connection]"
) -> None:
    added = backfill()
    assert (added.counts, added.elsewhere) == ({"waiting": 5}, {})
    assert added.id is not None
    service = BackfillRuns(pool)
    most = 0
    for _ in range(10):
        pause = service.run_once()
        open_runs = fetch_value(connection, "SELECT count(*) FROM runs WHERE status IN ('PENDING', 'RUNNING')")
        assert (pause is not None) == (open_runs > 0)
        most = max(most, open_runs)
        end_submitted_runs(connection)
    assert most == 2
    assert require_backfill(connection, added.id).state == "ended"
    assert _states(connection, added.id) == dict.fromkeys(_DAYS, "completed")
    rows = connection.execute(
        "SELECT as_of, scheduled_for, schedule, schedule_id, requested_by, trigger, target FROM runs ORDER BY as_of"
    ).fetchall()
    assert rows == [(_tick(day), _tick(day), "evening", None, "ann", "manual", "A") for day in _DAYS]
    # It is no run of the schedule's own: nothing is late, and tonight's tick has its instance.
    assert store.require_schedule(connection, "evening").next_run_at is None


def test_what_is_complete_is_skipped_unless_it_is_to_be_done_again(
    backfill: Backfill, connection: Connection, schedule: Schedule
) -> None:
    _record_tick(connection, schedule, _DAYS[0], "started", status="COMPLETED")
    _record_tick(connection, schedule, _DAYS[1], "started", status="COMPLETED_WITH_ERRORS")
    _record_tick(connection, schedule, _DAYS[2], "missed")
    added = backfill()
    assert added.counts == {"skipped": 1, "waiting": 4}
    assert _finish(connection, added.id) == {"skipped": 1, "completed": 4}
    nothing = backfill()
    assert (nothing.id, nothing.counts) == (None, {"skipped": 5})
    # Also when the run of a completed tick is not kept any more.
    connection.execute("DELETE FROM runs WHERE id = (SELECT max(id) FROM runs)")
    assert backfill().id is None
    again = backfill(again=True)
    assert again.counts == {"waiting": 5}
    assert _finish(connection, again.id) == {"completed": 5}


def test_a_failed_run_is_the_reason_and_the_next_backfill_does_only_that(
    backfill: Backfill, connection: Connection
) -> None:
    first = backfill(parallel=1)
    assert first.id is not None
    drive(connection, first.id)
    end_submitted_runs(connection, "FAILED")
    connection.execute("UPDATE runs SET reason = 'no bars' WHERE status = 'FAILED'")
    assert _finish(connection, first.id) == {"failed": 1, "completed": 4}
    (row,) = read_ticks(connection, first.id, 10, ["failed"])
    assert (row["session"].isoformat(), row["reason"]) == (_DAYS[0], f"run {row['run_id']} is FAILED: no bars")
    second = backfill()
    assert second.counts == {"skipped": 4, "waiting": 1}
    assert _finish(connection, second.id) == {"skipped": 4, "completed": 1}
    assert sum(_runs_by_tick(connection).values()) == 6


def test_a_run_that_is_repeated_later_counts(backfill: Backfill, connection: Connection) -> None:
    first = backfill(parallel=1)
    assert first.id is not None
    drive(connection, first.id)
    end_submitted_runs(connection, "FAILED")
    _finish(connection, first.id)
    second = backfill()
    assert second.id is not None
    connection.execute("UPDATE runs SET status = 'RUNNING', completed_at = NULL WHERE status = 'FAILED'")
    drive(connection, second.id)
    assert _states(connection, second.id)[_DAYS[0]] == "waiting"  # it has an open run: another one is not started
    connection.execute("UPDATE runs SET status = 'COMPLETED' WHERE status = 'RUNNING'")
    assert _finish(connection, second.id) == {"skipped": 5}
    assert sum(_runs_by_tick(connection).values()) == 5
    assert backfill().id is None


def test_two_backfills_at_once_share_no_tick(
    backfill: Backfill, connection: Connection, pool: "ConnectionPool[Connection]"
) -> None:
    def add(_: int) -> AddedBackfill:
        with pool.connection() as own:
            return backfill(on=own)

    with ThreadPoolExecutor(4) as threads:
        added = list(threads.map(add, range(4)))
    (winner,) = [each for each in added if each.id is not None]
    assert [each.elsewhere for each in added if each.id is None] == 3 * [{winner.id: 5}]
    wider = backfill(replace(_WEEK, last=date(2024, 7, 10)))
    assert (wider.counts, wider.elsewhere) == ({"waiting": 2}, {winner.id: 5})
    _finish(connection, winner.id)
    _finish(connection, wider.id)
    assert set(_runs_by_tick(connection).values()) == {1}
    assert len(_runs_by_tick(connection)) == 7


def test_without_its_index_two_backfills_would_share_ticks(backfill: Backfill, connection: Connection) -> None:
    connection.execute("DROP INDEX backfill_ticks_once")
    first, second = backfill(), backfill()
    assert first.counts == second.counts == {"waiting": 5}


def test_many_drivers_start_each_run_once(
    backfill: Backfill, connection: Connection, pool: "ConnectionPool[Connection]"
) -> None:
    added = backfill(parallel=3)
    assert added.id is not None

    def step(_: int) -> None:
        with pool.connection() as own:
            assert added.id is not None
            drive(own, added.id)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(step, range(8)))
    assert list(_runs_by_tick(connection).values()) == 3 * [1]
    with connection.transaction(), pool.connection() as own:
        drive(connection, added.id)
        assert drive(own, added.id) is None


def test_a_driver_that_dies_leaves_neither_half_of_a_start(backfill: Backfill, connection: Connection) -> None:
    added = backfill()
    assert added.id is not None

    def die() -> None:
        assert added.id is not None
        with connection.transaction():
            drive(connection, added.id)
            assert len(_runs_by_tick(connection)) == 2
            raise ConnectionError

    with pytest.raises(ConnectionError):
        die()
    assert _runs_by_tick(connection) == {}
    assert _states(connection, added.id) == dict.fromkeys(_DAYS, "waiting")
    assert _finish(connection, added.id) == {"completed": 5}
    assert list(_runs_by_tick(connection).values()) == 5 * [1]


def test_a_tick_with_an_open_run_or_that_is_not_decided_is_left_to_the_scheduler(
    backfill: Backfill, connection: Connection, schedule: Schedule
) -> None:
    _record_tick(connection, schedule, _DAYS[0], "started", status="RUNNING")
    _record_tick(connection, schedule, _DAYS[1], "waiting")
    connection.execute("UPDATE schedules SET enabled = true")
    connection.execute("UPDATE schedules SET next_run_at = %s", (_tick(_DAYS[3]),))
    added = backfill(parallel=5)
    assert added.id is not None
    drive(connection, added.id)
    assert list(_states(connection, added.id).values()) == ["waiting", "waiting", "started", "waiting", "waiting"]
    end_submitted_runs(connection)  # also that of the tick
    connection.execute("UPDATE ticks SET state = 'skipped' WHERE state = 'waiting'")
    drive(connection, added.id)
    assert list(_states(connection, added.id).values()) == ["skipped", "started", "completed", "waiting", "waiting"]
    # One that is never decided does not wait for ever.
    connection.execute("UPDATE backfill_ticks SET changed_at = changed_at - interval '61 min' WHERE state = 'waiting'")
    drive(connection, added.id)
    assert list(_states(connection, added.id).values())[3:] == ["started", "started"]


def test_a_cancelled_backfill_and_that_of_a_removed_schedule_start_no_more(
    backfill: Backfill, connection: Connection
) -> None:
    added = backfill()
    assert added.id is not None
    drive(connection, added.id)
    assert cancel_backfill(connection, added.id, LOCAL) == 3
    end_submitted_runs(connection)
    step = drive(connection, added.id)
    assert step is not None
    assert step.has_ended
    assert count_ticks(connection, [added.id])[added.id] == {"completed": 2, "cancelled": 3}
    with pytest.raises(BadInputError, match=f"backfill {added.id} is cancelled: there is nothing to cancel"):
        cancel_backfill(connection, added.id, LOCAL)

    rest = backfill(parallel=1)
    assert (rest.counts, rest.id is not None) == ({"skipped": 2, "waiting": 3}, True)
    assert rest.id is not None
    drive(connection, rest.id)
    store.remove_schedule(connection, "evening")
    end_submitted_runs(connection)
    assert _finish(connection, rest.id) == {"skipped": 2, "completed": 1, "cancelled": 2}


def test_a_pool_that_has_not_recorded_its_jobs_is_waited_for_but_not_for_ever(
    backfill: Backfill, connection: Connection, registry: Registry
) -> None:
    added = backfill()
    assert added.id is not None
    connection.execute("DELETE FROM job_types")
    drive(connection, added.id)
    assert _states(connection, added.id) == dict.fromkeys(_DAYS, "waiting")
    connection.execute("UPDATE backfills SET created_at = created_at - interval '61 min'")
    step = drive(connection, added.id)
    assert step is not None
    assert step.has_ended
    (row, *_) = read_ticks(connection, added.id, 10, ["failed"])
    assert row["reason"].startswith("no process of the pool has a job named 'noop'")


def test_a_run_triggered_by_hand_as_scheduled_stands_for_its_tick(
    connection: Connection, streams: Streams, registry: Registry, schedule: Schedule, backfill: Backfill
) -> None:
    install_jobs(connection, registry)
    for changes in (Changes(), Changes(as_of=_tick(_DAYS[0]))):
        run_factory.trigger(connection, streams, registry, "evening", changes)
        end_submitted_runs(connection)
    moments = [_tick(_DAYS[1]) + timedelta(minutes=30), _tick(_DAYS[2]) + timedelta(minutes=30)]
    for (key,), moment, day in zip(
        connection.execute("SELECT scheduled_for FROM ticks ORDER BY scheduled_for").fetchall(),
        moments,
        _DAYS[1:3],
        strict=True,
    ):
        connection.execute(
            "UPDATE ticks SET scheduled_for = %s, session = %s WHERE scheduled_for = %s", (moment, day, key)
        )
    added = backfill()
    assert {day for day, state in _states(connection, added.id).items() if state == "skipped"} == {_DAYS[1]}


def test_what_is_missing_is_listed_with_the_reason(
    backfill: Backfill, connection: Connection, schedule: Schedule
) -> None:
    for day, state, status in (
        (_DAYS[0], "started", "COMPLETED"),
        (_DAYS[1], "started", "COMPLETED_WITH_ERRORS"),
        (_DAYS[2], "missed", None),
        (_DAYS[3], "rejected", None),
    ):
        _record_tick(connection, schedule, day, state, status=status)

    def missing(seconds_before: float = 0.0) -> list[MissingTick]:
        now = _tick("2024-07-10") - timedelta(seconds=seconds_before)
        return list_missing(connection, schedule, _tick(_DAYS[0]), now)

    none = "no tick was recorded: the schedule was not there yet, was another or was paused"
    found = missing()
    run = found[0].run_id
    assert [(each.tick.session.isoformat(), each.state, each.why) for each in found] == [
        (_DAYS[1], "failed", f"run {run} is COMPLETED_WITH_ERRORS"),
        (_DAYS[2], "missed", "it was missed"),
        (_DAYS[3], "rejected", "it was rejected"),
        (_DAYS[4], "none", none),
        ("2024-07-09", "none", none),
        ("2024-07-10", "none", none),
    ]
    assert len(missing(seconds_before=1)) == 5

    _record_tick(connection, schedule, "2024-07-09", "started", status="RUNNING")
    _record_tick(connection, schedule, "2024-07-10", "started", status="COMPLETED")
    connection.execute("DELETE FROM runs WHERE id = (SELECT max(id) FROM runs)")
    added = backfill(parallel=1)
    assert added.id is not None
    drive(connection, added.id)
    states = [(each.state, each.why) for each in missing()]
    assert states[0] == ("open", f"backfill {added.id}: it is started")
    assert states[1:4] == 3 * [("open", f"backfill {added.id}: it is waiting")]
    assert [state for state, _ in states[4:]] == ["open", "unknown"]
    assert states[5][1] == "its run is not kept any more"
    connection.execute("UPDATE runs SET status = 'FAILED' WHERE id = (SELECT max(id) FROM runs)")
    _finish(connection, added.id)
    assert [(each.state, each.tick.session.isoformat()) for each in missing()] == [
        ("failed", _DAYS[1]),
        ("unknown", "2024-07-10"),
    ]


def test_old_backfills_are_removed_in_bounded_steps(backfill: Backfill, connection: Connection) -> None:
    added = backfill()
    assert added.id is not None
    _finish(connection, added.id)
    backfill(again=True)
    before = datetime.now(UTC) + timedelta(days=1)
    assert count_old_backfills(connection, "", before) == 6
    assert [delete_old_backfills(connection, "", before, 2) for _ in range(4)] == [2, 2, 2, 0]
    assert fetch_value(connection, "SELECT count(*) FROM backfill_ticks") == 5
