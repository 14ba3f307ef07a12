"""A pooler between the pool and PostgreSQL: one that keeps sessions works, another one is rejected with its reason."""

from collections.abc import Iterator

import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from harness import wait_until
from patience import patient
from pgbouncer import running_pgbouncer, session_id
from streamworkers.database import SessionLimits, connect, fetch_value, is_pooled, open_pool
from streamworkers.engine.host.readiness import find_postgres_trouble
from streamworkers.engine.worker.session import reset_session
from streamworkers.errors import FaultKind, UsageError
from streamworkers.pooler import find_pooler_trouble, require_sessions

_SETTINGS = "SELECT current_setting('timezone'), current_setting('statement_timeout')"


@pytest.fixture
def pooled_url(request: pytest.FixtureRequest, database_url: str) -> Iterator[str]:
    """The test's database through a PgBouncer in the mode that the test names."""
    login = str(conninfo_to_dict(database_url)["user"])
    try:
        with running_pgbouncer(database_url, {login: "secret"}, auth_type="trust", pool_mode=request.param) as url:
            yield url
    except UsageError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("pooled_url", ["session"], indirect=True)
def test_a_pooler_that_keeps_sessions_works(pooled_url: str) -> None:
    with (
        connect(pooled_url, limits=SessionLimits(statement=2), writable=True) as one,
        open_pool(pooled_url, application="probe", max_size=1, limits=SessionLimits(statement=3)) as pool,
        pool.connection() as other,
    ):
        assert is_pooled(one)
        require_sessions(one, pooled_url)
        assert find_postgres_trouble(pooled_url, "probe") is None
        for connection, limit in ((one, "2s"), (other, "3s")):
            connection.execute("SET statement_timeout = 7; SET timezone = 'Asia/Tokyo'")
            reset_session(connection)
            assert connection.execute(_SETTINGS).fetchone() == ("UTC", limit)
        one.execute("LISTEN probe")
        other.execute("NOTIFY probe, 'word'")
        assert [message.payload for message in one.notifies(timeout=patient(30), stop_after=1)] == ["word"]


@pytest.mark.parametrize("pooled_url", ["session"], indirect=True)
def test_what_a_client_leaves_in_its_session_is_gone_for_the_next_one(pooled_url: str) -> None:
    with connect(pooled_url) as gone:
        gone.execute("SELECT pg_advisory_lock(1)")
        gone.execute("SET statement_timeout = 7")
        used = session_id(gone)
    with connect(pooled_url) as after:
        wait_until(lambda: fetch_value(after, "SELECT pg_try_advisory_lock(1)"), what="the lock is free")
        assert after.execute(_SETTINGS).fetchone() == ("UTC", "0")
        assert session_id(after) == used, "the pooler did not use the session again, so nothing was tried"


@pytest.mark.parametrize("pooled_url", ["transaction", "statement"], indirect=True)
def test_a_pooler_that_keeps_no_session_is_rejected_with_its_reason(pooled_url: str) -> None:
    reason = "the pooler in front of PostgreSQL gives connections a session for one transaction or statement only"
    advice = "set its pool_mode to session, or connect directly"
    with connect(pooled_url) as connection, pytest.raises(UsageError, match=f"{reason}: {advice}"):
        require_sessions(connection, pooled_url)
    trouble = find_postgres_trouble(pooled_url, "probe")
    assert trouble is not None
    assert (trouble.kind, trouble.text.startswith(reason)) == (FaultKind.REJECTED, True)


def test_a_direct_connection_is_not_taken_for_a_pooled_one(database_url: str) -> None:
    with connect(database_url) as connection:
        assert not is_pooled(connection)
        sessions = sql.SQL("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        assert find_pooler_trouble(connection, database_url) is None
        assert connection.execute(sessions).fetchone() == (1,), "it was asked for no second connection"
