"""Connections: their settings, the errors when there is none, and the helpers for rows."""

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

from harness import ServiceUrls, wait_until
from patience import paced, patient
from streamworkers import connect_state
from streamworkers.database import (
    Connection,
    SessionLimits,
    connect,
    fetch_row,
    fetch_rows,
    fetch_value,
    open_pool,
    wait_for_notify,
)
from streamworkers.errors import BadInputError, FaultKind, ServiceUnreachableError, Store
from streamworkers.faults import StoreFaultError, is_transient

SECRET = "hunter2secret"


def test_a_connection_is_in_utc_autocommits_and_bounds_its_statements(database_url: str) -> None:
    with connect(database_url, application="probe", limits=SessionLimits(statement=2)) as connection:
        row = connection.execute(
            "SELECT current_setting('timezone'), current_setting('statement_timeout'),"
            " current_setting('application_name')"
        ).fetchone()
        assert row == ("UTC", "2s", "probe")
        assert connection.autocommit


def test_a_wait_for_a_notification_ends_with_it_with_its_time_and_with_the_connection(database_url: str) -> None:
    with connect(database_url) as listening, connect(database_url) as other:
        listening.execute("LISTEN news")
        assert not wait_for_notify(listening, 0.05)
        other.execute("NOTIFY news")
        assert wait_for_notify(listening, patient(10))
        # One that arrives with the answer to a statement is not on the socket any more.
        other.execute("NOTIFY news")
        listening.execute("SELECT 1")
        assert wait_for_notify(listening, patient(10))
        assert not wait_for_notify(listening, 0.05)
        other.execute("SELECT pg_terminate_backend(%s)", (listening.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            wait_for_notify(listening, patient(10))


def test_a_session_holds_up_others_for_a_limited_time_only(database_url: str) -> None:
    with (
        connect(database_url, limits=SessionLimits(lock=0.1)) as waiting,
        connect(database_url, limits=SessionLimits(idle_in_transaction=1.0)) as frozen,
    ):
        frozen.execute("BEGIN")
        frozen.execute("SELECT pg_advisory_xact_lock(7)")
        with pytest.raises(errors.LockNotAvailable):
            waiting.execute("SELECT pg_advisory_lock(7)")
        wait_until(lambda: fetch_value(waiting, "SELECT pg_try_advisory_lock(7)"), what="the session is ended")
        with pytest.raises(errors.IdleInTransactionSessionTimeout) as ended:
            frozen.execute("SELECT 1")
        assert is_transient(ended.value)


def test_a_worker_may_compute_in_a_transaction_for_as_long_as_a_call_may_take() -> None:
    limits = SessionLimits(statement=60, lock=10, idle_in_transaction=30)
    assert limits.for_user_code(900) == SessionLimits(statement=60, lock=30, idle_in_transaction=910)
    assert limits.for_user_code(5) == SessionLimits(statement=60, lock=30, idle_in_transaction=30)


def test_a_pool_hands_out_live_connections(database_url: str) -> None:
    with open_pool(database_url, application="probe", max_size=1) as pool:
        with pool.connection() as connection:
            row = connection.execute("SELECT pg_backend_pid()").fetchone()
            assert row is not None
        with connect(database_url) as other:
            other.execute("SELECT pg_terminate_backend(%s)", row)
        with pool.connection() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:{SECRET}@/db?host=/nonexistent",
        f"postgresql://user@/db?host=/nonexistent&password={SECRET}",
        f"host=/nonexistent password={SECRET}",
    ],
)
def test_a_server_that_does_not_answer_is_reported_without_its_password(url: str) -> None:
    with pytest.raises(ServiceUnreachableError) as caught:
        connect(url)
    assert str(caught.value).startswith("PostgreSQL does not answer: ")
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:%zz{SECRET}@localhost/db",
        f"postgresql://user:{SECRET}@localhost/db?nonsense={SECRET}",
        f"host=localhost password=a {SECRET}",
        f"host=localhost password='{SECRET}",
    ],
)
def test_a_url_that_cannot_be_parsed_is_rejected_and_not_printed(url: str) -> None:
    with pytest.raises(
        BadInputError, match="STREAMWORKERS_DATABASE_URL is not a URL of the form postgresql://"
    ) as caught:
        connect(url)
    assert SECRET not in str(caught.value)


def test_a_rejected_password_is_not_printed(service_urls: object, database_url: str) -> None:
    with pytest.raises(ServiceUnreachableError) as caught:
        connect(f"{database_url} user=nobody_of_that_name password={SECRET}")
    assert SECRET not in str(caught.value)


@dataclass(frozen=True)
class Way:
    """A way to get no connection: options of the URL, and what it is then."""

    options: dict[str, str]
    kind: FaultKind
    text: str


@pytest.fixture(scope="module")
def full_role(service_urls: ServiceUrls) -> Iterator[str]:
    """A role that may have no connection at all."""
    name = f"full_{secrets.token_hex(4)}"
    with connect(service_urls.postgres) as admin:
        admin.execute(SQL("CREATE ROLE {} LOGIN PASSWORD {} CONNECTION LIMIT 0").format(Identifier(name), SECRET))
        yield name
        admin.execute(SQL("DROP ROLE {}").format(Identifier(name)))


REJECTED, FULL, AWAY = FaultKind.REJECTED, FaultKind.FULL, FaultKind.AWAY
WAYS = [
    Way({"dbname": "no_such_database"}, REJECTED, "PostgreSQL rejects: .*create the database, or correct "),
    Way(
        {"user": "nobody_of_that_name", "password": SECRET},
        REJECTED,
        "PostgreSQL rejects: .*correct the user or the password in ",
    ),
    Way(
        {"user": "FULL", "password": SECRET},
        FULL,
        "PostgreSQL is full: .*raise `max_connections` or the limit of the role, or ",
    ),
    Way({"host": "/nonexistent"}, AWAY, "PostgreSQL does not answer: "),
    # One host that will come back counts before one that rejects.
    Way({"dbname": "no_such_database", "host": "HOST,/nonexistent"}, REJECTED, "PostgreSQL rejects: "),
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: next(iter(way.options.values())))
def test_why_there_is_no_connection_is_known_by_the_code_of_the_server(
    way: Way, database_url: str, full_role: str
) -> None:
    host = str(conninfo_to_dict(database_url)["host"])
    words = {name: text.replace("FULL", full_role).replace("HOST", host) for name, text in way.options.items()}
    url = make_conninfo(database_url, **words)
    with pytest.raises(ServiceUnreachableError, match=way.text) as caught:
        connect(url)
    assert (caught.value.kind, caught.value.store) == (way.kind, Store.POSTGRESQL)
    with open_pool(url, application="probe", max_size=1) as pool:
        with pytest.raises(StoreFaultError) as timeout:
            pool.getconn(paced(0.2))
        assert timeout.value.fault.kind is way.kind
        assert re.match(way.text, timeout.value.fault.text)


def test_a_pool_without_a_free_connection_is_away_and_not_rejected(database_url: str) -> None:
    with open_pool(database_url, application="probe", max_size=1) as pool, pool.connection():
        with pytest.raises(StoreFaultError, match=r"^PostgreSQL does not answer: couldn't get a connection") as caught:
            pool.getconn(paced(0.2))
        assert caught.value.fault.kind is FaultKind.AWAY


def test_without_the_function_of_libpq_the_reason_is_unknown(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect_state, "_verbosity_setter", lambda: None)
    with pytest.raises(ServiceUnreachableError) as caught:
        connect(make_conninfo(database_url, dbname="no_such_database"))
    assert caught.value.kind is FaultKind.AWAY


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (errors.DeadlockDetected(), True),
        (errors.AdminShutdown(), True),
        (errors.CannotConnectNow(), True),
        (errors.ConnectionException(), True),
        (psycopg.OperationalError("the connection is lost"), True),
        (psycopg.InterfaceError("the connection is closed"), True),
        (errors.QueryCanceled(), False),
        (errors.NotNullViolation(), False),
        (errors.UndefinedTable(), False),
        (ValueError(), False),
    ],
)
def test_passing_errors_are_distinguished_from_errors_of_the_statement(error: Exception, passing: bool) -> None:
    assert is_transient(error) is passing


def test_rows_come_as_dictionaries_and_values_bare(connection: Connection) -> None:
    numbers = "SELECT n, n * n AS square FROM generate_series(1, %s) AS n ORDER BY n"
    assert fetch_rows(connection, numbers, (2,)) == [{"n": 1, "square": 1}, {"n": 2, "square": 4}]
    assert fetch_row(connection, numbers, (2,)) == {"n": 1, "square": 1}
    assert fetch_value(connection, numbers, (2,)) == 1
    assert (fetch_rows(connection, numbers, (0,)), fetch_row(connection, numbers, (0,))) == ([], None)
    assert fetch_value(connection, numbers, (0,)) is None
