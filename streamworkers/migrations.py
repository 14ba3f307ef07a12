"""Migrations: numbered SQL files, each applied once, in order, under an advisory lock."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg
from psycopg.pq import TransactionStatus

from streamworkers.database import Connection, fetch_value
from streamworkers.errors import MigrationError

_FILE_NAME = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")
_LOCK_KEY = 0x5354_524D  # any fixed number; concurrent migrations of a database wait for it
_LONGEST_WAIT = "10min"
_CREATE_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""

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


@dataclass(frozen=True, slots=True)
class Migration:
    """One file; `checksum` is the SHA-256 of its text."""

    number: int
    name: str
    text: str
    checksum: str


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


def read_migrations(folder: Path) -> list[Migration]:
    """All migrations of a folder, in order. Raises MigrationError for a bad name, a gap, or a number used twice."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE_NAME.match(path.name)
        if match is None:
            raise MigrationError(f"migration file {path.name!r} is not named NNNN_words_in_lower_case.sql")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise MigrationError(f"migration {path.name!r} is not UTF-8") from None
        found.append(Migration(int(match[1]), path.name, text, hashlib.sha256(text.encode()).hexdigest()))
    if not found:
        raise MigrationError(f"no migration files in {folder}")
    for expected, migration in enumerate(found, start=1):
        if migration.number != expected:
            raise MigrationError(
                f"migration {migration.name!r} should have number {expected:04}: numbers run without gaps"
            )
    return found


def migrate(connection: Connection, folder: Path | None = None, *, beside: bool = False) -> list[str]:
    """Apply the migrations that are missing, each in its own transaction, and state all rights; returns their names.

    Files of another `folder` come without rights. Raises MigrationError if an applied file was changed or is gone, if a
    file fails, or if the current role may not grant rights; and before any change if the schema has tables of another
    program, unless ours may stand `beside` them.
    """
    migrations = read_migrations(folder or migrations_folder())
    with _alone(connection):
        _require_own_schema(connection, beside=beside)
        connection.execute(_CREATE_HISTORY)
        applied = _read_applied(connection)
        _require_unchanged(migrations, applied)
        names = []
        for migration in migrations[len(applied) :]:
            _apply(connection, migration)
            names.append(migration.name)
        if folder is None:
            _run_files(connection, "rights.sql")
        return names


def migration_status(connection: Connection, folder: Path | None = None) -> list[MigrationStatus]:
    """Every file with the time it was applied, without changing anything. Raises MigrationError as `migrate` does."""
    migrations = read_migrations(folder or migrations_folder())
    _require_own_schema(connection, beside=True)
    exists = fetch_value(connection, "SELECT to_regclass('schema_migrations') IS NOT NULL")
    applied = _read_applied(connection) if exists else {}
    _require_unchanged(migrations, applied)
    return [MigrationStatus(m.name, applied[m.number][2] if m.number in applied else None) for m in migrations]


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
    try:
        with connection.transaction():
            connection.execute(migration.text.encode())
            if connection.info.transaction_status != TransactionStatus.INTRANS:
                raise MigrationError(
                    f"migration {migration.name!r} ends the transaction that it is applied in: take its COMMIT out"
                )
            connection.execute(
                "INSERT INTO schema_migrations (number, name, checksum) VALUES (%s, %s, %s)",
                (migration.number, migration.name, migration.checksum),
            )
    except psycopg.Error as error:
        if connection.broken:
            raise
        raise MigrationError(f"migration {migration.name!r} failed and was rolled back: {error}") from error


def _read_applied(connection: Connection) -> dict[int, tuple[str, str, datetime]]:
    rows = connection.execute("SELECT number, name, checksum, applied_at FROM schema_migrations ORDER BY number")
    return {number: (name, checksum, applied_at) for number, name, checksum, applied_at in rows}


def _require_unchanged(migrations: list[Migration], applied: dict[int, tuple[str, str, datetime]]) -> None:
    files = {migration.number: migration for migration in migrations}
    for number, (name, checksum, _) in applied.items():
        if number not in files or files[number].name != name:
            raise MigrationError(
                f"migration {name!r} was applied but its file is gone: install the release that has it, or a newer one"
            )
        if files[number].checksum != checksum:
            raise MigrationError(
                f"migration {name!r} was changed after it was applied: restore the file and add a new migration"
            )
