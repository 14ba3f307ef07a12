"""Workers that are forked: what a replacement costs, what they share, and what a fork server cannot load."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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
from streamworkers.database import Connection
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

TESTS = ("--queue", "tests")
ONE = ("--processes", "1", *TESTS)
REPLACEMENTS = 5
COMMANDS = ("SUBPROCESS", "EXECUTOR", "fork", "spawn", "forkserver")

Start = Callable[..., Run]


@pytest.fixture
def start(connection: Connection, streams: Streams, registry: Registry) -> Start:
    """Enqueues a run of a job over symbols."""
    return lambda job, *symbols, **words: start_run(connection, streams, registry, job, *symbols, **words)


def _cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _private_megabytes(pid: int) -> float:
    """Private_Clean and Private_Dirty of /proc/PID/smaps_rollup."""
    return float(psutil.Process(pid).memory_full_info().uss / 1e6)


def _replace(supervisor: Supervisor, connection: Connection, start: Start) -> int:
    """Kill an idle worker; the process id of its successor, which has executed an item: it is warm and at work."""
    (worker,) = supervisor.worker_pids()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: [pid for pid in supervisor.worker_pids() if pid != worker])
    assert wait_for_end(connection, start("ledger_entry", "A")) == "COMPLETED"
    return supervisor.worker_pids()[0]


def test_a_replacement_costs_a_fraction_of_a_cold_start(
    connection: Connection, start: Start, environment: dict[str, str], tmp_path: Path
) -> None:
    """In processor time, which a busy machine stretches for both alike. A cold start loads the jobs, and no more."""
    before = os.times()
    line = "import streamworkers.engine.worker.main; from streamworkers.engine.registry import installed_jobs as load"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", f"{line}; load()"], env=environment, check=True)
    after = os.times()
    cold = (after.children_user + after.children_system - before.children_user - before.children_system) / 2
    with running_supervisor(environment, tmp_path, *ONE) as supervisor:
        assert wait_for_end(connection, start("ledger_entry", *"ABC")) == "COMPLETED"
        server = supervisor.fork_server_pid()
        before_seconds = _cpu_seconds(server)
        costs = [_cpu_seconds(_replace(supervisor, connection, start)) for _ in range(REPLACEMENTS)]
        warm = (sum(costs) + _cpu_seconds(server) - before_seconds) / REPLACEMENTS
        assert supervisor.fork_server_pid() == server
    assert warm < cold / 3


def test_workers_share_what_was_loaded_and_the_fork_server_does_not_grow(
    connection: Connection, start: Start, environment: dict[str, str], tmp_path: Path
) -> None:
    with running_supervisor(environment, tmp_path, *ONE) as supervisor:
        assert wait_for_end(connection, start("ledger_entry", *"ABC")) == "COMPLETED"
        (worker,) = supervisor.worker_pids()
        assert _private_megabytes(worker) < 60
        assert _private_megabytes(worker) < psutil.Process(worker).memory_info().rss / 2e6
        server = supervisor.fork_server_pid()
        for _ in range(REPLACEMENTS):
            _replace(supervisor, connection, start)
        size, files = psutil.Process(server).memory_info().rss, psutil.Process(server).num_fds()
        for _ in range(4 * REPLACEMENTS):
            _replace(supervisor, connection, start)
        assert psutil.Process(server).memory_info().rss - size < 1e6
        assert psutil.Process(server).num_fds() <= files + 1  # the pipe of a worker that is being forked
        assert psutil.Process(server).num_threads() == 1


def test_handlers_compute_in_processes_of_their_own_in_every_way(
    connection: Connection, start: Start, environment: dict[str, str], tmp_path: Path
) -> None:
    """Each twice in the same worker: the helper processes of the first call have ended with it."""
    symbols = [f"{way}-{number}" for number in range(2) for way in COMMANDS]
    run = start("computing", *symbols, max_attempts=1)
    with running_supervisor(environment, tmp_path, *ONE) as supervisor:
        assert wait_for_end(connection, run) == "COMPLETED", items_of(connection, run)
        assert supervisor.events("worker_ended") == []
        assert supervisor.events("child_processes_killed") == []
        assert supervisor.stop() == 0
        text = supervisor.log.read_text(encoding="utf-8")
        assert "resource_tracker" not in text
        assert "Traceback" not in text


def test_every_fork_has_random_numbers_of_its_own(
    connection: Connection, start: Start, environment: dict[str, str], tmp_path: Path
) -> None:
    with running_supervisor(environment, tmp_path, "--max-items", "1", *ONE) as supervisor:
        for number in range(3):
            assert wait_for_end(connection, start("computing", f"RANDOM-{number}")) == "COMPLETED"
            wait_until(lambda number=number: len(supervisor.events("worker_ended")) > number)  # type: ignore[misc]
    rows = connection.execute("SELECT result->>'python', result->>'numpy' FROM run_items").fetchall()
    for column in zip(*rows, strict=True):
        assert len(set(column)) == 3


def test_a_worker_that_grows_is_killed_and_what_all_share_does_not_count(
    connection: Connection, start: Start, quick_environment: dict[str, str], tmp_path: Path
) -> None:
    honest = start("ledger_entry", *"ABC")
    words = ("--max-memory-mb", "60", *ONE)
    with running_supervisor(quick_environment, tmp_path, *words) as supervisor:
        assert wait_for_end(connection, honest) == "COMPLETED"
        (worker,) = supervisor.worker_pids()
        assert psutil.Process(worker).memory_info().rss > 60e6
        growing = start("computing", "GROW", max_attempts=1)
        assert wait_for_end(connection, growing) == "FAILED"
        assert items_of(connection, growing) == {"GROW": ("failed", 1, "over 60 MB")}
        assert [event["end"] for event in supervisor.events("worker_ended")] == ["memory"]
        assert supervisor.events("worker_ended")[0]["pid"] == worker


def _install(folder: Path, code: str) -> None:
    """Install a package with a job as pip would, or change its code."""
    info = folder / "extra_jobs-0.0.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extra-jobs\nVersion: 0.0.0\n")
    (info / "entry_points.txt").write_text("[streamworkers.jobs]\nextra = extra_jobs:Extra\n")
    job = "from sample_jobs import LedgerEntry\n\nclass Extra(LedgerEntry):\n    name = 'extra'\n"
    # Another time of change, so that Python does not take the compiled module for this one.
    module = folder / "extra_jobs.py"
    module.write_text(f"{code}\n{job}")
    os.utime(module, (1e9 + len(code), 1e9 + len(code)))


@pytest.fixture
def packages(quick_environment: dict[str, str], tmp_path: Path) -> Path:
    """A folder for installed packages."""
    folder = tmp_path / "packages"
    folder.mkdir()
    quick_environment["PYTHONPATH"] = os.pathsep.join([str(folder), quick_environment["PYTHONPATH"]])
    return folder


def test_a_package_that_does_not_load_is_reported_until_it_does(
    connection: Connection, start: Start, quick_environment: dict[str, str], packages: Path, tmp_path: Path
) -> None:
    _install(packages, "")
    with running_supervisor(quick_environment, tmp_path, *ONE) as supervisor:
        wait_until(supervisor.worker_pids)
        _install(packages, "import something_that_is_not_there")
        os.kill(supervisor.fork_server_pid(), signal.SIGKILL)
        wait_until(lambda: len(_failed_loads(supervisor)) >= 2, 60, "two fork servers fail")
        assert {event["reason"] for event in _failed_loads(supervisor)} == {"it exited with code 1"}
        text = supervisor.log.read_text(encoding="utf-8")
        assert "job 'extra' (extra_jobs:Extra) does not load: No module named 'something_that_is_not_there'" in text
        assert supervisor.worker_pids() == []
        _install(packages, "# mended")
        assert wait_for_end(connection, start("ledger_entry", "A")) == "COMPLETED"
        assert supervisor.stop() == 0


def _failed_loads(supervisor: Supervisor) -> list[dict[str, object]]:
    return [event for event in supervisor.events("fork_server_ended") if not event["loaded"]]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "import threading\nthreading.Thread(target=threading.Event().wait, name='eternal', daemon=True).start()",
            "loading the jobs started threads: eternal",
        ),
        (
            "import _thread, threading\n_thread.start_new_thread(threading.Event().wait, ())",
            "loading the jobs started 1 native threads",
        ),
    ],
)
def test_a_package_that_starts_threads_gets_fresh_interpreters(
    code: str,
    reason: str,
    connection: Connection,
    start: Start,
    quick_environment: dict[str, str],
    packages: Path,
    tmp_path: Path,
) -> None:
    _install(packages, code)
    run = start("ledger_entry", *"ABC")
    with running_supervisor(quick_environment, tmp_path, *ONE) as supervisor:
        assert wait_for_end(connection, run) == "COMPLETED"
        (event,) = supervisor.events("fork_server_unfit")
        assert event["reason"] == reason
        assert not is_running(supervisor.fork_server_pid())
        (worker,) = supervisor.worker_pids()
        assert psutil.Process(worker).ppid() == supervisor.process.pid
        assert supervisor.stop() == 0
    assert effects_of(connection, run) == ["A", "B", "C"]


# Ends its thread for a fork, as OpenBLAS does, and is still at it when the fork is done.
_ENDS_ITS_THREAD = """
import _thread, os, time

_lock = _thread.allocate_lock()
_lock.acquire()


def _work():
    _lock.acquire()
    time.sleep(0.2)


_thread.start_new_thread(_work, ())
os.register_at_fork(before=lambda: _lock.locked() and _lock.release())
"""


def test_a_package_that_ends_its_threads_for_a_fork_is_forked(
    connection: Connection, start: Start, quick_environment: dict[str, str], packages: Path, tmp_path: Path
) -> None:
    _install(packages, _ENDS_ITS_THREAD)
    with running_supervisor(quick_environment, tmp_path, *ONE) as supervisor:
        assert wait_for_end(connection, start("ledger_entry", "A")) == "COMPLETED"
        assert supervisor.events("fork_server_unfit") == []
        (worker,) = supervisor.worker_pids()
        assert psutil.Process(worker).ppid() == supervisor.fork_server_pid()
        assert supervisor.stop() == 0


def test_a_fork_server_that_stands_still_is_replaced_and_does_not_delay_a_stop_for_ever(
    connection: Connection, start: Start, quick_environment: dict[str, str], tmp_path: Path
) -> None:
    run = start("ledger_entry", *"ABC")
    with running_supervisor(quick_environment, tmp_path, *ONE) as supervisor:
        assert wait_for_end(connection, run) == "COMPLETED"
        server = supervisor.fork_server_pid()
        os.kill(server, signal.SIGSTOP)
        (worker,) = supervisor.worker_pids()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: len(supervisor.events("worker_started")) == 2, 60, "another worker starts")
        assert [event["end"] for event in supervisor.events("worker_ended")] == ["fork_server_lost"]
        assert not is_running(server)
        other = supervisor.fork_server_pid()
        os.kill(other, signal.SIGSTOP)
        assert supervisor.stop(60) == 0
        assert not is_running(other)
