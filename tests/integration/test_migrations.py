"""Migrations: applied in order, once each, completely or not at all, by one process at a time."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from harness import wait_until
from patience import patient
from streamworkers import migrations
from streamworkers.database import Connection, connect
from streamworkers.errors import MigrationError
from streamworkers.migration_files import read_migrations
from streamworkers.migrations import migrate, migration_status, migrations_folder


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Connection]:
    with connect(empty_database_url) as connection:
        yield connection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE steps (name text); INSERT INTO steps VALUES ('one');")
    (tmp_path / "0002_second.sql").write_text("INSERT INTO steps VALUES ('two');\nALTER TABLE steps ADD note text;")
    return tmp_path


def _tables(connection: Connection) -> list[str]:
    rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return [name for (name,) in rows]


def _steps(connection: Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM steps ORDER BY ctid")]


def test_files_are_applied_in_order_and_once(empty: Connection, folder: Path) -> None:
    assert migrate(empty, folder) == ["0001_first.sql", "0002_second.sql"]
    assert migrate(empty, folder) == []
    (folder / "0003_third.sql").write_text("INSERT INTO steps VALUES ('three')")
    assert migrate(empty, folder) == ["0003_third.sql"]
    assert _steps(empty) == ["one", "two", "three"]


def test_status_distinguishes_applied_from_pending_files(empty: Connection, folder: Path) -> None:
    migrate(empty, folder)
    (folder / "0003_third.sql").write_text("SELECT 1")
    found = migration_status(empty, folder)
    assert [status.name for status in found] == ["0001_first.sql", "0002_second.sql", "0003_third.sql"]
    assert [status.applied_at is not None for status in found] == [True, True, False]


def test_status_of_an_empty_database_changes_nothing(empty: Connection, folder: Path) -> None:
    assert [status.applied_at for status in migration_status(empty, folder)] == [None, None]
    assert _tables(empty) == []


def test_the_database_of_another_program_is_left_as_it_is(empty: Connection, folder: Path) -> None:
    empty.execute("CREATE TABLE orders (id int)")
    with pytest.raises(MigrationError, match=r"has tables of another program \(1\), such as 'orders': correct STREAM"):
        migrate(empty, folder)
    assert _tables(empty) == ["orders"]
    assert migrate(empty, folder, beside=True) == ["0001_first.sql", "0002_second.sql"]
    assert migrate(empty, folder) == [], "it is ours too from then on"


def test_a_history_of_another_program_is_left_as_it_is(empty: Connection, folder: Path) -> None:
    empty.execute("CREATE TABLE schema_migrations (version text PRIMARY KEY)")
    for call in (migrate, migration_status):
        with pytest.raises(MigrationError, match="the table schema_migrations in this schema is of another program"):
            call(empty, folder)
    assert _tables(empty) == ["schema_migrations"]


def test_a_changed_file_is_rejected(empty: Connection, folder: Path) -> None:
    migrate(empty, folder)
    (folder / "0001_first.sql").write_text("CREATE TABLE steps (name varchar);")
    for verb in (migrate, migration_status):
        with pytest.raises(MigrationError, match=r"'0001_first.sql' was changed after it was applied: restore"):
            verb(empty, folder)


def test_an_applied_file_that_is_gone_is_rejected(empty: Connection, folder: Path) -> None:
    migrate(empty, folder)
    (folder / "0002_second.sql").unlink()
    with pytest.raises(MigrationError, match=r"'0002_second.sql' was applied but its file is gone"):
        migrate(empty, folder)


@pytest.mark.parametrize("stops_older", [False, True])
def test_the_release_before_works_on_beside_newer_migrations_that_let_it(
    empty: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch, stops_older: bool
) -> None:
    monkeypatch.setattr(migrations, "STOPS_OLDER", {2} if stops_older else set())
    migrate(empty, folder)
    (folder / "0002_second.sql").unlink()
    if stops_older:
        with pytest.raises(MigrationError, match=r"'0002_second.sql' was applied but its file is gone"):
            migration_status(empty, folder)
    else:
        assert [status.name for status in migration_status(empty, folder)] == ["0001_first.sql"]


def test_a_migration_that_stops_older_processes_waits_for_their_end(
    empty: Connection, folder: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "STOPS_OLDER", {1, 2})
    second = (folder / "0002_second.sql").rename(folder.parent / "0002_second.sql")
    names = [f"host-{number}-abcdef" for number in range(10, 22)]
    with ExitStack() as stack:
        for name in (*names, f"{names[0]}.3", "psql", "streamworkers-cli"):
            stack.enter_context(connect(empty_database_url, application=name))
        assert migrate(empty, folder) == ["0001_first.sql"]  # there was no release before
        second.rename(folder / second.name)
        shown = ", ".join(names[:10])
        with pytest.raises(
            MigrationError, match=rf"^migration '0002_second.sql' .* 12 are alive: stop {shown} and 2 more, "
        ):
            migrate(empty, folder)
    assert _steps(empty) == ["one"]
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    wait_until(lambda: empty.execute(sessions).fetchone() == (1,), what="PostgreSQL has ended the sessions")
    assert migrate(empty, folder) == ["0002_second.sql"]


def test_a_renamed_file_with_the_same_text_is_rejected(empty: Connection, folder: Path) -> None:
    migrate(empty, folder)
    (folder / "0002_second.sql").rename(folder / "0002_renamed.sql")
    with pytest.raises(MigrationError, match=r"'0002_second.sql' was applied but its file is gone"):
        migrate(empty, folder)


@pytest.mark.parametrize("name", ["3_third.sql", "0003-third.sql", "0003_Third.sql", "third.sql"])
def test_a_bad_name_is_rejected(name: str, folder: Path) -> None:
    (folder / name).write_text("SELECT 1")
    with pytest.raises(MigrationError, match=f"{name}' is not named NNNN_words_in_lower_case.sql"):
        read_migrations(folder)


@pytest.mark.parametrize(("name", "expected"), [("0004_later.sql", "0003"), ("0001_again.sql", "0002")])
def test_a_gap_or_a_number_used_twice_is_rejected(name: str, expected: str, folder: Path) -> None:
    (folder / name).write_text("SELECT 1")
    with pytest.raises(MigrationError, match=f"should have number {expected}: numbers run without gaps"):
        read_migrations(folder)


def test_a_folder_without_files_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="no migration files in "):
        read_migrations(tmp_path)


def test_a_file_that_is_not_utf8_is_rejected_by_name(folder: Path) -> None:
    (folder / "0003_latin.sql").write_bytes(b"SELECT '\xe9'")
    with pytest.raises(MigrationError, match=r"'0003_latin.sql' is not UTF-8"):
        read_migrations(folder)


def test_a_failing_file_is_rolled_back_and_earlier_ones_stay_applied(empty: Connection, folder: Path) -> None:
    (folder / "0003_third.sql").write_text("INSERT INTO steps VALUES ('three'); CREATE TABLE more (); SELECT 1/0;")
    with pytest.raises(MigrationError, match=r"'0003_third.sql' failed and was rolled back: division by zero"):
        migrate(empty, folder)
    assert _steps(empty) == ["one", "two"]
    assert _tables(empty) == ["schema_migrations", "steps"]
    (folder / "0003_third.sql").write_text("INSERT INTO steps VALUES ('three')")
    assert migrate(empty, folder) == ["0003_third.sql"]


def test_a_file_that_ends_its_transaction_is_rejected(empty: Connection, folder: Path) -> None:
    (folder / "0003_third.sql").write_text("INSERT INTO steps VALUES ('three'); COMMIT;")
    with pytest.raises(MigrationError, match=r"'0003_third.sql' ends the transaction"):
        migrate(empty, folder)


def test_the_lock_is_free_after_a_failure(empty: Connection, folder: Path, empty_database_url: str) -> None:
    (folder / "0003_third.sql").write_text("SELECT 1/0")
    with pytest.raises(MigrationError):
        migrate(empty, folder)
    with connect(empty_database_url) as other:
        assert other.execute("SELECT pg_try_advisory_lock(%s)", (0x5354_524D,)).fetchone() == (True,)


def test_a_lost_connection_is_no_migration_error(empty: Connection, folder: Path) -> None:
    (folder / "0003_third.sql").write_text("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(psycopg.OperationalError):
        migrate(empty, folder)


def test_concurrent_migrations_apply_each_file_once(empty_database_url: str, folder: Path) -> None:
    applied: list[str] = []
    failures: list[BaseException] = []
    together = threading.Barrier(4)

    def work() -> None:
        try:
            with connect(empty_database_url) as connection:
                together.wait(patient(30))
                applied.extend(migrate(connection, folder))
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patient(60))
    assert failures == []
    assert sorted(applied) == ["0001_first.sql", "0002_second.sql"]
    with connect(empty_database_url) as connection:
        assert _steps(connection) == ["one", "two"]


def test_the_files_of_this_release_are_in_order() -> None:
    found = read_migrations(migrations_folder())
    assert [migration.number for migration in found] == list(range(1, len(found) + 1))
