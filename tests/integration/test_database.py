"""Connections: their settings, the errors when there is none, and the helpers for rows."""

import psycopg
import pytest
from psycopg import errors

from harness import wait_until
from streamworkers.database import Connection, SessionLimits, connect, fetch_row, fetch_rows, fetch_value, open_pool
from streamworkers.errors import BadInputError, ServiceUnreachableError
from streamworkers.faults import is_transient

SECRET = "hunter2secret"


def test_a_connection_is_in_utc_autocommits_and_bounds_its_statements(database_url: str) -> None:
    with connect(database_url, application="probe", limits=SessionLimits(statement=2)) as connection:
        row = connection.execute(
            "SELECT current_setting('timezone'), current_setting('statement_timeout'),"
            " current_setting('application_name')"
        ).fetchone()
        assert row == ("UTC", "2s", "probe")
        assert connection.autocommit


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
