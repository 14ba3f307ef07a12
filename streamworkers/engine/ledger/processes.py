"""The table `processes`, with a row for each that runs or went silent, and `process_states`, their changes of state."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from streamworkers.database import Connection, fetch_rows
from streamworkers.engine.redis.heartbeats import FaultStatus

SILENT_SECONDS = 45.0
FORGOTTEN_SECONDS = 3600.0
_FAULTS = ("faults", "scrape_faults", "failing")


class LoopStatus(msgspec.Struct):
    """What a process tells of one of its loops: when it last worked without an error, and if it works for the fleet.

    `is_leased` is None for a loop that works in every process.
    """

    name: str
    worked_at: datetime | None = None
    is_leased: bool | None = None


_SHAPES: dict[str, Any] = {
    **dict.fromkeys(("starts", "queues", "services", "shared_messages"), list[str]),
    **dict.fromkeys(("wanted", "workers", "ready", "busy"), int),
    "mode": str,
    **dict.fromkeys(_FAULTS, list[FaultStatus]),
    "error": str | None,
    "loops": list[LoopStatus],
}

_BEAT = """
    WITH before AS (SELECT state FROM processes WHERE id = %(id)s), beat AS (
        INSERT INTO processes (id, kind, host, pid, version, started_at, doing, state)
        VALUES (%(id)s, %(kind)s, %(host)s, %(pid)s, %(version)s, %(started_at)s, %(doing)s, %(state)s)
        ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(), doing = excluded.doing, state = excluded.state
    )
    INSERT INTO process_states (process, kind, host, version, state, message)
    SELECT %(id)s, %(kind)s, %(host)s, %(version)s, %(state)s, %(message)s
    WHERE %(state)s IS DISTINCT FROM (SELECT state FROM before)
"""
_NOTE_SILENT = """
    WITH silent AS (
        UPDATE processes SET state = 'silent'
        WHERE state <> 'silent' AND seen_at < clock_timestamp() - make_interval(secs => %s) RETURNING *
    )
    INSERT INTO process_states (process, kind, host, version, state, message)
    SELECT id, kind, host, version, 'silent',
        'not seen since ' || to_char(seen_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
    FROM silent RETURNING process
"""
_FORGET = """
    WITH gone AS (DELETE FROM processes WHERE {which} RETURNING *)
    INSERT INTO process_states (process, kind, host, version, state, message)
    SELECT id, kind, host, version, 'ended', %(why)s FROM gone
"""
_STATES = """
    SELECT state AS status, message, at FROM process_states WHERE process = %s ORDER BY id DESC LIMIT %s
"""
_SELECT = """
    SELECT id, kind, host, pid, version, started_at, doing, seen_at,
        extract(epoch FROM clock_timestamp() - seen_at)::float8, NULL, state
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

    `unseen_seconds` is the time since it was last seen, by PostgreSQL's clock. `trouble` is what it suffers from when
    it records itself, and `state` what was recorded of that.
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
    trouble: str | None = None
    state: str = ""

    @property
    def is_silent(self) -> bool:
        """True if it should have been seen since: it stands still, cannot reach PostgreSQL, or was killed."""
        return self.unseen_seconds > SILENT_SECONDS


def record_process(connection: Connection, process: ProcessRecord) -> None:
    """Record that a process is alive, and what it does; its state too, if that is another than before."""
    words = {name: getattr(process, name) for name in ("id", "kind", "host", "pid", "version", "started_at")}
    state, message = ("ok", "it works") if process.trouble is None else ("degraded", process.trouble)
    connection.execute(_BEAT, {**words, "doing": Jsonb(process.doing), "state": state, "message": message})


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


def read_process_states(connection: Connection, process_id: str, limit: int) -> list[dict[str, Any]]:
    """Return the newest states of a process, also of one that has ended, the newest first."""
    return fetch_rows(connection, _STATES, (process_id, limit))


def note_silent_processes(connection: Connection) -> list[str]:
    """Record the state of processes that went silent; returns their ids."""
    return [process for (process,) in connection.execute(_NOTE_SILENT, (SILENT_SECONDS,))]


def forget_process(connection: Connection, process_id: str, why: str = "it ended in order") -> None:
    """Delete a process that ends in order, or is known to have ended; its states stay."""
    connection.execute(_FORGET.format(which="id = %(id)s").encode(), {"id": process_id, "why": why})


def forget_silent_processes(connection: Connection) -> None:
    """Delete processes that have been silent for an hour; one that wakes up records itself again."""
    which = "seen_at < clock_timestamp() - make_interval(secs => %(seconds)s)"
    words = {"seconds": FORGOTTEN_SECONDS, "why": "it was not seen for an hour"}
    connection.execute(_FORGET.format(which=which).encode(), words)


def end_silent_sessions(connection: Connection, transaction_seconds: float) -> list[tuple[str, int, float]]:
    """End sessions of silent processes that wait for their client in a statement of a transaction of at least that age.

    Returns their names, the ids of their backends, and how long their transactions had been open, in seconds.
    """
    rows = connection.execute(_END_SESSIONS, {"silent": SILENT_SECONDS, "transaction": transaction_seconds})
    return [(application, pid, seconds) for application, pid, seconds, ended in rows if ended]
