"""Files of migrations: numbered, named and read alike, whether they are ours or of a package with jobs."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources.abc import Traversable

import psycopg
from psycopg.pq import TransactionStatus

from streamworkers.database import Connection
from streamworkers.errors import MigrationError

_FILE_NAME = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file; `checksum` is the SHA-256 of its text."""

    number: int
    name: str
    text: str
    checksum: str


def read_migrations(folder: Traversable) -> list[Migration]:
    """All migrations of a folder, in order. Raises MigrationError for a bad name, a gap, or a number used twice."""
    found = []
    paths = (path for path in folder.iterdir() if path.name.endswith(".sql"))
    for path in sorted(paths, key=lambda path: path.name):
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


def apply_migration(connection: Connection, migration: Migration, record: Callable[[], object]) -> None:
    """Apply a file and `record` it, in one transaction. Raises MigrationError if it fails, or ends the transaction."""
    try:
        with connection.transaction():
            connection.execute(migration.text.encode())
            if connection.info.transaction_status != TransactionStatus.INTRANS:
                raise MigrationError(
                    f"migration {migration.name!r} ends the transaction that it is applied in: take its COMMIT out"
                )
            record()
    except psycopg.Error as error:
        if connection.broken:
            raise
        raise MigrationError(f"migration {migration.name!r} failed and was rolled back: {error}") from error
