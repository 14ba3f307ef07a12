"""Real Redis and real PostgreSQL for every test that asks for them: a fresh prefix and a fresh database each."""

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings as profile
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

from consumer import Consumer
from harness import SAMPLE_JOBS, ServiceUrls
from streamworkers.config import Settings
from streamworkers.database import Connection, connect, open_pool
from streamworkers.embedded import EmbeddedServices
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.engine.registry import Registry, installed_jobs
from streamworkers.migrations import migrate

REPOSITORY = Path(__file__).parent.parent
MARKET_DATA = REPOSITORY.parent / "shared" / "data"
_TEMPLATE = "migrated_template"

# `--hypothesis-profile=long` looks for hours, elsewhere each time; the usual one is the same in every run.
profile.register_profile(
    "usual", deadline=None, print_blob=True, derandomize=True, max_examples=150, stateful_step_count=30
)
profile.register_profile("long", deadline=None, print_blob=True, max_examples=5000, stateful_step_count=50)
profile.load_profile("usual")


def pytest_configure() -> None:
    """Let SIGTERM end the session as Ctrl-C does, so that its services are stopped.

    Ctrl-C itself is ignored by what a shell starts in the background, and by all that this starts in turn.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


@pytest.fixture(scope="session")
def service_urls() -> Iterator[ServiceUrls]:
    """Embedded services for the whole session, in a folder of their own that goes with them."""
    folder = Path(tempfile.mkdtemp(prefix="sw-tests-"))
    services = EmbeddedServices(Settings(data_dir=folder))
    try:
        services.start()
        urls = ServiceUrls(services.redis.url, services.postgres.url)
        with connect(urls.postgres) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
        with connect(_of_database(urls.postgres, _TEMPLATE)) as connection:
            migrate(connection)
            connection.execute("CREATE TABLE effects (run_id bigint NOT NULL, symbol text NOT NULL)")
        yield urls
    finally:
        services.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def empty_database_url(service_urls: ServiceUrls) -> Iterator[str]:
    """A database of its own without a schema."""
    yield from _database(service_urls, None)


@pytest.fixture
def database_url(service_urls: ServiceUrls) -> Iterator[str]:
    """A database of its own with the schema, and a table `effects` that the sample jobs write to."""
    yield from _database(service_urls, _TEMPLATE)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """An autocommit connection to the test's database."""
    with connect(database_url, application="test") as opened:
        yield opened


@pytest.fixture
def key_prefix() -> str:
    """A prefix of Redis keys that no other test uses."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def streams(service_urls: ServiceUrls, key_prefix: str) -> Iterator[Streams]:
    """Queues under the test's prefix. Afterwards nothing of an unknown kind may be left without a TTL."""
    opened = open_streams(service_urls.redis, key_prefix)
    yield opened
    leaked = opened.inspector.find_leaked_keys()
    opened.close()
    assert leaked == []


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """The installed jobs and the sample jobs, which are found on the path as an installed package would be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SAMPLE_JOBS))
        yield installed_jobs()


@pytest.fixture
def settings(service_urls: ServiceUrls, database_url: str, key_prefix: str) -> Settings:
    """Settings of the test's services with a short lease and quick retries."""
    return Settings(
        redis_url=service_urls.redis,
        database_url=database_url,
        key_prefix=key_prefix,
        lease_seconds=2.0,
        reconcile_seconds=0.3,
        retry_base_seconds=0.05,
        retry_cap_seconds=0.2,
        log_format="json",
    )


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """The environment in which commands of the test find its services and the sample jobs."""
    assert settings.redis_url is not None
    assert settings.database_url is not None
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("STREAMWORKERS_")},
        "PYTHONPATH": str(SAMPLE_JOBS),
        "PYTHONWARNINGS": "error",
        "STREAMWORKERS_REDIS_URL": settings.redis_url.get_secret_value(),
        "STREAMWORKERS_DATABASE_URL": settings.database_url.get_secret_value(),
        "STREAMWORKERS_KEY_PREFIX": settings.key_prefix,
        "STREAMWORKERS_LEASE_SECONDS": str(settings.lease_seconds),
        "STREAMWORKERS_RECONCILE_SECONDS": str(settings.reconcile_seconds),
        "STREAMWORKERS_RETRY_BASE_SECONDS": str(settings.retry_base_seconds),
        "STREAMWORKERS_RETRY_CAP_SECONDS": str(settings.retry_cap_seconds),
        "STREAMWORKERS_LOG_FORMAT": "json",
    }


@pytest.fixture
def consumer(settings: Settings, registry: Registry, streams: Streams, connection: Connection) -> Consumer:
    """A consumer named `one`."""
    return Consumer(settings, registry, streams, connection, "one")


@pytest.fixture
def second_consumer(settings: Settings, registry: Registry, streams: Streams, connection: Connection) -> Consumer:
    """Another consumer, named `two`."""
    return Consumer(settings, registry, streams, connection, "two")


@pytest.fixture
def pool(database_url: str) -> Iterator["ConnectionPool[Connection]"]:
    """A small pool on the test's database."""
    with open_pool(database_url, application="test", max_size=2) as opened:
        yield opened


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of real bars; a visible skip where it is not there."""
    if not MARKET_DATA.is_dir():
        pytest.skip("needs the real bars in ../shared/data")
    return MARKET_DATA


@pytest.fixture(scope="session")
def market_data_or_none() -> Path | None:
    """The folder of real bars where it is; elsewhere invented ones do as well."""
    return MARKET_DATA if MARKET_DATA.is_dir() else None


def _database(urls: ServiceUrls, template: str | None) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
        sql.Identifier(name), sql.Identifier(template or "template0")
    )
    with psycopg.connect(urls.postgres, autocommit=True) as admin:
        admin.execute(statement)
        yield _of_database(urls.postgres, name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _of_database(url: str, name: str) -> str:
    return make_conninfo(url, dbname=name)
