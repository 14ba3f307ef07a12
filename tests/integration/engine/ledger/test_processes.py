"""A row is kept whenever the state of a process changes, and none for a heartbeat that changes nothing."""

from datetime import UTC, datetime, timedelta

import msgspec
from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine.host.failure_board import StandingFailure
from streamworkers.engine.host.heartbeat import ProcessHeartbeat
from streamworkers.engine.ledger.processes import (
    ProcessRecord,
    forget_process,
    forget_silent_processes,
    note_silent_processes,
    read_process_states,
    read_processes,
    record_process,
)
from streamworkers.errors import FaultKind, Store
from streamworkers.faults import Fault
from streamworkers.jobs.cleanup import CleanupParameters, clean

NAME = "desk-1-abc"


def _beat(connection: Connection, trouble: str | None = None) -> None:
    record_process(connection, ProcessRecord(NAME, "api", "desk", 1, "1", datetime.now(UTC), {}, trouble=trouble))


def _age(connection: Connection, seconds: float) -> None:
    connection.execute("UPDATE processes SET seen_at = seen_at - make_interval(secs => %s)", (seconds,))


def _states(connection: Connection, process: str = NAME) -> list[tuple[str, str]]:
    return [(row["status"], row["message"]) for row in reversed(read_process_states(connection, process, 100))]


def test_a_row_is_added_when_the_state_changes_and_only_then(connection: Connection) -> None:
    for trouble in (None, None, "Redis is away", "Redis is away still", None):
        _beat(connection, trouble)
    expected = [("ok", "it works"), ("degraded", "Redis is away"), ("ok", "it works")]
    assert _states(connection) == expected
    (process,) = read_processes(connection)
    _age(connection, 100)
    assert [note_silent_processes(connection) for _ in range(2)] == [[NAME], []]
    assert process.seen_at is not None
    expected.append(("silent", f"not seen since {process.seen_at - timedelta(seconds=100):%Y-%m-%d %H:%M:%S} UTC"))
    _beat(connection)
    forget_process(connection, NAME)
    assert _states(connection) == [*expected, ("ok", "it works"), ("ended", "it ended in order")]
    assert read_processes(connection) == []


def test_one_that_stays_silent_is_forgotten_and_its_states_stay(connection: Connection) -> None:
    _beat(connection)
    forget_silent_processes(connection)
    assert len(read_processes(connection)) == 1
    _age(connection, 4000)
    forget_silent_processes(connection)
    assert read_processes(connection) == []
    assert _states(connection)[-1] == ("ended", "it was not seen for an hour")


def test_old_states_are_cleaned_up(connection: Connection) -> None:
    _beat(connection)
    _beat(connection, "Redis is away")
    connection.execute("UPDATE process_states SET at = at - interval '40 days' WHERE state = 'ok'")
    parameters, now = CleanupParameters(health_days=30), datetime.now(UTC)
    assert [clean(connection, "process_states", parameters, now).rows for _ in range(2)] == [1, 0]
    assert _states(connection) == [("degraded", "Redis is away")]


def test_a_heartbeat_says_what_the_process_suffers_from(
    connection: Connection, pool: ConnectionPool[Connection]
) -> None:
    doing: dict[str, object] = {}
    heartbeat = ProcessHeartbeat(pool, "api", NAME, lambda: doing)
    heartbeat.stop()  # so that a beat does not wait for the next one
    heartbeat.turn()
    doing["failing"] = [msgspec.to_builtins(StandingFailure("pruner", "it is broken", 1.0, 2).as_status())]
    heartbeat.turn()
    heartbeat.faults.record("relay", Fault(Store.REDIS, FaultKind.AWAY, "Redis is away"))
    doing.clear()
    heartbeat.turn()
    doing["error"] = "no updates"
    heartbeat.faults.clear("relay")
    heartbeat.turn()
    assert _states(connection) == [("ok", "it works"), ("degraded", "pruner keeps failing: it is broken")]
    heartbeat.run()
    assert _states(connection)[-1] == ("ended", "it ended in order")
