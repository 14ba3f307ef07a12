"""The rights of each role: what it may and may not do."""

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from consumer import Consumer
from harness import run_status, start_run
from streamworkers.actor import LOCAL
from streamworkers.admin import runs as admin
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.audit.seals import seal_ended, verify
from streamworkers.config import Settings
from streamworkers.database import Connection, connect, fetch_value
from streamworkers.engine import ledger
from streamworkers.engine.ledger import retention
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import MigrationError
from streamworkers.market.universes.store import add_symbols
from streamworkers.migrations import create_roles
from streamworkers.notifications.store.run_webhooks import reopen_webhook_call
from streamworkers.schedules import run_factory, store
from streamworkers.schedules.definition import ScheduleDefinition
from submitting import install_jobs, submit


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


@pytest.fixture
def client(connection: Connection, database_url: str, registry: Registry) -> Iterator[Connection]:
    install_jobs(connection, registry)
    yield from _login(connection, database_url, "streamworkers_client")


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


SECRETS = {"api_idempotency", "api_tokens", "telegram_codes", "telegram_key"}


def test_the_readonly_role_reads_every_table_but_secrets(reader: Connection) -> None:
    tables = reader.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')"
    ).fetchall()
    assert len(tables) > 20
    assert {table for (table,) in tables} >= SECRETS
    for (table,) in tables:
        statement = sql.SQL("SELECT * FROM {} LIMIT 1").format(sql.Identifier(table))
        if table in SECRETS:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement)
        else:
            reader.execute(statement)


def test_the_app_role_can_do_all_work(
    app: Connection, streams: Streams, registry: Registry, settings: Settings, connection: Connection
) -> None:
    connection.execute("GRANT INSERT ON effects TO streamworkers_app")
    run = start_run(app, streams, registry, "ledger_entry", "A", "B")
    consumer = Consumer(settings, registry, streams, app, "one")
    consumer.work_until_empty()
    assert run_status(app, run) == "COMPLETED"
    add_symbols(app, "u", ["A"])
    app.execute('SELECT canonical_request(\'{"job": "noop"}\')')
    install_jobs(app, registry)
    hook = {"url": "https://x.example/hooks", "secrets": ["env:HOOK"]}
    first = submit(app, "noop", symbols=["A"], webhook=hook)
    submit(app, "noop", symbols=["A"], after=first)
    fields = {"name": "hooked", "job": "noop", "target": {"symbols": ["A"]}, "cron": "@daily", "webhook": hook}
    store.save_schedule(app, ScheduleDefinition.parse(fields))
    run_factory.trigger(app, streams, registry, "hooked")
    admin.cancel(app, streams, first)
    assert ledger.check_waiting_runs(app, 10).cancelled == 1
    assert fetch_value(connection, "SELECT count(*) FROM deliveries WHERE ended_run_id = %s", (first,)) == 1
    connection.execute("UPDATE deliveries SET state = 'dead'")
    reopen_webhook_call(app, first)
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


def test_the_client_role_submits_runs_and_sees_its_own(
    client: Connection, connection: Connection, reader: Connection
) -> None:
    mine = submit(client, "ledger_entry", symbols=["A"], key="k", user="ann")
    submit(connection, "ledger_entry", symbols=["B"])
    rows = client.execute('SELECT id, job, status, key, "user", prepared_at, reason FROM client_runs').fetchall()
    assert rows == [(mine, "ledger_entry", "PENDING", "k", "ann", None, None)]
    assert client.execute("SELECT run_id, seq, kind FROM client_events").fetchall() == [(mine, 1, "submitted")]
    many = client.execute("SELECT count(*) FROM submit_runs(%s)", (Jsonb([{"job": "noop", "symbols": ["A"]}] * 3),))
    assert many.fetchone() == (3,)
    assert client.execute("SELECT count(*) FROM client_runs").fetchone() == (4,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        submit(reader, "noop", symbols=["A"])


def test_the_client_role_can_do_nothing_else(client: Connection, connection: Connection) -> None:
    """Every table, view, sequence and function of the schema, but for what it is granted by name."""
    views = {"client_runs", "client_items", "client_events", "client_jobs"}
    allowed = {*views, "submit_run", "submit_runs", "cancel_client_run"}
    relations = connection.execute(
        "SELECT relname, relkind FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'S')"
    ).fetchall()
    assert len(relations) > 30
    for name, kind in relations:
        if name in allowed or name == "effects":
            continue
        changes = [] if kind == "v" else ["DELETE FROM {}", "INSERT INTO {} DEFAULT VALUES"]
        statements = ["SELECT nextval({})"] if kind == "S" else ["SELECT * FROM {}", *changes]
        for statement in statements:
            word = sql.Literal(name) if kind == "S" else sql.Identifier(name)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                client.execute(sql.SQL(statement).format(word))
    functions = connection.execute(
        "SELECT proname, oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    ).fetchall()
    granted = {
        name
        for name, signature in functions
        if client.execute("SELECT has_function_privilege(%s, 'EXECUTE')", (signature,)).fetchone() == (True,)
    }
    assert granted == allowed - views


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (x int)",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE ROLE another",
        "SET ROLE streamworkers_app",
        "UPDATE client_runs SET status = 'COMPLETED'",
        "DELETE FROM client_runs",
        "ALTER VIEW client_runs RESET (security_barrier)",
        "ALTER FUNCTION submit_run(jsonb) SECURITY INVOKER",
        "SELECT canonical_request('{}')",
        "SELECT grant_streamworkers_roles()",
        "SELECT ensure_run_items_partition('2031-01-01')",
        "COPY client_runs TO PROGRAM 'true'",
    ],
)
def test_the_client_role_changes_nothing(statement: str, client: Connection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        client.execute(statement)


def test_a_client_cannot_put_its_own_tables_before_those_of_the_function(client: Connection) -> None:
    client.execute("CREATE TEMP TABLE runs (LIKE client_runs)")
    client.execute("CREATE TEMP TABLE job_types (name text)")
    client.execute("SET search_path TO pg_temp, public")
    submit(client, "noop", symbols=["A"])
    assert client.execute("SELECT count(*) FROM pg_temp.runs").fetchone() == (0,)
    assert client.execute("SELECT count(*) FROM client_runs").fetchone() == (1,)
    client.execute("DISCARD TEMP")


def test_nobody_rewrites_what_was_submitted(app: Connection, connection: Connection, registry: Registry) -> None:
    install_jobs(connection, registry)
    submit(app, "noop", symbols=["A"])
    for statement in ("UPDATE submissions SET requested_by = 'nobody'", "UPDATE run_events SET kind = 'ended'"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute(statement)


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


def test_a_role_that_does_not_own_the_tables_is_named(app: Connection, connection: Connection) -> None:
    connection.execute("GRANT EXECUTE ON FUNCTION grant_streamworkers_roles() TO streamworkers_app")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"role login_\w+ does not own the tables"):
        app.execute("SELECT grant_streamworkers_roles()")


def test_roles_need_the_schema(empty_database_url: str) -> None:
    with connect(empty_database_url) as empty, pytest.raises(MigrationError, match="run `streamworkers migrate` first"):
        create_roles(empty)


def test_the_app_role_only_adds_to_the_audit_log(app: Connection) -> None:
    record_change(app, LOCAL, AuditChange("run.cancel", "run", "1"))
    assert seal_ended(app) is not None
    for statement in (
        "UPDATE audit_log SET actor_user = 'x'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "UPDATE audit_seals SET row_count = 0",
        "DELETE FROM audit_seals",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute(statement)
    assert verify(app).troubles == ()
