"""Starts the runs of backfills, a few at once, until each tick has one."""

from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.schedules.backfills.driver import drive, list_open

_SECONDS_WITH_OPEN_RUNS = 0.2


class BackfillRuns:
    """A background service of schedulers: the row of a tick and its run are one transaction."""

    name = "backfill-runs"
    scope = "all"
    interval_seconds = 1.0

    def __init__(self, pool: "ConnectionPool[Connection]") -> None:
        self._pool = pool

    def run_once(self) -> float | None:
        """Do a step of each open backfill; looks again soon while their runs are open."""
        with self._pool.connection() as connection:
            steps = [drive(connection, backfill_id) for backfill_id in list_open(connection)]
        return _SECONDS_WITH_OPEN_RUNS if any(step is not None and step.open_runs for step in steps) else None
