"""Real Redis and real PostgreSQL for every test that asks for them: a fresh prefix and a fresh database each.

What is heavy is imported by the fixture that needs it, so that a test without services is collected at once.
"""

from __future__ import annotations

import ctypes
import gc
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from order import deal, start_elsewhere
from patience import VARIABLE, measure_again, patience, patient

if TYPE_CHECKING:
    from hypothesis import settings as HypothesisSettings  # noqa: N812
    from psycopg_pool import ConnectionPool
    from pytest_timeout import Settings as Timeout

    from consumer import Consumer
    from harness import ServiceUrls
    from streamworkers.config import Settings
    from streamworkers.database import Connection
    from streamworkers.engine.redis.streams import Streams
    from streamworkers.engine.registry import Registry

# Tests start hundreds of processes, each of which would compile the product again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Nearly all loads of tests are small: they use the queue of large ones, except where turns are what is tested.
os.environ.setdefault("STREAMWORKERS_LOAD_REQUEST_ITEMS", "0")

TESTS = Path(__file__).parent
# The processes of xdist, in each of them.
_PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
_PR_SET_CHILD_SUBREAPER = 36
MARKET_DATA = TESTS.parent.parent / "shared" / "data"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Measure the machine once for all processes of xdist, and let SIGTERM end the session as Ctrl-C does.

    Ctrl-C itself is ignored by what a shell starts in the background, and by all that this starts in turn.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    if config.getoption("numprocesses", None):
        patience()
    if _PROCESSES and all(Path(word).is_dir() for word in config.args):
        config.args = start_elsewhere(
            config.args, int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")), _PROCESSES
        )
    if config.getoption("hypothesis_profile", None):
        _register_profiles()


def pytest_pycollect_makemodule(module_path: Path) -> None:
    """Load Hypothesis with our profile ahead of a test file that uses it."""
    if "hypothesis" not in sys.modules and b"hypothesis" in module_path.read_bytes():
        _register_profiles().load_profile("usual")


def _register_profiles() -> type[HypothesisSettings]:
    """`--hypothesis-profile=long` looks for hours, elsewhere each time; the usual one is the same in every run."""
    from hypothesis import HealthCheck, settings

    # How fast inputs are generated depends on the machine's other work, as a deadline does.
    usual = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("usual", usual, derandomize=True, max_examples=150, stateful_step_count=30)
    settings.register_profile("long", usual, max_examples=5000, stateful_step_count=50)
    return settings


def pytest_report_header() -> str | None:
    """The factor for deadlines, where it is known already."""
    return f"patience: {os.environ[VARIABLE]}" if VARIABLE in os.environ else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal the tests to the processes of xdist."""
    if _PROCESSES:
        items.sort(key=lambda item: item.path)
        items[:] = deal(items, [item.nodeid for item in items], _PROCESSES)


def pytest_collection_finish() -> None:
    """Leave the thousands of collected tests out of what the garbage collector looks through from now on."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Let this process adopt no orphans from here on: nobody would reap those of a later test, which waits for that.

    A supervisor that a test runs in this process lets it adopt them.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, *map(ctypes.c_ulong, (0, 0, 0, 0)))


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Timeout) -> bool | None:
    """A test's limit is multiplied by patience too, which is measured again before the limit ends a test."""
    if settings.method != "signal":
        return None
    from pytest_timeout import timeout_sigalrm

    began = time.monotonic()

    def handler(*_: object) -> None:
        __tracebackhide__ = True
        measure_again()
        left = began + patient(settings.timeout) - time.monotonic()
        if left > 0:
            signal.setitimer(signal.ITIMER_REAL, left)
        else:
            timeout_sigalrm(item, settings)

    def cancel() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    item.cancel_timeout = cancel  # type: ignore[attr-defined]
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, settings.timeout)
    return True


@pytest.fixture(scope="session")
def service_urls() -> Iterator[ServiceUrls]:
    """Embedded services for the whole session, in a folder of their own that goes with them."""
    from services import running_services

    with running_services() as urls:
        yield urls


@pytest.fixture
def empty_database_url(service_urls: ServiceUrls) -> Iterator[str]:
    """A database of its own without a schema."""
    from services import own_database

    with own_database(service_urls, None) as url:
        yield url


@pytest.fixture
def database_url(service_urls: ServiceUrls) -> Iterator[str]:
    """A database of its own with the schema, and a table `effects` that the sample jobs write to."""
    from services import own_database

    with own_database(service_urls) as url:
        yield url


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """An autocommit connection to the test's database."""
    from streamworkers.database import connect

    with connect(database_url, application="test") as opened:
        yield opened


@pytest.fixture
def key_prefix() -> str:
    """A prefix of Redis keys that no other test uses."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def streams(service_urls: ServiceUrls, key_prefix: str) -> Iterator[Streams]:
    """Queues under the test's prefix. Afterwards nothing of an unknown kind may be left without a TTL."""
    from streamworkers.engine.redis.streams import open_streams

    opened = open_streams(service_urls.redis, key_prefix)
    yield opened
    leaked = opened.inspector.find_leaked_keys()
    opened.close()
    assert leaked == []


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """The installed jobs and the sample jobs, which are found on the path as an installed package would be."""
    from harness import SAMPLE_JOBS
    from streamworkers.engine.registry import installed_jobs

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SAMPLE_JOBS))
        yield installed_jobs()


@pytest.fixture
def settings(service_urls: ServiceUrls, database_url: str, key_prefix: str) -> Settings:
    """Settings of the test's services with a short lease and quick retries."""
    from services import quick_settings

    return quick_settings(service_urls.redis, database_url, key_prefix)


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """The environment in which commands of the test find its services and the sample jobs."""
    from services import environment_of

    return environment_of(settings)


@pytest.fixture(scope="session")
def no_other_jobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on whose account processes find no jobs but the sample jobs, so that they start sooner."""
    from services import installed_without_jobs

    return installed_without_jobs(tmp_path_factory.mktemp("installed"))


@pytest.fixture
def quick_environment(settings: Settings, no_other_jobs: Path) -> dict[str, str]:
    """`environment` for tests about the engine, whose supervisors and workers load the sample jobs only."""
    from services import environment_of

    return environment_of(settings, no_other_jobs)


@pytest.fixture
def consumer(settings: Settings, registry: Registry, streams: Streams, connection: Connection) -> Consumer:
    """A consumer named `one`."""
    from consumer import Consumer

    return Consumer(settings, registry, streams, connection, "one")


@pytest.fixture
def second_consumer(settings: Settings, registry: Registry, streams: Streams, connection: Connection) -> Consumer:
    """Another consumer, named `two`."""
    from consumer import Consumer

    return Consumer(settings, registry, streams, connection, "two")


@pytest.fixture
def pool(database_url: str) -> Iterator[ConnectionPool[Connection]]:
    """A small pool on the test's database."""
    from streamworkers.database import open_pool

    with open_pool(database_url, application="test", max_size=2) as opened:
        yield opened


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of real bars; a visible skip where it is not there."""
    if not MARKET_DATA.is_dir():
        pytest.skip("needs the real bars in ../shared/data")
    return MARKET_DATA
