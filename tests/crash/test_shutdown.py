"""How pools end: on a signal, on a second one, while a service is away, while workers still start, and by force."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness import (
    Supervisor,
    effects_of,
    is_running,
    items_of,
    running_supervisor,
    start_run,
    wait_for_end,
    wait_until,
)
from memory import folder_of_services
from patience import patient
from streamworkers.config import Settings
from streamworkers.database import Connection, connect
from streamworkers.embedded import EmbeddedServices
from streamworkers.engine import ledger
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.entry import unpack_entry
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.engine.registry import Registry
from streamworkers.migrations import migrate

TESTS = ("--queue", "tests")
STOP_SECONDS = 60.0
MANY = 10_000


@pytest.fixture
def environment(quick_environment: dict[str, str]) -> dict[str, str]:
    """Everything here is about the engine."""
    return quick_environment


@dataclass(frozen=True)
class PrivateServices:
    """Services that a test may take away, and the environment in which commands find them."""

    embedded: EmbeddedServices
    environment: dict[str, str]
    streams: Streams

    def connect(self) -> Connection:
        """A new connection, since one does not outlive its server."""
        return connect(self.embedded.postgres.url, application="test")


@pytest.fixture
def private_services(environment: dict[str, str], key_prefix: str) -> Iterator[PrivateServices]:
    folder = folder_of_services("sw-shutdown-")
    embedded = EmbeddedServices(Settings(data_dir=folder))
    try:
        embedded.start()
        with connect(embedded.postgres.url) as connection:
            migrate(connection)
            connection.execute("CREATE TABLE effects (run_id bigint NOT NULL, symbol text NOT NULL)")
        streams = open_streams(embedded.redis.url, key_prefix)
        urls = {"REDIS": embedded.redis.url, "DATABASE": embedded.postgres.url}
        variables = {f"STREAMWORKERS_{name}_URL": url for name, url in urls.items()}
        yield PrivateServices(embedded, environment | variables, streams)
        streams.close()
    finally:
        embedded.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _symbols(count: int) -> list[str]:
    return [f"S{number:05}" for number in range(count)]


def _is_under_way(connection: Connection, run: Run, done: int) -> bool:
    return ledger.count_items(connection, run).get("completed", 0) >= done


def _assert_all_gone(supervisor: Supervisor) -> None:
    """No worker that was ever started runs; the supervisor has waited for each, so nothing has to be waited for."""
    started = [event["pid"] for event in supervisor.events("worker_started")]
    assert started
    assert not [pid for pid in started if is_running(pid)]


def _assert_nothing_taken_twice(connection: Connection, run: Run) -> None:
    """Items that are done were done in their first attempt, and no other has one behind it."""
    states = {(status, attempt, error) for status, attempt, error in items_of(connection, run).values()}
    assert states <= {("completed", 1, None), ("pending", 0, None)}


def _backlog(streams: Streams, queue: str) -> tuple[int, int, int]:
    backlog = streams.inspector.read_backlog(queue)
    return backlog.waiting, backlog.pending, backlog.delayed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_of_large_runs_leaves_all_that_is_not_done_to_the_next_pool(
    number: signal.Signals,
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    # Large batches of a job that does nothing, and a job with effects; workers take from both queues in turn.
    fast = start_run(connection, streams, registry, "noop", *_symbols(4 * MANY))
    saving = start_run(connection, streams, registry, "ledger_entry", *_symbols(MANY))
    words = ("--processes", "2", "--queue", "bench", *TESTS)
    with running_supervisor(environment, tmp_path, *words) as supervisor:
        wait_until(lambda: _is_under_way(connection, fast, 1000) and _is_under_way(connection, saving, 100))
        os.killpg(supervisor.process.pid, number)
        assert supervisor.process.wait(patient(STOP_SECONDS)) == 0
        _assert_all_gone(supervisor)
    for run in (fast, saving):
        done = ledger.count_items(connection, run)["completed"]
        total = len(items_of(connection, run))
        assert 0 < done < total
        assert _backlog(streams, run.queue) == (total - done, 0, 0)
        assert streams.inspector.read_consumers(run.queue) == {}
        _assert_nothing_taken_twice(connection, run)
    assert streams.inspector.read_heartbeats() == {}
    with running_supervisor(environment, tmp_path, *words) as following:
        for run in (fast, saving):
            assert wait_for_end(connection, run, 80) == "COMPLETED"
            assert set(items_of(connection, run).values()) == {("completed", 1, None)}
        assert following.stop(STOP_SECONDS) == 0
    assert effects_of(connection, saving) == _symbols(MANY)


def test_a_second_signal_ends_the_pool_at_once_and_gives_back_its_items_as_they_were(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    parameters = {"milliseconds": 1000 * patient(40)}
    run = start_run(connection, streams, registry, "ledger_entry", *_symbols(12), parameters=parameters)
    words = ("--processes", "2", "--grace-seconds", "600", *TESTS)
    with running_supervisor(environment, tmp_path, *words) as supervisor:
        wait_until(
            lambda: streams.inspector.read_backlog("tests").pending == 12, what="both workers have a batch in hand"
        )
        supervisor.process.terminate()
        wait_until(lambda: supervisor.events("supervisor_stopping"))
        supervisor.process.terminate()
        assert supervisor.process.wait(patient(35)) == 0
        _assert_all_gone(supervisor)
    assert _backlog(streams, "tests") == (12, 0, 0)
    assert streams.inspector.read_consumers("tests") == {}
    found: Any = streams.client.raw.xrange(streams.keys.stream("tests"))
    entries = [unpack_entry(fields[b"e"], 16_384) for _, fields in found]
    assert [(entry.attempt, entry.isolated, entry.reason) for entry in entries] == [(1, False, "")] * 12
    assert set(items_of(connection, run).values()) == {("pending", 0, None)}


@contextmanager
def _away(services: EmbeddedServices, name: str, *, frozen: bool) -> Iterator[None]:
    """Redis or PostgreSQL stopped, or standing still with its connections open; there again afterwards."""
    server = services.redis if name == "redis" else services.postgres
    process = server.process()
    assert process is not None
    if not frozen:
        server.stop()
        yield
        server.start()
        return
    family = [process, *process.children(recursive=True)]
    for member in family:
        member.suspend()
    try:
        yield
    finally:
        for member in reversed(family):
            member.resume()


@pytest.mark.parametrize("frozen", [False, True], ids=["stopped", "frozen"])
@pytest.mark.parametrize("service", ["redis", "postgres"])
def test_a_pool_ends_while_a_service_is_away_and_no_item_pays_for_it(
    service: str, frozen: bool, private_services: PrivateServices, registry: Registry, tmp_path: Path
) -> None:
    services, streams = private_services.embedded, private_services.streams
    with private_services.connect() as connection:
        run = start_run(connection, streams, registry, "ledger_entry", *_symbols(2000), parameters={"milliseconds": 2})
    words = ("--processes", "2", "--grace-seconds", "3", *TESTS)
    with running_supervisor(private_services.environment, tmp_path, *words) as supervisor:
        with private_services.connect() as connection:
            wait_until(lambda: _is_under_way(connection, run, 100))
        with _away(services, service, frozen=frozen):
            if not frozen:
                wait_until(lambda: supervisor.events("store_fault"), what="a worker waits for the service")
            assert supervisor.stop(STOP_SECONDS) == 0
            _assert_all_gone(supervisor)
    with private_services.connect() as connection:
        _assert_nothing_taken_twice(connection, run)
        with running_supervisor(private_services.environment, tmp_path, *words) as following:
            assert wait_for_end(connection, run) == "COMPLETED"
            assert following.stop(STOP_SECONDS) == 0
        assert set(items_of(connection, run).values()) == {("completed", 1, None)}
        assert effects_of(connection, run) == _symbols(2000)
    assert _backlog(streams, "tests") == (0, 0, 0)


def _has_computed(pid: int, seconds: float) -> bool:
    """True once a process has used so much of a processor, which says how far it is on any machine, or has ended."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return True
    return bool(times.user + times.system >= seconds)


@pytest.mark.parametrize(
    ("number", "process", "computed_seconds"),
    [
        (signal.SIGTERM, "fork server", 0.2),
        (signal.SIGTERM, "worker", 0.0),
        (signal.SIGTERM, "worker", 0.04),
        (signal.SIGINT, "fork server", 0.5),
        (signal.SIGINT, "worker", 0.0),
        (signal.SIGINT, "worker", 0.02),
    ],
)
def test_a_signal_to_a_pool_whose_workers_are_starting_ends_it_in_order(
    number: signal.Signals,
    process: str,
    computed_seconds: float,
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", *_symbols(100), parameters={"milliseconds": 10})
    with running_supervisor(environment, tmp_path, "--processes", "1", *TESTS) as supervisor:
        started, passed = {
            "fork server": ("fork_server_started", "worker_started"),
            "worker": ("worker_started", "run_completed"),
        }[process]
        wait_until(lambda: supervisor.events(started))
        pid = supervisor.events(started)[0]["pid"]
        # A fast one is past its start before it has computed for so long.
        wait_until(lambda: _has_computed(pid, computed_seconds) or supervisor.events(passed))
        os.killpg(supervisor.process.pid, number)
        assert supervisor.process.wait(patient(STOP_SECONDS)) == 0
        assert not is_running(pid)
        assert not any(map(is_running, supervisor.worker_pids()))
        assert "Traceback" not in supervisor.log.read_text(encoding="utf-8")
    assert streams.inspector.read_consumers("tests") == {}
    done = ledger.count_items(connection, run).get("completed", 0)
    assert _backlog(streams, "tests") == (100 - done, 0, 0)
    _assert_nothing_taken_twice(connection, run)


@pytest.mark.parametrize("moment", ["starting", "idle"])
def test_workers_end_with_a_killed_supervisor_also_when_they_start_or_wait_for_work(
    moment: str,
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", *_symbols(200), parameters={"milliseconds": 5})
    with running_supervisor(environment, tmp_path, "--processes", "2", *TESTS) as supervisor:
        wait_until(lambda: len(supervisor.worker_pids()) == 2)
        workers = supervisor.worker_pids()
        if moment == "idle":
            assert wait_for_end(connection, run) == "COMPLETED"
        supervisor.process.kill()
        supervisor.process.wait()
        wait_until(lambda: not any(is_running(pid) for pid in workers), 60, "the workers notice and end")
