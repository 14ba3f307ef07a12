"""Ends the sessions of silent processes that stand still in a transaction which PostgreSQL itself does not end.

A session that waits for its client within a statement, as in the middle of a COPY, is not idle, so the limit for idle
transactions does not hold for it; it would keep its locks for as long as the process stands still.
"""

from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine.ledger.processes import SILENT_SECONDS, end_silent_sessions, note_silent_processes
from streamworkers.logger import get_logger

log = get_logger()


class SessionGuard:
    """Notes which processes went silent, and looks for such sessions of all of them and of their workers."""

    name = "session-guard"
    scope = "all"
    interval_seconds = 15.0

    def __init__(self, pool: "ConnectionPool[Connection]", transaction_seconds: float = SILENT_SECONDS) -> None:
        self._pool = pool
        self._transaction_seconds = transaction_seconds

    def run_once(self) -> float | None:
        """Record the silence of processes, and end the sessions that stand still now."""
        with self._pool.connection() as connection:
            for process in note_silent_processes(connection):
                log.warning("process_silent", process=process)
            for application, pid, seconds in end_silent_sessions(connection, self._transaction_seconds):
                log.warning("session_ended", application=application, backend=pid, transaction_seconds=round(seconds))
        return None
