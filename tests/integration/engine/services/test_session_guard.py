"""Sessions of processes that stand still in the middle of a COPY, which PostgreSQL does not count as idle."""

from contextlib import suppress
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from harness import wait_until
from streamworkers.database import Connection, connect, fetch_value
from streamworkers.engine.ledger.processes import ProcessRecord, record_process
from streamworkers.engine.services.session_guard import SessionGuard

FROZEN = "desk-1-abc"


@pytest.mark.parametrize("application", [FROZEN, f"{FROZEN}.2"])
def test_a_session_that_stands_still_in_a_copy_is_ended_once_its_process_is_silent(
    application: str, connection: Connection, pool: "ConnectionPool[Connection]", database_url: str
) -> None:
    connection.execute("CREATE TABLE held (id bigint)")
    record_process(connection, ProcessRecord(FROZEN, "supervisor", "desk", 1, "0.2.0", datetime.now(UTC), {}))
    backends = _count_backends(connection)
    with connect(database_url, application=application) as frozen, suppress(psycopg.OperationalError):
        with frozen.transaction(), frozen.cursor().copy("COPY held FROM STDIN") as copy:
            copy.write("1\n")
            SessionGuard(pool, transaction_seconds=0).run_once()
            assert _holds_lock(connection), "a process that was seen lately lost its session"
            connection.execute("UPDATE processes SET seen_at = seen_at - interval '1 minute'")
            SessionGuard(pool).run_once()
            assert _holds_lock(connection), "a short transaction was ended"
            SessionGuard(pool, transaction_seconds=0).run_once()
            wait_until(lambda: not _holds_lock(connection), what="the session of the silent process is ended")
        pytest.fail("the session outlived the guard")
    assert _count_backends(connection) >= backends, "another session was ended, too"


def _holds_lock(connection: Connection) -> bool:
    return bool(fetch_value(connection, "SELECT count(*) FROM pg_locks WHERE relation = 'held'::regclass"))


def _count_backends(connection: Connection) -> int:
    count: int = fetch_value(connection, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test'")
    return count
