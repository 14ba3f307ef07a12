"""A pool in this process, and each kind of client in front of it."""

import secrets
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest
from psycopg import sql
from psycopg_pool import ConnectionPool

from client_stage import DIRECT_KINDS, KINDS, ApiAccess, Pool, opened_client
from consumer import Consumer
from harness import ServiceUrls
from services import own_database, quick_settings
from streamworkers.actor import LOCAL
from streamworkers.admin.tokens import create_token
from streamworkers.client import Client
from streamworkers.database import Connection, connect
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from submitting import install_jobs


@pytest.fixture(scope="module")
def database_url(service_urls: ServiceUrls) -> Iterator[str]:
    """One database for the tests of a file: making one takes longer than most of them."""
    with own_database(service_urls) as url:
        yield url


@pytest.fixture(autouse=True)
def jobs_installed(connection: Connection, registry: Registry) -> None:
    """There are no runs, and the jobs are recorded, as by a process of the pool."""
    for table in (
        "run_items",
        "run_events",
        "runs",
        "submissions",
        "job_types",
        "outbox",
        "effects",
        "audit_log",
        "api_idempotency",
    ):
        connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
    install_jobs(connection, registry)


@pytest.fixture
def workers(pool: ConnectionPool[Connection], streams: Streams, registry: Registry, consumer: Consumer) -> Pool:
    """A pool that works when it is called."""
    return Pool(pool, streams, registry, consumer)


@pytest.fixture(scope="module")
def api(service_urls: ServiceUrls, database_url: str) -> Iterator[ApiAccess]:
    """The HTTP API on the database of the file."""
    from streamworkers.api.process import ApiOptions, ApiProcess

    settings = quick_settings(service_urls.redis, database_url, f"test-{secrets.token_hex(6)}")
    with closing(ApiProcess(settings, service_urls.redis, database_url, ApiOptions("127.0.0.1", 0))) as process:
        process.start()
        with connect(database_url, application="test") as admin:
            token = create_token(admin, LOCAL, "of ann", "ann", ("read", "run"), timedelta(days=1)).text
        yield ApiAccess(process.port, token)


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, database_url: str) -> Iterator[Client]:
    """A client of each kind, for the user ann."""
    if request.param in DIRECT_KINDS:
        url, words = database_url, {"user": "ann"}
    else:
        access: ApiAccess = request.getfixturevalue("api")
        url, words = access.url, {"token": access.token}
    with opened_client(request.param, url, **words) as opened:
        yield opened
