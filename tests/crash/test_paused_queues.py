"""Real workers and a queue that is paused: nothing of it begins after the pause, also from an emptied Redis."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness import effects_of, run_status, running_supervisor, start_run, wait_for_end, wait_until
from patience import Deadline, paced
from streamworkers.admin import queues
from streamworkers.database import Connection, fetch_value
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

TESTS = ("--processes", "2", "--queue", "tests", "--queue", "bench")


@pytest.fixture
def environment(quick_environment: dict[str, str]) -> dict[str, str]:
    """Everything here is about the engine."""
    return quick_environment


def _names(count: int) -> list[str]:
    return [f"S{number:04}" for number in range(count)]


def _closed(connection: Connection, run: Run) -> int:
    count: int = fetch_value(
        connection, "SELECT count(*) FROM run_items WHERE run_id = %s AND status = 'completed'", (run.id,)
    )
    return count


def _newest_call(connection: Connection, run: Run) -> datetime:
    """When the last call began that closed items of a run."""
    moment: datetime = fetch_value(connection, "SELECT max(started_at) FROM run_items WHERE run_id = %s", (run.id,))
    return moment


def test_nothing_begins_after_a_pause_and_all_goes_on_after_it(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    pace = {"milliseconds": paced(3.0)}
    run = start_run(connection, streams, registry, "ledger_entry", *_names(1000), parameters=pace)
    with running_supervisor(environment, tmp_path, *TESTS):
        wait_until(lambda: _closed(connection, run) > 100)
        queues.pause_queue(connection, streams, "tests", "a test")
        returned = datetime.now(UTC)
        wait_until(lambda: queues.count_executing(streams, "tests") == 0, what="what was executed ends normally")
        closed = _closed(connection, run)
        assert 100 < closed < 1000
        # Workers that wait for entries get those of another queue, and none of this one.
        other = start_run(connection, streams, registry, "noop", *_names(50))
        late = start_run(connection, streams, registry, "ledger_entry", "LATE", priority="high")
        assert wait_for_end(connection, other) == "COMPLETED"
        assert (_closed(connection, run), run_status(connection, late)) == (closed, "PENDING")
        assert _newest_call(connection, run) <= returned
        queues.resume_queue(connection, streams, "tests")
        assert [wait_for_end(connection, each) for each in (run, late)] == ["COMPLETED"] * 2
    assert effects_of(connection, run) == _names(1000)


def test_idle_workers_begin_nothing_that_is_enqueued_after_a_pause_though_redis_is_emptied(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    """They wait for entries when the pause comes, and its flag is lost before any are added."""
    warm = start_run(connection, streams, registry, "ledger_entry", "WARM")
    with running_supervisor(environment, tmp_path, *TESTS) as supervisor:
        assert wait_for_end(connection, warm) == "COMPLETED"
        wait_until(lambda: len(supervisor.worker_pids()) == 2)
        queues.pause_queue(connection, streams, "tests", "a test")
        streams.client.raw.flushall()
        runs = [start_run(connection, streams, registry, "ledger_entry", f"S{number}") for number in range(20)]
        wait_until(lambda: streams.client.raw.exists(streams.keys.paused("tests")), what="the flag is set again")
        other = start_run(connection, streams, registry, "noop", *_names(50))
        assert wait_for_end(connection, other) == "COMPLETED"
        wait_until(Deadline(2.0).has_passed, what="time to do what must not be done")
        assert {run_status(connection, run) for run in runs} <= {"PENDING"}
        queues.resume_queue(connection, streams, "tests")
        assert {wait_for_end(connection, run) for run in runs} == {"COMPLETED"}
    assert [effects_of(connection, run) for run in runs] == [[f"S{number}"] for number in range(20)]
