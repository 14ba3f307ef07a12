"""A Redis and a PostgreSQL for tests and for the preview of boards, and databases of their own in it."""

import os
import secrets
import shutil
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from harness import SAMPLE_JOBS, ServiceUrls
from leftovers import ended_with_us
from memory import folder_of_services
from patience import paced
from streamworkers.config import Settings
from streamworkers.database import connect
from streamworkers.embedded import EmbeddedServices
from streamworkers.engine.registry import ENTRY_POINT_GROUP
from streamworkers.migrations import migrate

TEMPLATE = "migrated_template"


@contextmanager
def running_services() -> Iterator[ServiceUrls]:
    """Embedded services in a folder that goes with them; the database `TEMPLATE` has the schema."""
    folder = folder_of_services("sw-tests-")
    services = EmbeddedServices(Settings(data_dir=folder))
    with ended_with_us(folder):
        try:
            services.start()
            urls = ServiceUrls(services.redis.url, services.postgres.url)
            _prepare(urls.postgres)
            yield urls
        finally:
            services.stop()
            shutil.rmtree(folder, ignore_errors=True)


def installed_without_jobs(folder: Path) -> Path:
    """A folder for PYTHONPATH: what is found there is the installed product, but without jobs of its own.

    Where only the sample jobs run, processes need not load numbers, calendars and charts, which is a third of a start.
    """
    installed = distribution("streamworkers")
    found = folder / f"streamworkers-{installed.version}.dist-info"
    found.mkdir()
    (found / "METADATA").write_text(installed.read_text("METADATA") or "", encoding="utf-8")
    groups = ConfigParser(delimiters="=")
    groups.optionxform = str  # type: ignore[assignment, method-assign]
    groups.read_string(installed.read_text("entry_points.txt") or "")
    groups.remove_section(ENTRY_POINT_GROUP)
    with (found / "entry_points.txt").open("w", encoding="utf-8") as points:
        groups.write(points)
    return folder


def _prepare(url: str) -> None:
    with connect(url) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")  # what tests write need not outlive the machine
        connection.execute("ALTER SYSTEM SET max_wal_size = '256MB'")  # it is memory
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    with connect(_of_database(url, TEMPLATE)) as connection:
        migrate(connection)
        connection.execute("CREATE TABLE effects (run_id bigint NOT NULL, symbol text NOT NULL)")


@contextmanager
def own_database(urls: ServiceUrls, template: str | None = TEMPLATE) -> Iterator[str]:
    """The URL of a new database, which is dropped in the end."""
    name = f"test_{secrets.token_hex(6)}"
    # Files are copied faster than pages are written to the log.
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
        sql.Identifier(name), sql.Identifier(template or "template0")
    )
    with psycopg.connect(urls.postgres, autocommit=True) as admin:
        admin.execute(statement)
        yield _of_database(urls.postgres, name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _of_database(url: str, name: str) -> str:
    return make_conninfo(url, dbname=name)


def quick_settings(redis_url: str, database_url: str, key_prefix: str) -> Settings:
    """Settings with a short lease and quick retries."""
    return Settings(
        redis_url=redis_url,
        database_url=database_url,
        key_prefix=key_prefix,
        lease_seconds=paced(2.0),
        reconcile_seconds=0.3,
        retry_base_seconds=0.05,
        retry_cap_seconds=0.2,
        log_format="json",
    )


def environment_of(settings: Settings, *folders: Path) -> dict[str, str]:
    """The environment in which commands find the services of these settings, and the sample jobs.

    What is in `folders` is found before what is installed.
    """
    assert settings.redis_url is not None
    assert settings.database_url is not None
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("STREAMWORKERS_")},
        "PYTHONPATH": os.pathsep.join(map(str, (*folders, SAMPLE_JOBS))),
        "PYTHONWARNINGS": "error",
        "STREAMWORKERS_LOAD_REQUEST_ITEMS": "0",
        "SAMPLE_JOBS_TIMEOUT_SECONDS": f"{paced(1.5):g}",
        "STREAMWORKERS_REDIS_URL": settings.redis_url.get_secret_value(),
        "STREAMWORKERS_DATABASE_URL": settings.database_url.get_secret_value(),
        "STREAMWORKERS_KEY_PREFIX": settings.key_prefix,
        "STREAMWORKERS_LEASE_SECONDS": str(settings.lease_seconds),
        "STREAMWORKERS_RECONCILE_SECONDS": str(settings.reconcile_seconds),
        "STREAMWORKERS_RETRY_BASE_SECONDS": str(settings.retry_base_seconds),
        "STREAMWORKERS_RETRY_CAP_SECONDS": str(settings.retry_cap_seconds),
        "STREAMWORKERS_LOG_FORMAT": "json",
        "STREAMWORKERS_START_WAIT_SECONDS": "0",
    }
