"""Migrations: numbered SQL files, each applied once, in order, under an advisory lock."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, NoReturn

import psycopg

from streamworkers import package_migrations
from streamworkers.database import Connection, fetch_value
from streamworkers.errors import MigrationError
from streamworkers.migration_files import Migration, apply_migration, read_migrations

_LOCK_KEY = 0x5354_524D  # any fixed number; concurrent migrations of a database wait for it
_LONGEST_WAIT = "10min"
# Files that take away what processes of the release before use. They wait for the end of these processes, and such a
# process does not start on a schema that has one of them; beside any other newer file it works on.
STOPS_OLDER = frozenset({10})
_CREATE_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE schema_migrations ADD COLUMN IF NOT EXISTS stops_older boolean NOT NULL DEFAULT false"""

_HAS_OTHER_HISTORY = """
SELECT to_regclass('schema_migrations') IS NOT NULL
   AND 2 <> (SELECT count(*) FROM pg_attribute
             WHERE attrelid = to_regclass('schema_migrations') AND attname IN ('number', 'checksum'))"""
# Without those of extensions.
_OTHER_TABLES = """
SELECT relname FROM pg_class c
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
ORDER BY relname"""
# A schema of 0.1 has no column `stops_older`.
_APPLIED = """
SELECT number, name, checksum, applied_at, coalesce((to_jsonb(m) ->> 'stops_older')::boolean, false)
FROM schema_migrations m ORDER BY number"""
# Every process of the pool names its sessions HOST-PID-XXXXXX, a worker with its number behind that.
_PROCESSES = r"""
SELECT DISTINCT substring(application_name FROM '^(.+-[0-9]+-[0-9a-f]{6})([.][0-9]+)?$') AS process
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY process"""
_MOST_NAMED = 10


class _Applied(NamedTuple):
    """A row of `schema_migrations`, without its number."""

    name: str
    checksum: str
    applied_at: datetime
    stops_older: bool


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """A file and when it was applied, or None if it has not been."""

    name: str
    applied_at: datetime | None


def sql_folder() -> Path:
    """The folder of the SQL files: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "sql"
    return installed if installed.is_dir() else package.parent / "sql"


def migrations_folder() -> Path:
    """The folder of the migrations."""
    return sql_folder() / "migrations"


def create_roles(connection: Connection) -> None:
    """Create the group roles `streamworkers_app`, `…_readonly` and `…_client` if missing, and state all rights.

    Raises MigrationError if the current role may not create roles, or if the schema is not up to date.
    """
    with _alone(connection):
        _run_files(connection, "roles.sql", "rights.sql")


def migrate(connection: Connection, folder: Path | None = None, *, beside: bool = False) -> list[str]:
    """Apply the migrations that are missing, each in its own transaction, and state all rights; returns their names.

    Those of packages with jobs come after ours; files of another `folder` come without either. Raises MigrationError if
    an applied file was changed or is gone, if a file fails, or if the current role may not grant rights; and before any
    change if the schema has tables of another program, unless ours may stand `beside` them, or if processes are alive
    that could not go on.
    """
    migrations = read_migrations(folder or migrations_folder())
    with _alone(connection):
        _require_own_schema(connection, beside=beside)
        connection.execute(_CREATE_HISTORY)
        applied = _read_applied(connection)
        _require_unchanged(migrations, applied)
        _require_files(migrations, applied)
        if applied:  # in an empty database, processes of this release may wait for the schema
            _require_ended(connection, migrations[len(applied) :])
        names = []
        for migration in migrations[len(applied) :]:
            _apply(connection, migration)
            names.append(migration.name)
        if folder is None:
            try:
                names += package_migrations.apply_package_migrations(connection)
            finally:  # a package's mistake leaves nobody without rights to what was applied before it
                _run_files(connection, "rights.sql")
        return names


def migration_status(connection: Connection, folder: Path | None = None) -> list[MigrationStatus]:
    """Every file with the time it was applied, without changing anything. Raises MigrationError as `migrate` does.

    The schema may be of a newer release, beside which this one works.
    """
    migrations = read_migrations(folder or migrations_folder())
    _require_own_schema(connection, beside=True)
    exists = fetch_value(connection, "SELECT to_regclass('schema_migrations') IS NOT NULL")
    applied = _read_applied(connection) if exists else {}
    _require_unchanged(migrations, applied)
    _require_files(migrations, {number: row for number, row in applied.items() if row.stops_older})
    found = [MigrationStatus(m.name, applied[m.number].applied_at if m.number in applied else None) for m in migrations]
    if folder is None and all(status.applied_at for status in found):
        found += _read_package_status(connection)
    return found


def _read_package_status(connection: Connection) -> list[MigrationStatus]:
    """What was applied of packages, installed here or not, and what is missing of those that are."""
    rows = connection.execute(
        "SELECT package || ': ' || name, applied_at FROM package_migrations ORDER BY package, number"
    )
    waiting = package_migrations.read_waiting_migrations(connection)
    return [
        *(MigrationStatus(name, applied_at) for name, applied_at in rows),
        *(
            MigrationStatus(package_migrations.show_migration(package, migration), None)
            for package, migration in waiting
        ),
    ]


def _run_files(connection: Connection, *names: str) -> None:
    """Run files of the SQL folder in one transaction."""
    try:
        with connection.transaction():
            for name in names:
                connection.execute((sql_folder() / name).read_bytes())
    except psycopg.errors.InsufficientPrivilege as error:
        raise MigrationError(
            f"this role may not create roles or grant rights ({error.diag.message_primary}): connect as the owner of"
            " the database, with CREATEROLE"
        ) from error
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction):
        raise MigrationError("the schema is older than the roles: run `streamworkers migrate` first") from None


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Hold the lock of migrations. Another `migrate` may take long, so the wait has a limit of its own."""
    usual = fetch_value(connection, "SHOW lock_timeout")
    connection.execute("SELECT set_config('lock_timeout', %s, false)", (_LONGEST_WAIT,))
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK_KEY,))
    finally:
        if not connection.broken:
            connection.execute("SELECT set_config('lock_timeout', %s, false)", (usual,))
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK_KEY,))


def _require_own_schema(connection: Connection, *, beside: bool) -> None:
    """Raise MigrationError if the schema was not made by us: a URL may name the database of another program."""
    if fetch_value(connection, _HAS_OTHER_HISTORY):
        raise MigrationError(
            "the table schema_migrations in this schema is of another program: give streamworkers a database of its own"
        )
    if beside or fetch_value(connection, "SELECT to_regclass('schema_migrations') IS NOT NULL"):
        return
    others = [name for (name,) in connection.execute(_OTHER_TABLES)]
    if others:
        database = fetch_value(connection, "SELECT current_database()")
        raise MigrationError(
            f"database {database!r} has tables of another program ({len(others)}), such as {others[0]!r}: correct"
            " STREAMWORKERS_DATABASE_URL, or let streamworkers put its tables beside them: --beside"
        )


def _apply(connection: Connection, migration: Migration) -> None:
    row = (migration.number, migration.name, migration.checksum, migration.number in STOPS_OLDER)
    statement = "INSERT INTO schema_migrations (number, name, checksum, stops_older) VALUES (%s, %s, %s, %s)"
    apply_migration(connection, migration, lambda: connection.execute(statement, row))


def _read_applied(connection: Connection) -> dict[int, _Applied]:
    return {number: _Applied(*rest) for number, *rest in connection.execute(_APPLIED)}


def _require_unchanged(migrations: list[Migration], applied: dict[int, _Applied]) -> None:
    """Raise MigrationError if an applied file has another name or text by now."""
    for migration in migrations:
        known = applied.get(migration.number)
        if known is None:
            continue
        if known.name != migration.name:
            _raise_gone(known.name)
        if known.checksum != migration.checksum:
            raise MigrationError(
                f"migration {known.name!r} was changed after it was applied: restore the file and add a new migration"
            )


def _require_files(migrations: list[Migration], applied: dict[int, _Applied]) -> None:
    """Raise MigrationError if an applied migration has no file."""
    numbers = {migration.number for migration in migrations}
    for number, known in applied.items():
        if number not in numbers:
            _raise_gone(known.name)


def _raise_gone(name: str) -> NoReturn:
    raise MigrationError(
        f"migration {name!r} was applied but its file is gone: install the release that has it, or a newer one"
    )


def _require_ended(connection: Connection, waiting: list[Migration]) -> None:
    """Raise MigrationError if processes are alive that a waiting migration would stop in the middle of their work."""
    stopping = [migration.name for migration in waiting if migration.number in STOPS_OLDER]
    alive = [name for (name,) in connection.execute(_PROCESSES) if name] if stopping else []
    if alive:
        more = f" and {len(alive) - _MOST_NAMED} more" if len(alive) > _MOST_NAMED else ""
        raise MigrationError(
            f"migration {stopping[0]!r} takes away what processes of the release before use, and {len(alive)} are"
            f" alive: stop {', '.join(alive[:_MOST_NAMED])}{more}, then run this again"
        )
