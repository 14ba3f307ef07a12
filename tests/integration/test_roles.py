"""The rights of each role: what it may and may not do."""

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from consumer import Consumer
from harness import run_status, start_run
from streamworkers.config import Settings
from streamworkers.database import Connection, connect
from streamworkers.engine.ledger import retention
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import MigrationError
from streamworkers.market.universes.store import add_symbols
from streamworkers.migrations import create_roles


def _login(connection: Connection, database_url: str, group: str) -> Iterator[Connection]:
    name, password = f"login_{secrets.token_hex(4)}", secrets.token_hex(8)
    create_roles(connection)
    connection.execute(
        sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(
            sql.Identifier(name), password, sql.Identifier(group)
        )
    )
    try:
        with connect(make_conninfo(database_url, user=name, password=password)) as opened:
            yield opened
    finally:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def app(connection: Connection, database_url: str) -> Iterator[Connection]:
    yield from _login(connection, database_url, "streamworkers_app")


@pytest.fixture
def reader(connection: Connection, database_url: str) -> Iterator[Connection]:
    yield from _login(connection, database_url, "streamworkers_readonly")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (x int)",
        "DROP TABLE run_items",
        "ALTER TABLE schedules ADD COLUMN x int",
        "TRUNCATE runs",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "INSERT INTO schema_migrations (number, name, checksum) VALUES (999, 'x', 'x')",
        "CREATE ROLE another",
        "ALTER FUNCTION ensure_run_items_partition(date) SECURITY INVOKER",
        "COPY schedules TO PROGRAM 'true'",
    ],
)
def test_the_app_role_changes_no_schema(statement: str, app: Connection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO definition_groups (name, type) VALUES ('x', 'UNIVERSE')",
        "UPDATE runs SET status = 'FAILED'",
        "DELETE FROM ohlcv_daily",
        "CREATE TABLE mine (x int)",
        "SELECT ensure_run_items_partition('2031-01-01')",
        "SELECT drop_run_items_partition('2031-01-01')",
        "SELECT nextval('schedules_id_seq')",
    ],
)
def test_the_readonly_role_changes_nothing(statement: str, reader: Connection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(statement)


def test_the_readonly_role_reads_every_table(reader: Connection) -> None:
    tables = reader.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')"
    ).fetchall()
    assert len(tables) > 20
    for (table,) in tables:
        reader.execute(sql.SQL("SELECT * FROM {} LIMIT 1").format(sql.Identifier(table)))


def test_the_app_role_can_do_all_work(
    app: Connection, streams: Streams, registry: Registry, settings: Settings, connection: Connection
) -> None:
    connection.execute("GRANT INSERT ON effects TO streamworkers_app")
    run = start_run(app, streams, registry, "ledger_entry", "A", "B")
    consumer = Consumer(settings, registry, streams, app, "one")
    consumer.work_until_empty()
    assert run_status(app, run) == "COMPLETED"
    add_symbols(app, "u", ["A"])
    app.execute("SELECT ensure_run_items_partition('2001-01-01')")
    app.execute("SELECT ensure_ohlcv_1min_partition('2001-01-01')")
    (partition,) = retention.old_item_partitions(app, run.run_day)
    assert partition == ("run_items_20010101", 0)
    retention.drop_item_partition(app, partition[0])
    assert retention.old_item_partitions(app, run.run_day) == []
    for job in ("health_check", "database_cleanup", "cache_maintenance"):
        run = start_run(app, streams, registry, job)
        consumer.work_until_empty("maintenance")
        assert run_status(app, run) == "COMPLETED"


def test_a_day_with_an_open_run_cannot_be_dropped(app: Connection, streams: Streams, registry: Registry) -> None:
    run = start_run(app, streams, registry, "ledger_entry", "A")
    with pytest.raises(psycopg.errors.ObjectInUse, match=f"a run of {run.run_day} is open"):
        app.execute("SELECT drop_run_items_partition(%s)", (run.run_day,))


def test_tables_of_later_migrations_are_granted_too(connection: Connection, app: Connection) -> None:
    connection.execute("CREATE TABLE later (x int)")
    app.execute("INSERT INTO later VALUES (1)")


def test_a_role_without_createrole_gets_an_error(app: Connection) -> None:
    with pytest.raises(MigrationError, match=r"this role may not create roles or grant rights \(.*\): connect as the"):
        create_roles(app)


def test_roles_need_the_schema(empty_database_url: str) -> None:
    with connect(empty_database_url) as empty, pytest.raises(MigrationError, match="run `streamworkers migrate` first"):
        create_roles(empty)
