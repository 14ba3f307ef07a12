"""The pytest plugin as a team's suite uses it: its fixtures, its own services, and that nothing is left behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness import ServiceUrls, wait_until
from kit_stage import make_suite
from patience import patient

pytestmark = pytest.mark.timeout(600)
_FIXTURES = """
import json

def test_a_run_is_executed_by_two_real_workers(sw_pool, sw_client, sw_connection, sw_installation):
    pool = sw_pool(workers=2)
    assert len(pool.worker_pids()) == 2
    run = sw_client.enqueue("kit_saved", symbols=["A", "B"])
    assert run.wait(180).succeeded
    assert sw_connection.execute("SELECT count(*) FROM effects").fetchone() == (2,)
    assert sw_installation.settings().key_prefix == sw_installation.key_prefix
    assert pool.stop() == 0
    assert not pool.is_running

def test_each_test_has_a_database_of_its_own(sw_connection):
    assert sw_connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)

def test_the_harness_takes_the_installation(sw_installation, sw_connection):
    from kit_jobs import Saved
    from streamworkers.testing import JobHarness
    assert JobHarness(Saved, installation=sw_installation).run(["A"]).errors == {}
    assert sw_connection.execute("SELECT symbol FROM effects").fetchall() == [("A",)]
"""


def test_fixtures_give_services_workers_and_a_client(
    tmp_path: Path, service_urls: ServiceUrls, no_other_jobs: Path
) -> None:
    done = make_suite(tmp_path, _FIXTURES, service_urls, no_other_jobs).run()
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_jobs_see_the_clock_that_a_test_sets(tmp_path: Path, service_urls: ServiceUrls, no_other_jobs: Path) -> None:
    tests = """
from datetime import UTC, datetime, timedelta
import pytest
from kit_jobs import Timed
from streamworkers import BadInputError
from streamworkers.testing import JobHarness

def test_in_workers_and_inline(sw_pool, sw_client, sw_clock):
    real = datetime.now(UTC).year
    assert abs(sw_clock.now() - datetime.now(UTC)) < timedelta(minutes=1)
    with pytest.raises(BadInputError, match="moment 2020-01-01 00:00:00 has no time zone"):
        sw_clock.set(datetime(2020, 1, 1))
    sw_pool(workers=1)
    sw_clock.set(datetime(2020, 2, 28, 18, 30, tzinfo=UTC))
    sw_clock.move(timedelta(days=1))
    assert sw_clock.now() == datetime(2020, 2, 29, 18, 30, tzinfo=UTC) == datetime.now(UTC)
    run = sw_client.enqueue("kit_timed", as_of=sw_clock.now())
    assert run.wait(180).succeeded
    seen = {"datetime": "2020", "time": 2020, "database": real, "as_of": "2020-02-29T18:30:00+00:00"}
    assert run.result("20200229") == seen
    rows = JobHarness(Timed, answer=lambda *_: [(datetime(1999, 1, 1),)]).run(as_of=sw_clock.now())
    assert rows["20200229"].result == seen | {"database": 1999}
    sw_clock.reset()
    assert datetime.now(UTC).year == real

def test_afterwards_the_time_is_the_real_one():
    assert datetime.now(UTC).year > 2020
"""
    done = make_suite(tmp_path, tests, service_urls, no_other_jobs).run()
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_a_pool_that_does_not_start_says_why(tmp_path: Path, service_urls: ServiceUrls, no_other_jobs: Path) -> None:
    tests = """
import pytest

def test_that_ends(sw_pool):
    with pytest.raises(AssertionError, match="the pool ended with exit code 2:\\n.*STREAMWORKERS_LEASE_SECONDS"):
        sw_pool(environment={"STREAMWORKERS_LEASE_SECONDS": "soon"})

def test_that_takes_too_long(sw_pool):
    with pytest.raises(AssertionError, match="not within 0.1 s: the pool is ready. Its log:"):
        sw_pool(seconds=0.1)
"""
    done = make_suite(tmp_path, tests, service_urls, no_other_jobs).run()
    assert "2 passed" in done.stdout, done.stdout + done.stderr


_OWN = """
import os, time
from pathlib import Path

def test_on_own_services(sw_pool, sw_client, sw_services, sw_connection):
    sw_connection.execute("CREATE TABLE effects (run_id bigint, symbol text)")
    pool = sw_pool(workers=1)
    assert sw_client.enqueue("kit_saved", symbols=["A"]).wait(180).succeeded
    pids = [pool.worker_pids()[0], os.getpid()]
    written = Path("where.new")
    written.write_text(" ".join([sw_services.redis_url, *map(str, pids)]))
    written.rename(f"where-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}")
    if Path("wait").exists():
        time.sleep(600)
    assert Path("pass").exists()
"""


def _where(folder: Path) -> tuple[Path, list[int]]:
    """The folder of the services that a suite has started, and the process ids of a worker and of the tests."""
    url, *pids = next(folder.glob("where-*")).read_text(encoding="utf-8").split()
    return Path(url.removeprefix("unix://")).parent.parent, [int(pid) for pid in pids]


def _require_gone(folder: Path) -> None:
    services, pids = _where(folder)
    wait_until(lambda: not services.exists(), 30, "the removal of the folder of services")
    wait_until(lambda: not any(map(psutil.pid_exists, pids)), 30, "the end of the worker and of the tests")
    # The process that removed the folder ends after that, and is the last one of it.
    wait_until(lambda: not _processes_of(services), 30, "the end of all processes of the folder")


def _processes_of(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            found += [process] if str(folder) in " ".join(process.cmdline()) else []
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("end", ["interrupted", "killed"])
def test_services_and_workers_go_with_the_tests(end: str, tmp_path: Path, no_other_jobs: Path) -> None:
    suite = make_suite(tmp_path, _OWN, None, no_other_jobs)
    (tmp_path / "wait").touch()
    with subprocess.Popen(
        suite.command(), cwd=tmp_path, env=suite.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as tests:
        wait_until(lambda: list(tmp_path.glob("where-*")), 120, "the test runs")
        assert _where(tmp_path)[0].is_dir()
        tests.send_signal(signal.SIGINT if end == "interrupted" else signal.SIGKILL)
        tests.wait(patient(60))
    _require_gone(tmp_path)


def test_each_process_of_xdist_has_services_of_its_own(tmp_path: Path, no_other_jobs: Path) -> None:
    suite = make_suite(tmp_path, _OWN, None, no_other_jobs)
    (tmp_path / "pass").touch()
    (tmp_path / "test_more.py").write_text((tmp_path / "test_jobs.py").read_text(encoding="utf-8"), encoding="utf-8")
    done = suite.run("-p", "xdist", "-n", "2", "--dist", "loadfile")
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    places = {path.read_text(encoding="utf-8").split()[0] for path in tmp_path.glob("where-*")}
    assert len(places) == 2
    assert not any(Path(place.removeprefix("unix://")).exists() for place in places)


def test_the_plugin_is_found_by_itself_and_loads_nothing(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (tmp_path / "test_any.py").write_text(
        """
import sys

def test_that_needs_nothing(pytestconfig):
    assert pytestconfig.pluginmanager.has_plugin("streamworkers")
    loaded = {name for name in sys.modules if name.startswith("streamworkers")}
    assert loaded == {"streamworkers", "streamworkers.testing", "streamworkers.testing.plugin"}
    assert not {"psycopg", "redis", "pydantic", "numpy"} & sys.modules.keys()
""",
        encoding="utf-8",
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert time.monotonic() - began < patient(60)
