"""One pool on services of its own, which the tests here restart and maltreat."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from faults.faulty_pool import DATABASE, ROLE, FaultyPool
from streamworkers.config import Settings
from streamworkers.database import connect
from streamworkers.embedded import EmbeddedServices
from streamworkers.engine.registry import Registry
from streamworkers.migrations import migrate

SAMPLE_JOBS = Path(__file__).parent.parent / "sample_jobs"


@pytest.fixture(scope="session")
def faulty_services() -> Iterator[EmbeddedServices]:
    """Services with a migrated database that belongs to a role without special rights, as in production."""
    folder = Path(tempfile.mkdtemp(prefix="sw-faults-"))
    services = EmbeddedServices(Settings(data_dir=folder))
    try:
        services.start()
        with connect(services.postgres.url) as connection:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(ROLE)))
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), sql.Identifier(ROLE))
            )
        with connect(make_conninfo(services.postgres.url, dbname=DATABASE, user=ROLE)) as connection:
            migrate(connection)
            connection.execute("CREATE TABLE effects (run_id bigint NOT NULL, symbol text NOT NULL)")
        yield services
    finally:
        services.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_pool(
    faulty_services: EmbeddedServices, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultyPool]:
    """The pool of all tests; starting one takes longer than most of them."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMWORKERS_")}
    environment = {**inherited, "PYTHONPATH": str(SAMPLE_JOBS), "PYTHONWARNINGS": "error"}
    pool = FaultyPool(faulty_services, registry, tmp_path_factory.mktemp("faults"), environment)
    try:
        yield pool
    finally:
        pool.close()


@pytest.fixture
def pool(shared_pool: FaultyPool) -> FaultyPool:
    """The pool, well and with nothing to do."""
    shared_pool.begin()
    return shared_pool
