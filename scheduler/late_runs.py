"""Notifies of scheduled runs that should have ended by now, once for each."""

from psycopg_pool import ConnectionPool

from scheduler.schedule_notices import make_late_notices
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger.lateness import mark_late_runs
from streamworkers.logger import get_logger

log = get_logger()
_MOST_RUNS = 500


class LateRuns:
    """A background service of schedulers: the mark of a run and its notice are one transaction."""

    name = "late-runs"
    scope = "all"
    interval_seconds = 15.0

    def __init__(self, pool: "ConnectionPool[Connection]", late_seconds: float) -> None:
        self._pool = pool
        self._late_seconds = late_seconds

    def run_once(self) -> float | None:
        """Report up to 500 runs; returns 0 while there may be more."""
        with self._pool.connection() as connection, connection.transaction():
            runs = mark_late_runs(connection, self._late_seconds, _MOST_RUNS)
            if runs:
                ledger.add_events(connection, make_late_notices(connection, runs, self._late_seconds))
        for run in runs:
            log.warning("run_late", run=run.id, schedule=run.schedule, due_at=run.scheduled_for.isoformat())
        return 0.0 if len(runs) == _MOST_RUNS else None
