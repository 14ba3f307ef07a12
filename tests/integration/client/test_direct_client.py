"""The client on PostgreSQL: the caller's transaction, the rights that it needs, and servers that do not answer."""

import asyncio
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from client_stage import DIRECT_KINDS, Pool, opened_client
from patience import patient
from streamworkers.client import (
    AsyncClient,
    BadInputError,
    Client,
    KeyConflictError,
    ServiceUnreachableError,
    UnknownOutcomeError,
    UnknownRunError,
    WaitTimeoutError,
)
from streamworkers.database import Connection, connect
from streamworkers.migrations import create_roles
from tcp_proxy import TcpProxy

_LIGHT = Path(__file__).parent.parent.parent / "light_client.py"


@pytest.fixture
def direct(database_url: str) -> Iterator[Client]:
    """A synchronous client."""
    with Client(database_url) as opened:
        yield opened


def test_a_key_is_of_a_login_and_a_user(direct: Client) -> None:
    first = direct.enqueue("noop", symbols=["A"], key="k", user="ann")
    second = direct.enqueue("noop", symbols=["A"], key="k", user="bob")
    assert (first.is_new, second.is_new) == (True, True)
    assert [state.id for state in direct.runs(user="bob")] == [second.id]


def _keys(connection: Connection) -> list[str | None]:
    return [key for (key,) in connection.execute("SELECT submit_key FROM runs ORDER BY id")]


def test_a_run_goes_with_the_transaction_of_psycopg(direct: Client, connection: Connection, database_url: str) -> None:
    with psycopg.connect(database_url, row_factory=dict_row) as mine:
        direct.enqueue("noop", symbols=["A"], key="rolled back", connection=mine)
        mine.rollback()
        run = direct.enqueue("noop", {}, symbols=["A"], key="committed", connection=mine)
        with mine.transaction(force_rollback=True):
            direct.enqueue("noop", symbols=["A"], key="savepoint", connection=mine)
        assert _keys(connection) == []
        for call in (run.state, lambda: run.wait(patient(5)), lambda: run.result("A"), run.cancel):
            with pytest.raises(UnknownRunError, match="in which it was submitted has not been committed"):
                call()
        mine.commit()
        mine.autocommit = True
        direct.enqueue("noop", symbols=["A"], key="autocommit", connection=mine)
    assert _keys(connection) == ["committed", "autocommit"]
    assert run.state().status == "PENDING"


def test_a_run_goes_with_an_asynchronous_transaction(database_url: str, connection: Connection) -> None:
    async def work() -> None:
        async with AsyncClient(database_url) as client, await psycopg.AsyncConnection.connect(database_url) as mine:
            await client.enqueue("noop", symbols=["A"], key="rolled back", connection=mine)
            await mine.rollback()
            await client.enqueue("ledger_entry", {"milliseconds": 1}, symbols=["A"], key="committed", connection=mine)
            await mine.commit()

    asyncio.run(work())
    assert _keys(connection) == ["committed"]


def test_errors_in_the_callers_transaction_are_those_of_the_client(direct: Client, database_url: str) -> None:
    with psycopg.connect(database_url) as mine:
        with pytest.raises(BadInputError, match="parameter milliseconds='x' of job 'ledger_entry': it is not a number"):
            direct.enqueue("ledger_entry", {"milliseconds": "x"}, symbols=["A"], connection=mine)
        direct.enqueue("noop", symbols=["A"], key="k", connection=mine)  # nothing has reached PostgreSQL
        with pytest.raises(KeyConflictError, match="differs in: symbols or items"):
            direct.enqueue("noop", symbols=["B"], key="k", connection=mine)
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            direct.enqueue("noop", symbols=["A"], connection=mine)


def test_a_connection_of_another_kind_is_named(direct: Client, database_url: str) -> None:
    with pytest.raises(BadInputError, match=r"connection is a builtins.str; this client takes psycopg.Connection, "):
        direct.enqueue("noop", symbols=["A"], connection="postgresql://")

    async def work() -> None:
        async with AsyncClient(database_url) as client:
            with psycopg.connect(database_url) as mine:
                await client.enqueue("noop", symbols=["A"], connection=mine)

    with pytest.raises(BadInputError, match=r"connection is a psycopg.Connection; this client takes psycopg.Async"):
        asyncio.run(work())


def test_the_group_of_clients_has_the_rights(connection: Connection, database_url: str, workers: Pool) -> None:
    create_roles(connection)
    name, password = f"login_{secrets.token_hex(4)}", secrets.token_hex(8)
    login = sql.Identifier(name)
    connection.execute(
        sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE streamworkers_client").format(login, sql.Literal(password))
    )
    try:
        with Client(make_conninfo(database_url, user=name, password=password)) as client, Client(database_url) as other:
            run = client.enqueue("ledger_entry", {"milliseconds": 0}, symbols=["A"])
            workers.work()
            assert run.wait(patient(10)).succeeded
            assert run.result("A") == {"length": 1}
            assert [item.key for item in run.ledger()] == ["A"]
            assert client.enqueue("noop", symbols=["A"]).cancel() == 0
            not_its_own = other.enqueue("noop", symbols=["A"])
            assert len(client.runs()) == 2
            with pytest.raises(UnknownRunError):
                client.run(not_its_own.id)
            with pytest.raises(UnknownRunError):
                other.run(run.id).cancel()
    finally:
        connection.execute(sql.SQL("DROP ROLE {}").format(login))


@contextmanager
def _proxied(database_url: str) -> Iterator[tuple[TcpProxy, str]]:
    place = conninfo_to_dict(database_url)
    with TcpProxy(f"{place['host']}/.s.PGSQL.5432") as proxy:
        yield proxy, make_conninfo(database_url, host="127.0.0.1", port=proxy.port)


@pytest.mark.parametrize("kind", DIRECT_KINDS)
def test_no_call_waits_for_a_server_that_does_not_answer(kind: str, database_url: str) -> None:
    with _proxied(database_url) as (proxy, url), opened_client(kind, url, timeout=patient(2)) as client:
        run = client.enqueue("noop", symbols=["A"], key="k")
        proxy.hang()
        with opened_client(kind, url, timeout=0.2) as hurried, pytest.raises(ServiceUnreachableError):
            hurried.enqueue("noop", symbols=["A"])
        with pytest.raises(WaitTimeoutError, match=f"run {run.id} has not ended within 0.3 s"):
            run.wait(0.3)
        proxy.resume()
        with opened_client(kind, url) as later:
            assert later.enqueue("noop", symbols=["A"], key="k").id == run.id


@pytest.mark.parametrize("kind", DIRECT_KINDS)
def test_a_server_that_rejects_is_reported_as_such(kind: str, database_url: str) -> None:
    wrong = make_conninfo(database_url, dbname="not_there")
    with (
        opened_client(kind, wrong, timeout=patient(1)) as client,
        pytest.raises(ServiceUnreachableError, match="PostgreSQL"),
    ):
        client.jobs()


@pytest.mark.parametrize("kind", DIRECT_KINDS)
def test_connections_that_were_lost_meanwhile_are_not_used(
    kind: str, database_url: str, connection: Connection
) -> None:
    with opened_client(kind, database_url) as client:
        client.enqueue("noop", symbols=["A"], key="before")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'streamworkers-client'"
        )
        client.enqueue("noop", symbols=["A"])
    assert _keys(connection) == ["before", None]


_DIE_AT_COMMIT = """
    CREATE SEQUENCE IF NOT EXISTS deaths;
    CREATE OR REPLACE FUNCTION die_once() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('deaths') <= 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER dying AFTER INSERT ON submissions DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION die_once();
"""


@pytest.mark.parametrize("kind", DIRECT_KINDS)
def test_a_commit_whose_answer_is_lost_is_repeated_only_with_a_key(
    kind: str, database_url: str, connection: Connection
) -> None:
    connection.execute(_DIE_AT_COMMIT)
    try:
        with opened_client(kind, database_url) as client:
            with pytest.raises(UnknownOutcomeError, match=r"nobody knows whether the call took effect .*: repeat it"):
                client.enqueue("noop", symbols=["A"])
            connection.execute("ALTER SEQUENCE deaths RESTART")
            assert client.enqueue("noop", symbols=["A"], key="k").is_new
        assert _keys(connection) == ["k"]
    finally:
        connection.execute("DROP TRIGGER dying ON submissions; DROP FUNCTION die_once; DROP SEQUENCE deaths")


def test_a_key_in_an_open_transaction_is_waited_for_only_so_long(database_url: str) -> None:
    with connect(database_url) as other, other.transaction(), Client(database_url, timeout=0.2) as client:
        other.execute('SELECT * FROM submit_run(\'{"job": "noop", "symbols": ["A"], "key": "k"}\')')
        with pytest.raises(ServiceUnreachableError, match="PostgreSQL"):
            client.enqueue("noop", symbols=["A"], key="k")


def test_threads_share_a_client(direct: Client, connection: Connection) -> None:
    def work(number: int) -> Callable[[], object]:
        return lambda: direct.enqueue("noop", symbols=["A"], key=f"k{number % 4}")

    threads = [threading.Thread(target=work(number)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, _keys(connection))) == ["k0", "k1", "k2", "k3"]


def test_a_program_of_its_own_loads_little_and_may_fork(database_url: str, connection: Connection) -> None:
    """The process looks at `sys.modules` itself, before and after a run is submitted."""
    words = [sys.executable, "-W", "error", str(_LIGHT)]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(60),
        env={"STREAMWORKERS_DATABASE_URL": database_url, "PATH": ""},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 runs\n", "")
    assert sorted(map(str, _keys(connection))) == ["after", "before", "child"]


@pytest.mark.parametrize("page", ["README.md", "docs/guides/client.md"])
def test_the_first_lines_of_the_docs_work(
    page: str, database_url: str, workers: Pool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job is one of the samples: what `analysis` finds is not the client's business."""
    text = (Path(__file__).parent.parent.parent.parent / page).read_text(encoding="utf-8")
    code = re.search(r"```python\n(from streamworkers.client import Client\n.*?)```", text, re.DOTALL)
    assert code is not None
    monkeypatch.setenv("STREAMWORKERS_DATABASE_URL", database_url)
    ended = threading.Event()
    worker = threading.Thread(target=workers.work_until, args=(ended,))
    worker.start()
    try:
        exec(compile(code[1].replace("analysis", "ledger_entry").replace("60", str(patient(60))), page, "exec"), {})
    finally:
        ended.set()
        worker.join()
    assert "COMPLETED {'length': 4}\n" in capsys.readouterr().out


def test_without_a_url_the_error_says_where_it_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STREAMWORKERS_DATABASE_URL", raising=False)
    monkeypatch.setenv("STREAMWORKERS_DATA_DIR", str(tmp_path))
    message = "no PostgreSQL: set STREAMWORKERS_DATABASE_URL, or give the client a URL"
    with Client() as client, pytest.raises(ServiceUnreachableError, match=message):
        client.jobs()
    with pytest.raises(BadInputError, match="timeout 0 is not a number of seconds above 0"):
        Client(timeout=0)
