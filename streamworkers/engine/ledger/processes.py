"""The table `processes`: supervisors and schedulers that run, and those that went silent."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from streamworkers.database import Connection
from streamworkers.engine.redis.heartbeats import FaultStatus

SILENT_SECONDS = 45.0
FORGOTTEN_SECONDS = 3600.0
_FAULTS = ("faults", "scrape_faults", "failing")
_SHAPES: dict[str, Any] = {
    **dict.fromkeys(("starts", "queues", "services"), list[str]),
    **dict.fromkeys(("workers", "busy"), int),
    **dict.fromkeys(_FAULTS, list[FaultStatus]),
    "error": str | None,
}

_BEAT = """
    INSERT INTO processes (id, kind, host, pid, version, started_at, doing) VALUES (%s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(), doing = excluded.doing
"""
_SELECT = """
    SELECT id, kind, host, pid, version, started_at, doing, seen_at,
        extract(epoch FROM clock_timestamp() - seen_at)::float8
    FROM processes ORDER BY kind, started_at, id
"""

# A worker's sessions are named after its supervisor.
_END_SESSIONS = """
    -- Materialized, because conditions are evaluated in any order, and ending a session must come last.
    WITH standing AS MATERIALIZED (
        SELECT application_name, pid, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds
        FROM pg_stat_activity AS session
        WHERE datname = current_database() AND state = 'active' AND wait_event_type = 'Client'
            AND xact_start < clock_timestamp() - make_interval(secs => %(transaction)s)
            AND EXISTS (
                SELECT FROM processes
                WHERE seen_at < clock_timestamp() - make_interval(secs => %(silent)s)
                    AND (session.application_name = id OR starts_with(session.application_name, id || '.'))
            )
    )
    SELECT application_name, pid, seconds, pg_terminate_backend(pid) FROM standing
"""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A supervisor or scheduler: what it is, since when it runs, and what it does.

    `unseen_seconds` is the time since it was last seen, by PostgreSQL's clock.
    """

    id: str
    kind: str
    host: str
    pid: int
    version: str
    started_at: datetime
    doing: dict[str, Any]
    seen_at: datetime | None = None
    unseen_seconds: float = 0.0

    @property
    def is_silent(self) -> bool:
        """True if it should have been seen since: it stands still, cannot reach PostgreSQL, or was killed."""
        return self.unseen_seconds > SILENT_SECONDS


def record_process(connection: Connection, process: ProcessRecord) -> None:
    """Record that a process is alive, and what it does."""
    words = (process.id, process.kind, process.host, process.pid, process.version, process.started_at)
    connection.execute(_BEAT, (*words, Jsonb(process.doing)))


def read_processes(connection: Connection) -> list[ProcessRecord]:
    """Return every process that is known, by kind and age."""
    found = [ProcessRecord(*row) for row in connection.execute(_SELECT)]
    return [replace(each, doing=_keep_sound(each.doing)) for each in found]


def _keep_sound(doing: dict[str, Any]) -> dict[str, Any]:
    """Leave out what another program has written in a shape that no process writes; the next beat mends it."""
    return {name: value for name, value in doing.items() if name not in _SHAPES or _fits(value, _SHAPES[name])}


def _fits(value: object, shape: Any) -> bool:
    try:
        msgspec.convert(value, shape)
    except msgspec.ValidationError:
        return False
    return True


def forget_process(connection: Connection, process_id: str) -> None:
    """Delete a process that ends in order, or is known to have ended."""
    connection.execute("DELETE FROM processes WHERE id = %s", (process_id,))


def forget_silent_processes(connection: Connection) -> None:
    """Delete processes that have been silent for an hour; one that wakes up records itself again."""
    connection.execute(
        "DELETE FROM processes WHERE seen_at < clock_timestamp() - make_interval(secs => %s)", (FORGOTTEN_SECONDS,)
    )


def end_silent_sessions(connection: Connection, transaction_seconds: float) -> list[tuple[str, int, float]]:
    """End sessions of silent processes that wait for their client in a statement of a transaction of at least that age.

    Returns their names, the ids of their backends, and how long their transactions had been open, in seconds.
    """
    rows = connection.execute(_END_SESSIONS, {"silent": SILENT_SECONDS, "transaction": transaction_seconds})
    return [(application, pid, seconds) for application, pid, seconds, ended in rows if ended]
