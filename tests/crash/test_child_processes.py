"""Processes that a handler starts end with its call, and with its worker, its fork server or its supervisor."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
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
from patience import paced
from streamworkers.admin import runs as operations
from streamworkers.database import Connection
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

TESTS = ("--processes", "1", "--queue", "tests")
KINDS = ("CHILD", "FAMILY", "DAEMON")
METHODS = ("forkserver", "spawn")
SABOTAGE = Path(__file__).parent / "sabotage"


@pytest.fixture
def environment(quick_environment: dict[str, str]) -> dict[str, str]:
    """Everything here is about the engine."""
    return quick_environment


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder in which jobs note the processes that they leave; none of them outlives the test."""
    made = tmp_path / "left"
    made.mkdir()
    yield made
    for pid in _left(made):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _left(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir()]


def _sabotaged(environment: dict[str, str]) -> dict[str, str]:
    """The same without the protection."""
    return environment | {"PYTHONPATH": os.pathsep.join([str(SABOTAGE), environment["PYTHONPATH"]])}


def _wait_for_call(supervisor: Supervisor, streams: Streams, folder: Path) -> tuple[int, list[int]]:
    """A worker in the middle of a call, and the processes that the call has started."""
    wait_until(lambda: _left(folder) and streams.inspector.read_backlog("tests").pending and supervisor.worker_pids())
    return supervisor.worker_pids()[0], _left(folder)


@pytest.mark.parametrize("method", METHODS)
def test_a_call_that_returns_leaves_no_process_to_the_next_one(
    method: str,
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    folder: Path,
    tmp_path: Path,
) -> None:
    environment |= {"STREAMWORKERS_START_METHOD": method}
    parameters = {"folder": str(folder)}
    with running_supervisor(environment, tmp_path, *TESTS) as supervisor:
        for count, kind in enumerate(KINDS, 1):
            before = len(_left(folder))
            symbols = (f"{kind}-A", "CHECK-B", f"{kind}-RAISE", f"{kind}-C", "CHECK-D")
            run = start_run(connection, streams, registry, "leaving", *symbols, parameters=parameters, max_attempts=1)
            assert wait_for_end(connection, run) == "COMPLETED_WITH_ERRORS", kind
            items = items_of(connection, run)
            assert items.pop(f"{kind}-RAISE") == ("failed", 1, "ValueError: RAISE cannot be computed")
            assert set(items.values()) == {("completed", 1, None)}
            assert len(_left(folder)) >= before + 3
            assert [pid for pid in _left(folder) if is_running(pid)] == []
            # The worker is not to blame, and people read of it once.
            assert supervisor.events("worker_ended") == []
            events = supervisor.events("child_processes_killed")
            assert (events[-1]["job"], events[-1]["run"], len(events)) == ("leaving", run.id, count)
        assert supervisor.stop() == 0


_ENDS = {
    "HANG": "timeout after {} s",
    "SIGKILL": "killed by signal 9",
    "EXIT": "worker exited with code 3",
    "EXIT_0": "worker exited with code 0 during the call",
}


@pytest.mark.parametrize(("method", "ends"), [("forkserver", tuple(_ENDS)), ("spawn", ("SIGKILL",))])
def test_processes_of_a_call_end_with_its_worker(
    method: str,
    ends: tuple[str, ...],
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    folder: Path,
    tmp_path: Path,
) -> None:
    environment |= {"STREAMWORKERS_START_METHOD": method}
    with running_supervisor(environment, tmp_path, *TESTS) as supervisor:
        for end, kind in product(ends, KINDS):
            reason = _ENDS[end].format(environment["SAMPLE_JOBS_TIMEOUT_SECONDS"])
            before = len(_left(folder))
            run = _leave_and_end(connection, streams, registry, f"{kind}-{end}", folder)
            assert wait_for_end(connection, run) == "FAILED", (kind, end)
            assert items_of(connection, run) == {f"{kind}-{end}": ("failed", 2, reason)}
            assert len(_left(folder)) >= before + 2
            assert [pid for pid in _left(folder) if is_running(pid)] == []
        assert supervisor.stop() == 0


def _leave_and_end(connection: Connection, streams: Streams, registry: Registry, symbol: str, folder: Path) -> Run:
    parameters = {"folder": str(folder)}
    return start_run(connection, streams, registry, "leaving", symbol, parameters=parameters, max_attempts=2)


def _wait_in_a_call(connection: Connection, streams: Streams, registry: Registry, kind: str, folder: Path) -> Run:
    parameters = {"folder": str(folder)}
    return start_run(connection, streams, registry, "leaving_long", f"{kind}-WAIT_FOR_CANCEL", parameters=parameters)


@pytest.mark.parametrize("kind", KINDS)
def test_all_processes_end_with_a_killed_supervisor(
    kind: str,
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    folder: Path,
    tmp_path: Path,
) -> None:
    _wait_in_a_call(connection, streams, registry, kind, folder)
    with running_supervisor(environment, tmp_path, *TESTS) as supervisor:
        worker, left = _wait_for_call(supervisor, streams, folder)
        server = supervisor.fork_server_pid()
        supervisor.process.kill()
        supervisor.process.wait()
        wait_until(lambda: not any(map(is_running, [*left, worker, server])), 60, "everything ends")


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_fork_server_is_replaced_and_charges_nobody(
    kind: str,
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    folder: Path,
    tmp_path: Path,
) -> None:
    run = _wait_in_a_call(connection, streams, registry, kind, folder)
    other = start_run(
        connection, streams, registry, "ledger_entry", *"ABCDEFGH", parameters={"milliseconds": paced(10.0)}
    )
    with running_supervisor(environment, tmp_path, "--metrics-port", "0", *TESTS) as supervisor:
        worker, left = _wait_for_call(supervisor, streams, folder)
        server = supervisor.fork_server_pid()
        os.kill(server, signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, [*left, worker])), 60, "all that came from it ends")
        wait_until(lambda: len(_left(folder)) > len(left), what="the item is executed again")
        assert supervisor.fork_server_pid() != server
        operations.cancel(connection, streams, run.id)
        assert wait_for_end(connection, other) == "COMPLETED"
        (ended,) = supervisor.events("worker_ended")
        assert (ended["end"], ended["reason"]) == ("fork_server_lost", "fork server lost: killed by signal 9")
        assert supervisor.stop() == 0
    assert effects_of(connection, other) == list("ABCDEFGH")
    assert {attempt for _, attempt, _ in items_of(connection, other).values()} == {1}
    assert items_of(connection, run) == {f"{kind}-WAIT_FOR_CANCEL": ("cancelled", 0, None)}
    assert [pid for pid in _left(folder) if is_running(pid)] == []


def test_an_item_that_kills_fork_servers_is_dead_in_the_end(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "A", "KILL_PARENT", "B", max_attempts=2)
    with running_supervisor(environment, tmp_path, *TESTS) as supervisor:
        assert wait_for_end(connection, run) == "COMPLETED_WITH_ERRORS"
        items = items_of(connection, run)
        assert items.pop("KILL_PARENT") == ("failed", 2, "fork server lost: killed by signal 9")
        assert items == dict.fromkeys("AB", ("completed", 1, None))
        assert supervisor.stop() == 0


def test_processes_that_start_again_end_with_their_worker(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    folder: Path,
    tmp_path: Path,
) -> None:
    parameters = {"folder": str(folder)}
    # With much time: on a slow machine the end of the pool is no reason to kill the worker.
    symbols = ("POOL-A", "CHECK-B", "CHECK-C")
    run = start_run(connection, streams, registry, "leaving_long", *symbols, parameters=parameters)
    with running_supervisor(environment, tmp_path, *TESTS) as supervisor:
        # One that finds them in its call fails, and is retried in another worker.
        assert wait_for_end(connection, run) == "COMPLETED"
        wait_until(lambda: supervisor.events("worker_ended"), what="the worker ends")
        assert supervisor.events("child_processes_remain")[0]["run"] == run.id
        assert supervisor.events("worker_ended")[0]["end"] == "stopped"
        assert supervisor.stop() == 0
    assert effects_of(connection, run) == ["A", "B", "C"]


def test_a_process_that_is_not_of_a_worker_is_left_alone_and_reaped(
    connection: Connection, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PID 1 of a container a supervisor has children that are not its own."""
    del connection
    shell = tmp_path / "python"
    shell.write_text(f'#!/bin/sh\nsleep 600 &\nsleep 0.1 &\nexec {sys.executable} "$@"\n')
    shell.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(shell))
    with running_supervisor(environment, tmp_path, *TESTS) as supervisor:
        wait_until(supervisor.worker_pids)
        os.kill(supervisor.fork_server_pid(), signal.SIGKILL)
        wait_until(lambda: len(supervisor.events("worker_started")) == 2)
        children = psutil.Process(supervisor.process.pid).children()
        sleepers = [child for child in children if child.name() == "sleep"]
        (sleeper,) = [child for child in sleepers if _status(child) != psutil.STATUS_ZOMBIE]
        wait_until(lambda: psutil.STATUS_ZOMBIE not in map(_status, sleepers), 60, "what has ended is reaped")
        assert sleeper.is_running()
        assert supervisor.stop() == 0
        sleeper.kill()


def _status(process: psutil.Process) -> Any:
    try:
        return process.status()
    except psutil.NoSuchProcess:
        return None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("end", ["A", "SIGKILL"])
def test_control_without_the_protection_processes_outlive_their_call_and_their_worker(
    end: str,
    method: str,
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    folder: Path,
    tmp_path: Path,
) -> None:
    environment = _sabotaged(environment) | {"STREAMWORKERS_START_METHOD": method}
    run = _leave_and_end(connection, streams, registry, f"DAEMON-{end}", folder)
    with running_supervisor(environment, tmp_path, *TESTS) as supervisor:
        wait_for_end(connection, run)
        assert supervisor.stop() == 0
    assert all(map(is_running, _left(folder)))


@pytest.mark.parametrize("victim", ["supervisor", "fork server"])
def test_control_without_the_protection_processes_outlive_supervisor_and_fork_server(
    victim: str,
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    folder: Path,
    tmp_path: Path,
) -> None:
    _wait_in_a_call(connection, streams, registry, "DAEMON", folder)
    with running_supervisor(_sabotaged(environment), tmp_path, *TESTS) as supervisor:
        worker, left = _wait_for_call(supervisor, streams, folder)
        server = supervisor.fork_server_pid()
        if victim == "supervisor":
            supervisor.process.kill()
            supervisor.process.wait()
        else:
            os.kill(server, signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, [worker, server])), 60, "worker and fork server end")
        assert all(map(is_running, left))
