"""The table `processes`: supervisors and schedulers that run, and those that went silent."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from streamworkers.database import Connection

SILENT_SECONDS = 45.0
FORGOTTEN_SECONDS = 3600.0

_BEAT = """
    INSERT INTO processes (id, kind, host, pid, version, started_at, doing) VALUES (%s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(), doing = excluded.doing
"""
_SELECT = """
    SELECT id, kind, host, pid, version, started_at, doing, seen_at,
        extract(epoch FROM clock_timestamp() - seen_at)::float8
    FROM processes ORDER BY kind, started_at, id
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
    return [ProcessRecord(*row) for row in connection.execute(_SELECT)]


def forget_process(connection: Connection, process_id: str) -> None:
    """Delete a process that ends in order, or is known to have ended."""
    connection.execute("DELETE FROM processes WHERE id = %s", (process_id,))


def forget_silent_processes(connection: Connection) -> None:
    """Delete processes that have been silent for an hour; one that wakes up records itself again."""
    connection.execute(
        "DELETE FROM processes WHERE seen_at < clock_timestamp() - make_interval(secs => %s)", (FORGOTTEN_SECONDS,)
    )
