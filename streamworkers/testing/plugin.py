"""The pytest plugin: real services, pools, a client and a clock for tests of jobs (docs/guides/testing.md).

Everything is imported by the fixture that needs it, so that loading the plugin costs a suite nothing.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from streamworkers.client import Client
    from streamworkers.database import Connection
    from streamworkers.testing.clock import JobClock
    from streamworkers.testing.crashes import CrashPoint
    from streamworkers.testing.installation import Installation, PrivateServers
    from streamworkers.testing.pool import RunningPool, StartPool

_POOLS: "pytest.StashKey[list[RunningPool]]" = pytest.StashKey()


@pytest.fixture(scope="session")
def sw_services() -> "Iterator[PrivateServers]":
    """A Redis and a PostgreSQL for all tests of this process, started when the first test needs them."""
    from streamworkers.testing.installation import running_servers

    with running_servers() as servers:
        yield servers


@pytest.fixture
def sw_installation(sw_services: "PrivateServers") -> "Iterator[Installation]":
    """A database of the test's own, with the schema and the tables of installed packages, and a key prefix."""
    with sw_services.installation() as installation:
        yield installation


@pytest.fixture
def sw_connection(sw_installation: "Installation") -> "Iterator[Connection]":
    """An autocommit connection to the test's database."""
    with sw_installation.connect() as connection:
        yield connection


@pytest.fixture
def sw_client(sw_installation: "Installation") -> "Iterator[Client]":
    """A client of the test's installation; its runs are executed by the pools that `sw_pool` starts."""
    from streamworkers.client import Client

    with Client(sw_installation.database_url) as client:
        yield client


@pytest.fixture
def sw_crash(request: pytest.FixtureRequest, tmp_path: Path) -> "CrashPoint":
    """Where a worker is killed, which `crash_between` sets; nowhere in other tests."""
    from streamworkers.testing.crashes import CrashPoint

    point, job = getattr(request, "param", (None, None))
    return CrashPoint(point, job, tmp_path / "killed")


@pytest.fixture
def sw_clock(tmp_path: Path) -> "Iterator[JobClock]":
    """The time that jobs see; the real one until the test sets it."""
    from streamworkers.testing.clock import JobClock

    clock = JobClock(tmp_path / "clock")
    yield clock
    clock.reset()


@pytest.fixture
def sw_pool(
    request: pytest.FixtureRequest, sw_installation: "Installation", sw_crash: "CrashPoint", tmp_path: Path
) -> "Iterator[StartPool]":
    """Starts pools, a supervisor with worker processes each: `pool = sw_pool(workers=2)`. They end with the test."""
    from streamworkers.testing.pool import starting_pools

    more = sw_crash.environment()
    if "sw_clock" in request.fixturenames:
        more |= request.getfixturevalue("sw_clock").environment()
    pools: list[RunningPool] = request.node.stash.setdefault(_POOLS, [])
    with starting_pools(sw_installation, tmp_path, more, pools) as start:
        yield start


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Show the logs of a failed test's pools, and let a crash test fail in which nothing was killed."""
    try:
        answer = yield
        crash: CrashPoint | None = pyfuncitem.funcargs.get("sw_crash")  # type: ignore[assignment]
        if crash is not None:
            crash.require_happened()
    except BaseException:
        for pool in pyfuncitem.stash.get(_POOLS, []):
            pyfuncitem.add_report_section("call", f"pool {pool.log.name}", pool.tail())
        raise
    return answer
