"""Migrations of packages with jobs: found by entry point, applied after ours, each once, and never changed."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamworkers.cli.session import require_schema
from streamworkers.database import Connection, fetch_value
from streamworkers.errors import MigrationError, MissingSchemaError
from streamworkers.migrations import create_roles, migrate, migration_status

Install = Callable[[str, str], Path]
_FIRST = "CREATE TABLE price_range (symbol text PRIMARY KEY, price_range numeric NOT NULL);"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package with a folder of migrations as pip would, and returns the folder."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name: str, module: str) -> Path:
        for loaded in (module, f"{module}.migrations"):  # by an earlier test, from another folder
            sys.modules.pop(loaded, None)
        info = tmp_path / f"{module}_{name.replace('-', '_')}-0.0.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}-{name}\nVersion: 0.0.0\n")
        (info / "entry_points.txt").write_text(f"[streamworkers.migrations]\n{name} = {module}.migrations\n")
        folder = tmp_path / module / "migrations"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    return install


@pytest.fixture
def folder(install: Install) -> Path:
    folder = install("desk", "desk_jobs")
    (folder / "0001_price_range.sql").write_text(_FIRST)
    return folder


def _waiting(connection: Connection) -> list[str]:
    return [status.name for status in migration_status(connection) if status.applied_at is None]


def test_a_package_has_its_tables_after_migrate_and_its_workers_may_use_them(
    connection: Connection, folder: Path
) -> None:
    create_roles(connection)
    assert _waiting(connection) == ["desk: 0001_price_range.sql"]
    with pytest.raises(MissingSchemaError, match=r"lacks desk: 0001_price_range.sql: run `streamworkers migrate`"):
        require_schema(connection)
    assert migrate(connection) == ["desk: 0001_price_range.sql"]
    assert (migrate(connection), _waiting(connection)) == ([], [])
    require_schema(connection)
    rights = "SELECT has_table_privilege('streamworkers_app', 'price_range', 'INSERT')"
    assert fetch_value(connection, rights)
    (folder / "0002_day.sql").write_text("ALTER TABLE price_range ADD day date;")
    assert migrate(connection) == ["desk: 0002_day.sql"]


def test_two_packages_count_on_their_own(connection: Connection, folder: Path, install: Install) -> None:
    (install("another", "another_desk") / "0001_first.sql").write_text("CREATE TABLE another (id int);")
    assert migrate(connection) == ["another: 0001_first.sql", "desk: 0001_price_range.sql"]


def test_a_machine_with_an_older_release_of_the_package_goes_on(connection: Connection, folder: Path) -> None:
    newer = folder / "0002_day.sql"
    newer.write_text("ALTER TABLE price_range ADD day date;")
    migrate(connection)
    newer.unlink()
    assert (migrate(connection), _waiting(connection)) == ([], [])
    assert migration_status(connection)[-1].name == "desk: 0002_day.sql"


@pytest.mark.parametrize("text", [_FIRST + " -- changed", None])
def test_a_changed_or_renamed_file_is_rejected(connection: Connection, folder: Path, text: str | None) -> None:
    migrate(connection)
    path = folder / "0001_price_range.sql"
    _ = path.write_text(text) if text else path.rename(folder / "0001_renamed.sql")
    for verb in (migrate, migration_status):
        with pytest.raises(
            MigrationError,
            match=r"'0001_\w+.sql' of package 'desk' is not what was applied as '0001_price_range.sql': restore the",
        ):
            verb(connection)


def test_a_failing_file_is_rolled_back_and_what_was_applied_before_can_be_used(
    connection: Connection, folder: Path
) -> None:
    create_roles(connection)
    (folder / "0002_wrong.sql").write_text("CREATE TABLE lost (); SELECT 1/0;")
    with pytest.raises(MigrationError, match=r"'0002_wrong.sql' failed and was rolled back: division by zero"):
        migrate(connection)
    assert fetch_value(connection, "SELECT to_regclass('lost') IS NULL")
    assert _waiting(connection) == ["desk: 0002_wrong.sql"]
    assert fetch_value(connection, "SELECT has_table_privilege('streamworkers_app', 'price_range', 'INSERT')")


def test_names_that_cannot_be_told_apart_are_rejected(connection: Connection, folder: Path, install: Install) -> None:
    install("desk", "other_jobs")
    with pytest.raises(
        MigrationError,
        match=r"two packages name their migrations 'desk': desk_jobs.migrations and other_jobs.migrations",
    ):
        migrate(connection)


def test_a_wrong_name_is_rejected(connection: Connection, install: Install) -> None:
    install("Desk-1", "desk_jobs")
    with pytest.raises(MigrationError, match=r"'Desk-1' \(desk_jobs.migrations\) have a name that is not lower-case"):
        migrate(connection)


def test_a_folder_without_files_or_that_is_not_there_is_rejected(connection: Connection, install: Install) -> None:
    folder = install("desk", "desk_jobs")
    with pytest.raises(MigrationError, match="no migration files in "):
        migrate(connection)
    folder.rmdir()
    install("before", "desk_jobs").rmdir()
    with pytest.raises(MigrationError, match=r"'before' \(desk_jobs.migrations\) do not load: "):
        migrate(connection)
