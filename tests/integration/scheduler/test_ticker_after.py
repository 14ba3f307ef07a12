"""Schedules that come after others, on real services, by a clock that the test turns."""

from typing import Any

import pytest

from scheduler.ticker import Ticker
from scheduling import Add, Clock, end_runs, runs_of, ticks_of
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.schedules import reports as history
from streamworkers.schedules import run_factory as starter
from streamworkers.schedules import store, ticks
from streamworkers.schedules.run_factory import Changes
from streamworkers.schedules.store import Schedule
from streamworkers.schedules.ticks import TickRow
from streamworkers.schedules.timing import Tick


class TestAfter:
    """A schedule that comes after another."""

    def _both(self, add: Add, **fields: Any) -> tuple[Schedule, Schedule]:
        parent = add("parent", cron="10 18 * * *")
        return parent, add("child", cron="20 18 * * *", after="parent", **fields)

    def _at(self, ticker: Ticker, clock: Clock, hour: int, minute: int) -> None:
        clock.now = clock.now.replace(hour=hour, minute=minute)
        ticker.run_once()

    def test_it_starts_when_the_other_run_has_completed(
        self, ticker: Ticker, add: Add, connection: Connection, clock: Clock
    ) -> None:
        parent, child = self._both(add)
        ticker.run_once()
        self._at(ticker, clock, 18, 10)
        self._at(ticker, clock, 18, 20)
        assert ticks_of(connection, child) == [("01 18:20", "waiting", "for parent")]
        self._at(ticker, clock, 18, 40)
        assert runs_of(connection, child) == []
        end_runs(connection)
        ticker.run_once()
        assert len(runs_of(connection, child)) == 1
        (row,) = history.ticks_of(connection, child.id, 10)
        assert row["state"] == "started"
        assert row["detail"] == {
            "after": "parent",
            "run_id": runs_of(connection, parent)[0],
            "coverage": 1.0,
            "missing": [],
        }

    def test_it_starts_with_enough_coverage_and_lists_what_is_missing(
        self, ticker: Ticker, add: Add, connection: Connection, clock: Clock
    ) -> None:
        parent = add("parent", cron="10 18 * * *", target={"symbols": [f"S{n}" for n in range(100)]})
        child = add("child", cron="20 18 * * *", after="parent", min_coverage=0.99)
        ticker.run_once()
        self._at(ticker, clock, 18, 20)
        connection.execute("UPDATE run_items SET status = 'failed' WHERE symbol = 'S7'")
        end_runs(connection)
        ticker.run_once()
        (row,) = history.ticks_of(connection, child.id, 10)
        (run_id,) = runs_of(connection, parent)
        assert (row["state"], row["detail"]["missing"]) == ("started", ["S7"])
        assert row["reason"] == f"run {run_id} of parent is COMPLETED with a coverage of 0.9900"

    @pytest.mark.parametrize(("action", "state"), [("start", "started"), ("skip", "skipped")])
    def test_after_its_timeout_it_does_as_it_was_told(
        self, action: str, state: str, ticker: Ticker, add: Add, connection: Connection, clock: Clock
    ) -> None:
        parent, child = self._both(add, after_timeout_seconds=600, after_timeout_action=action)
        ticker.run_once()
        self._at(ticker, clock, 18, 10)
        self._at(ticker, clock, 18, 20)
        self._at(ticker, clock, 18, 29)
        assert [found for _, found, _ in ticks_of(connection, child)] == ["waiting"]
        self._at(ticker, clock, 18, 30)
        (row,) = history.ticks_of(connection, child.id, 10)
        assert row["state"] == state
        assert row["detail"]["missing"] == ["A", "B"]
        (run_id,) = runs_of(connection, parent)
        assert row["reason"] == (
            f"run {run_id} of parent is PENDING with a coverage of 0.0000, and the wait for a coverage of 1 is over"
        )

    def test_it_waits_for_the_run_of_its_own_session(
        self, ticker: Ticker, add: Add, connection: Connection, clock: Clock
    ) -> None:
        parent, child = self._both(add, catch_up="latest")
        ticker.run_once()
        self._at(ticker, clock, 18, 20)
        end_runs(connection)
        ticker.run_once()
        end_runs(connection)
        clock.forward(days=1)
        store.set_enabled(connection, "parent", False)
        ticker.run_once()
        assert [state for _, state, _ in ticks_of(connection, child)] == ["started", "waiting"]
        assert len(runs_of(connection, parent)) == 1
        clock.forward(hours=1)
        ticker.run_once()
        reason = ticks_of(connection, child)[-1][2]
        assert reason is not None
        assert reason.startswith("parent has had no tick in this session, and the wait")

    def test_a_tick_that_waits_while_its_schedule_is_paused_is_skipped(
        self, ticker: Ticker, add: Add, connection: Connection, clock: Clock
    ) -> None:
        _, child = self._both(add)
        ticker.run_once()
        self._at(ticker, clock, 18, 20)
        store.set_enabled(connection, "child", False)
        ticker.run_once()
        assert ticks_of(connection, child) == [("01 18:20", "skipped", "the schedule was paused while the tick waited")]

    def test_a_run_that_was_rejected_is_named(
        self, ticker: Ticker, add: Add, connection: Connection, clock: Clock
    ) -> None:
        add("parent", cron="10 18 * * *", job="gone")
        child = add("child", cron="20 18 * * *", after="parent", after_timeout_seconds=0, after_timeout_action="skip")
        ticker.run_once()
        self._at(ticker, clock, 18, 20)
        ((_, state, reason),) = ticks_of(connection, child)
        assert state == "skipped"
        assert reason is not None
        assert reason.startswith("the tick of parent is rejected: no job is named 'gone'")


def test_a_run_about_something_else_is_not_what_others_wait_for(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock, streams: Streams, registry: Registry
) -> None:
    parent = add("parent", cron="10 18 * * *", max_instances=2)
    child = add("child", cron="20 18 * * *", after="parent")
    ticker.run_once()
    clock.now = clock.now.replace(hour=18, minute=10)
    ticker.run_once()
    clock.now = clock.now.replace(minute=20)
    ticker.run_once()
    for changes, state in ((Changes(symbols=("A",)), "waiting"), (Changes(), "started")):
        run = starter.trigger(connection, streams, registry, "parent", changes)
        connection.execute(
            "UPDATE ticks SET session = %s, scheduled_for = %s WHERE run_id = %s",
            (clock.now.date(), clock.now.replace(second=run.id), run.id),
        )
        connection.execute("UPDATE run_items SET status = 'completed' WHERE run_id = %s", (run.id,))
        connection.execute(
            "UPDATE runs SET status = 'COMPLETED', completed_count = item_count, completed_at = now() WHERE id = %s",
            (run.id,),
        )
        ticker.run_once()
        assert [found for _, found, _ in ticks_of(connection, child)] == [state]
    assert len(runs_of(connection, parent)) == 3


def test_a_dependency_sees_the_run_behind_a_tick_that_was_skipped_and_one_by_hand(
    ticker: Ticker, add: Add, connection: Connection, clock: Clock, streams: Streams, registry: Registry
) -> None:
    parent = add("parent", cron="10,15 18 * * *", max_instances=2)
    child = add("child", cron="20 18 * * *", after="parent")
    ticker.run_once()
    clock.now = clock.now.replace(hour=18, minute=10)
    ticker.run_once()
    end_runs(connection, "FAILED")
    connection.execute("UPDATE schedules SET max_instances = 1 WHERE name = 'parent'")
    ticks.insert_tick(
        connection, parent, Tick(clock.now.replace(minute=15), clock.now.date()), TickRow("skipped", "x"), clock.now
    )
    clock.now = clock.now.replace(minute=20)
    ticker.run_once()
    assert [state for _, state, _ in ticks_of(connection, child)] == ["waiting"]
    run = starter.trigger(connection, streams, registry, "parent")
    connection.execute(
        "UPDATE ticks SET session = %s, scheduled_for = %s WHERE run_id = %s",
        (clock.now.date(), clock.now.replace(minute=30), run.id),
    )
    connection.execute("UPDATE run_items SET status = 'completed' WHERE run_id = %s", (run.id,))
    connection.execute(
        "UPDATE runs SET status = 'COMPLETED', completed_count = 2, completed_at = now() WHERE id = %s",
        (run.id,),
    )
    ticker.run_once()
    (tick,) = history.ticks_of(connection, child.id, 5)
    assert (tick["state"], tick["detail"]["run_id"]) == ("started", run.id)
