"""How commands find Redis and PostgreSQL, and what they say when they do not: exit code 3, and never a password."""

import re
from pathlib import Path

import psycopg
import pytest

from command_line import Run
from streamworkers.embedded import redis_server

SECRET = "hunter2secret"


def test_without_services_the_message_names_the_variable_and_the_embedded_services(bare_cli: Run) -> None:
    answer = bare_cli("runs", "list")
    assert answer.code == 3
    assert "STREAMWORKERS_DATABASE_URL" in answer.err
    assert "`streamworkers embedded start`" in answer.err
    assert "no PostgreSQL" in answer.err


def test_without_redis_the_message_names_its_variable(
    cli: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("STREAMWORKERS_REDIS_URL")
    answer = cli("enqueue", "noop", "--symbols", "A")
    assert answer.code == 3
    assert answer.err.startswith("Error: no Redis: set STREAMWORKERS_REDIS_URL, or run `streamworkers embedded start`")


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@127.0.0.1:1/0",
        f"unix://:{SECRET}@/nonexistent/redis.sock",
        f"redis://:{SECRET}@nohost.invalid",
    ],
)
def test_a_redis_that_does_not_answer_is_exit_code_3(url: str, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMWORKERS_REDIS_URL", url)
    answer = cli("enqueue", "noop", "--symbols", "A")
    assert answer.code == 3
    assert answer.err.startswith("Error: Redis does not answer: ")
    assert SECRET not in answer.out + answer.err


def test_a_wrong_password_of_redis_is_not_printed(
    cli: Run, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = environment["STREAMWORKERS_REDIS_URL"].replace("unix://", f"unix://someone:{SECRET}@")
    monkeypatch.setenv("STREAMWORKERS_REDIS_URL", url)
    answer = cli("enqueue", "noop", "--symbols", "A")
    assert answer.code == 3
    assert SECRET not in answer.out + answer.err


@pytest.mark.parametrize(
    "url", [f"postgresql://user:{SECRET}@127.0.0.1:1/db", f"host=/nonexistent dbname=db password={SECRET}"]
)
@pytest.mark.parametrize("words", [("runs", "list"), ("worker",), ("migrate", "--status")])
def test_a_postgres_that_does_not_answer_is_exit_code_3(
    url: str, words: tuple[str, ...], cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMWORKERS_DATABASE_URL", url)
    answer = cli(*words)
    assert answer.code == 3
    assert answer.err.startswith("Error: PostgreSQL does not answer: ")
    assert SECRET not in answer.out + answer.err


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("STREAMWORKERS_REDIS_URL", f"redis://:a/{SECRET}@localhost"),
        ("STREAMWORKERS_REDIS_URL", f"redis://:{SECRET}@localhost:99999"),
        ("STREAMWORKERS_DATABASE_URL", f"postgresql://user:a@{SECRET}@localhost/db"),
        ("STREAMWORKERS_DATABASE_URL", f"postgresql://user:%zz{SECRET}@localhost/db"),
    ],
)
def test_a_malformed_url_is_a_usage_error_that_names_the_variable_only(
    variable: str, url: str, cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, url)
    answer = cli("enqueue", "noop", "--symbols", "A")
    assert answer.code == 2
    assert variable in answer.err
    assert SECRET not in answer.out + answer.err


def test_a_bad_setting_is_a_usage_error(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMWORKERS_LOG_LEVEL", "loud")
    answer = cli("runs", "list")
    assert answer.code == 2
    assert "STREAMWORKERS_LOG_LEVEL='loud'" in answer.err


@pytest.mark.parametrize("words", [("runs", "list"), ("bars", "show", "AAPL"), ("universes", "list"), ("dead", "list")])
def test_a_database_without_schema_says_migrate(
    words: tuple[str, ...], cli: Run, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMWORKERS_DATABASE_URL", empty_database_url)
    answer = cli(*words)
    assert answer.code == 2
    assert "run `streamworkers migrate`" in answer.err


def test_a_worker_rejects_a_database_that_lacks_migrations(
    cli: Run, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMWORKERS_DATABASE_URL", empty_database_url)
    answer = cli("worker")
    assert answer.code == 2
    assert "the database lacks 0001_market.sql" in answer.err
    assert "run `streamworkers migrate`" in answer.err


def test_migrate_and_its_status(cli: Run, empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMWORKERS_DATABASE_URL", empty_database_url)
    before = cli("migrate", "--status")
    assert "waiting" in before.out
    assert all(row["applied_at"] is None for row in cli("migrate", "--status", "--json").json)
    first = cli("migrate")
    assert "applied 0001_market.sql\n" in first.out
    assert "schema is up to date" in first.out
    again = cli("migrate")
    assert "applied" not in again.out
    assert all(row["applied_at"] for row in cli("migrate", "--json").json)
    assert not re.search(r"  waiting$", cli("migrate", "--status").out, re.MULTILINE)


def test_a_fault_of_a_migration_is_exit_code_1(cli: Run, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE schema_migrations SET checksum = 'x' WHERE number = 2")
    answer = cli("migrate")
    assert answer.code == 1
    assert "'0002_results.sql' was changed after it was applied" in answer.err


def test_embedded_commands(bare_cli: Run, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    data = tmp_path / "data"
    down = bare_cli("embedded", "status", "--data", data)
    assert (down.code, "stopped" in down.out) == (3, True)
    env = bare_cli("embedded", "env", "--data", data)
    assert (env.code, env.err) == (3, "Error: the embedded redis is not running: run `streamworkers embedded start`\n")
    try:
        started = bare_cli("embedded", "start", "--data", data, "--json")
        assert started.code == 0
        assert [(row["service"], row["state"]) for row in started.json] == [
            ("redis", "running"),
            ("postgres", "running"),
        ]
        assert bare_cli("embedded", "status", "--data", data, "--json").json == started.json
        assert len(bare_cli("embedded", "status", "--data", data).out.splitlines()) == 3
        lines = bare_cli("embedded", "env", "--data", data).out.splitlines()
        assert lines[0] == f"export STREAMWORKERS_REDIS_URL={started.json[0]['url']}"
        assert lines[1] == f"export STREAMWORKERS_DATABASE_URL='{started.json[1]['url']}'"
    finally:
        stopped = bare_cli("embedded", "stop", "--data", data)
    assert stopped.out == f"stopped; the data is kept in {data.resolve()}\n"
    assert stopped.code == 0


def test_commands_find_running_embedded_services_by_themselves(
    bare_cli: Run, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = Path(environment["STREAMWORKERS_REDIS_URL"].removeprefix("unix://"))
    monkeypatch.setenv("STREAMWORKERS_DATA_DIR", str(socket.parent.parent))
    assert bare_cli("migrate", "--status").code == 0
    assert redis_server.RedisServer(socket.parent, socket.parent, None).answers()


def test_what_postgres_rejects_is_one_line_and_exit_code_1(cli: Run, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE runs ADD CHECK (job <> 'noop')")
    answer = cli("enqueue", "noop", "--symbols", "A")
    assert answer.code == 1
    assert answer.err.startswith("Error: PostgreSQL rejects: new row for relation")
    assert answer.err.count("\n") == 1


def test_a_connection_that_breaks_within_a_command_is_exit_code_3(cli: Run, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;"
            "CREATE TRIGGER hang_up BEFORE INSERT ON runs FOR EACH ROW EXECUTE FUNCTION hang_up()"
        )
    answer = cli("enqueue", "noop", "--symbols", "A")
    assert answer.code == 3
    assert answer.err.startswith("Error: PostgreSQL cannot work now: ")
