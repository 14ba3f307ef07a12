"""A pool in this process, and each kind of client in front of it."""

from collections.abc import Iterator

import pytest
from psycopg import sql
from psycopg_pool import ConnectionPool

from client_stage import KINDS, Pool, opened_client
from consumer import Consumer
from harness import ServiceUrls
from services import own_database
from streamworkers.client import Client
from streamworkers.database import Connection
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
    for table in ("run_items", "runs", "submissions", "job_types", "outbox", "effects", "audit_log"):
        connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
    install_jobs(connection, registry)


@pytest.fixture
def workers(pool: ConnectionPool[Connection], streams: Streams, registry: Registry, consumer: Consumer) -> Pool:
    """A pool that works when it is called."""
    return Pool(pool, streams, registry, consumer)


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, database_url: str) -> Iterator[Client]:
    """A client of each kind."""
    with opened_client(request.param, database_url) as opened:
        yield opened
