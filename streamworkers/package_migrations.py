"""Migrations of packages with jobs: the entry point group `streamworkers.migrations` names their folders.

A package has its own numbers, from 1 on. What an older release of it does not know stays applied, so that machines with
two releases of a package share a database.
"""

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from importlib.resources import files

from streamworkers.database import Connection
from streamworkers.errors import MigrationError
from streamworkers.installed import entry_points
from streamworkers.migration_files import Migration, apply_migration, read_migrations
from streamworkers.names import RULES

ENTRY_POINT_GROUP = "streamworkers.migrations"
_RECORD = "INSERT INTO package_migrations (package, number, name, checksum) VALUES (%s, %s, %s, %s)"


def read_waiting_migrations(connection: Connection) -> list[tuple[str, Migration]]:
    """The packages' migrations that are not applied, in order. Raises MigrationError as `read_migrations` does.

    Raises it, too, for a package that does not load, for two of one name, and for a file that was changed.
    """
    rows = connection.execute("SELECT package, number, name, checksum FROM package_migrations")
    applied = {(package, number): (name, checksum) for package, number, name, checksum in rows}
    waiting = []
    for package, migration in _read_files():
        recorded = applied.get((package, migration.number))
        if recorded is None:
            waiting.append((package, migration))
        elif recorded != (migration.name, migration.checksum):
            raise MigrationError(
                f"migration {migration.name!r} of package {package!r} is not what was applied as {recorded[0]!r}:"
                " restore the file and add a new migration"
            )
    return waiting


def apply_package_migrations(connection: Connection) -> list[str]:
    """Apply the packages' migrations that are missing, each in its own transaction; returns their names."""
    names = []
    for package, migration in read_waiting_migrations(connection):
        row = (package, migration.number, migration.name, migration.checksum)
        apply_migration(connection, migration, lambda row=row: connection.execute(_RECORD, row))  # type: ignore[misc]
        names.append(show_migration(package, migration))
    return names


def show_migration(package: str, migration: Migration) -> str:
    """The package and the file, as commands print them."""
    return f"{package}: {migration.name}"


def _read_files() -> Iterator[tuple[str, Migration]]:
    points: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP)):
        if not RULES["job"].accepts(point.name):
            raise MigrationError(
                f"migrations {point.name!r} ({point.value}) have a name that is not lower-case letters,"
                " digits and _, at most 64"
            )
        if point.name in points:
            raise MigrationError(
                f"two packages name their migrations {point.name!r}: {points[point.name].value} and {point.value}"
            )
        points[point.name] = point
    for name, point in points.items():
        try:
            folder = files(point.value)
        except (ImportError, OSError, TypeError) as error:
            raise MigrationError(f"migrations {name!r} ({point.value}) do not load: {error}") from None
        for migration in read_migrations(folder):
            yield name, migration
