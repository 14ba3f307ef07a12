"""Real workers on three lanes: who goes first, kills, an emptied Redis, and entries of a release without lanes."""

import os
import signal
from pathlib import Path

import pytest

from harness import effects_of, items_of, run_status, running_supervisor, start_run, wait_for_end, wait_until
from patience import paced
from streamworkers.database import Connection, fetch_value
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.lanes import PRIORITIES, lanes_of, name_lane
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

TESTS = ("--queue", "tests")


@pytest.fixture
def environment(quick_environment: dict[str, str]) -> dict[str, str]:
    """Everything here is about the engine."""
    return quick_environment


def _names(count: int) -> list[str]:
    return [f"S{number:04}" for number in range(count)]


def _done(connection: Connection, run: Run) -> int:
    return len(effects_of(connection, run))


def test_a_small_run_overtakes_a_large_one_which_still_progresses(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    pace = {"milliseconds": paced(2.0)}
    large = start_run(connection, streams, registry, "ledger_entry", *_names(4000), priority="low", parameters=pace)
    with running_supervisor(environment, tmp_path, "--processes", "2", *TESTS):
        wait_until(lambda: _done(connection, large) > 0, what="the large run has begun")
        small = start_run(connection, streams, registry, "ledger_entry", *_names(1000), parameters=pace)
        before = _done(connection, large)
        assert wait_for_end(connection, small) == "COMPLETED"
        meanwhile = _done(connection, large) - before
        assert run_status(connection, large) == "RUNNING"
        assert 0 < meanwhile < 1000, "an eighth of the reads, and what was in hand when it came"
        connection.execute(
            "UPDATE run_items SET status = 'cancelled' WHERE run_id = %s AND status = 'pending'", (large.id,)
        )


def test_a_worker_killed_in_each_lane_loses_nothing_and_doubles_nothing(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    pace = {"milliseconds": paced(10.0)}
    with running_supervisor(environment, tmp_path, "--processes", "1", *TESTS) as supervisor:
        for kills, priority in enumerate(PRIORITIES, 1):
            lane = name_lane("tests", priority)
            run = start_run(
                connection, streams, registry, "ledger_entry", *_names(120), priority=priority, parameters=pace
            )
            wait_until(lambda run=run: _done(connection, run) > 20)  # type: ignore[misc]
            wait_until(lambda lane=lane: streams.inspector.read_backlog(lane).pending > 0)  # type: ignore[misc]
            os.kill(supervisor.worker_pids()[0], signal.SIGKILL)
            assert wait_for_end(connection, run) == "COMPLETED", priority
            assert effects_of(connection, run) == _names(120), priority
            assert {attempt for _, attempt, _ in items_of(connection, run).values()} == {1}
            assert len([e for e in supervisor.events("worker_ended") if e["reason"]]) == kills
        assert supervisor.stop() == 0
    assert [streams.inspector.read_consumers(lane) for lane in lanes_of("tests")] == [{}] * 3


def test_an_emptied_redis_costs_no_run_in_any_lane(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    pace = {"milliseconds": paced(5.0)}
    runs = [
        start_run(connection, streams, registry, "ledger_entry", *_names(150), priority=priority, parameters=pace)
        for priority in PRIORITIES
    ]
    with running_supervisor(environment, tmp_path, "--processes", "2", *TESTS):
        wait_until(lambda: _done(connection, runs[0]) > 20)
        streams.client.raw.flushall()
        assert [wait_for_end(connection, run) for run in runs] == ["COMPLETED"] * 3
    assert [effects_of(connection, run) for run in runs] == [_names(150)] * 3


def test_entries_of_a_release_without_lanes_are_the_normal_lane_and_its_heartbeat_serves_no_other(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    """The release before adds to `{tests}:stream` and stores the queue's name: as the normal lane."""
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    assert fetch_value(connection, f"SELECT queue FROM runs WHERE id = {run.id}") == "tests"
    stream = f"{streams.keys.prefix}:{{tests}}:stream"
    assert streams.client.raw.xlen(stream) == 2
    with running_supervisor(environment, tmp_path, "--processes", "1", *TESTS):
        assert wait_for_end(connection, run) == "COMPLETED"
        heartbeats = streams.inspector.read_heartbeats().values()
        assert [sorted(each.queues) for each in heartbeats] == [sorted(lanes_of("tests"))]
        doing = fetch_value(connection, "SELECT doing FROM processes WHERE kind = 'supervisor'")
        assert doing["queues"] == ["tests"]
