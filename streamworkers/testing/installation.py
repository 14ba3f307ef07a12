"""Real services for tests: an embedded Redis and PostgreSQL, and installations of their own in them.

A Redis and a PostgreSQL serve all tests of a process; each test has a database of its own, copied from one that has
the schema and the packages' tables, and a key prefix of its own.
"""

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql
from psycopg.conninfo import make_conninfo

from streamworkers.config import Settings, load_settings
from streamworkers.database import Connection, connect
from streamworkers.embedded import EmbeddedServices
from streamworkers.errors import BadInputError
from streamworkers.migrations import migrate
from streamworkers.testing.leftovers import ended_with_us

_TEMPLATE = "migrated_template"
# What makes tests quick: a short lease, and soon a second try.
QUICK_SETTINGS = {
    "STREAMWORKERS_LEASE_SECONDS": "3",
    "STREAMWORKERS_RECONCILE_SECONDS": "0.3",
    "STREAMWORKERS_RETRY_BASE_SECONDS": "0.05",
    "STREAMWORKERS_RETRY_CAP_SECONDS": "0.2",
    "STREAMWORKERS_START_WAIT_SECONDS": "0",
    "STREAMWORKERS_LOG_FORMAT": "json",
}
_in_use: "list[Installation]" = []


@dataclass(frozen=True, slots=True)
class Installation:
    """A database with the schema and a key prefix, which nobody else uses."""

    redis_url: str
    database_url: str
    key_prefix: str

    @classmethod
    def current(cls) -> "Installation":
        """Return that of the test that is running, or else the one that the settings name.

        Raises BadInputError if these do not name a Redis and a PostgreSQL.
        """
        if _in_use:
            return _in_use[-1]
        settings = load_settings()
        if settings.redis_url is None or settings.database_url is None:
            raise BadInputError(
                "no installation: use the fixture sw_installation, give one, or set STREAMWORKERS_REDIS_URL and"
                " STREAMWORKERS_DATABASE_URL"
            )
        redis, database = settings.redis_url.get_secret_value(), settings.database_url.get_secret_value()
        return cls(redis, database, settings.key_prefix)

    def connect(self) -> Connection:
        """Open an autocommit connection to the database; use it in a `with` statement, which closes it."""
        return connect(self.database_url, application="streamworkers-testing")

    def environment(self) -> dict[str, str]:
        """Return the variables by which a process finds this installation, with settings that make tests quick."""
        return {
            "STREAMWORKERS_REDIS_URL": self.redis_url,
            "STREAMWORKERS_DATABASE_URL": self.database_url,
            "STREAMWORKERS_KEY_PREFIX": self.key_prefix,
            **QUICK_SETTINGS,
        }

    def settings(self) -> Settings:
        """Return the settings of a process in that environment."""
        fields = {name.removeprefix("STREAMWORKERS_").lower(): value for name, value in self.environment().items()}
        return Settings.model_validate(fields)

    def process_environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return a whole environment for a process of the pool, in which it imports what this process can."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STREAMWORKERS_")}
        path = os.pathsep.join(dict.fromkeys(each for each in (str(Path.cwd()), *sys.path) if each))
        return {**kept, "PYTHONPATH": path, **self.environment(), **(more or {})}


@dataclass(frozen=True, slots=True)
class PrivateServers:
    """A Redis and a PostgreSQL that tests share."""

    redis_url: str
    postgres_url: str

    @contextmanager
    def installation(self) -> Iterator[Installation]:
        """Make an installation for one test, which is removed in the end."""
        name = f"test_{secrets.token_hex(6)}"
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        with connect(self.postgres_url) as admin:
            admin.execute(copy.format(sql.Identifier(name), sql.Identifier(_TEMPLATE)))
            try:
                url = make_conninfo(self.postgres_url, dbname=name)
                _in_use.append(Installation(self.redis_url, url, name.replace("_", "-")))
                yield _in_use[-1]
            finally:
                _in_use.pop()
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def running_servers() -> Iterator[PrivateServers]:
    """Start the servers in a folder that goes with them, also when this process is killed.

    Raises UsageError where the packages of the embedded services are not installed, ServiceUnreachableError if a server
    does not start, and MigrationError for migrations of an installed package.
    """
    folder = Path(tempfile.mkdtemp(prefix="sw-testing-"))
    services = EmbeddedServices(Settings(data_dir=folder))
    with ended_with_us(folder):
        try:
            services.start()
            _make_template(services.postgres.url)
            yield PrivateServers(services.redis.url, services.postgres.url)
        finally:
            services.stop()
            shutil.rmtree(folder, ignore_errors=True)


def _make_template(url: str) -> None:
    with connect(url) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")  # what tests write need not outlive the machine
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
    with connect(make_conninfo(url, dbname=_TEMPLATE)) as connection:
        migrate(connection)
