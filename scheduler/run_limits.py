"""Looks after what schedules allow their runs: cancels those that take too long, and notifies of missed deadlines."""

from psycopg_pool import ConnectionPool

from scheduler.schedule_notices import make_deadline_notices, make_overlong_notice
from streamworkers.actor import Actor
from streamworkers.admin.runs import cancel_for, forget_open_items
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.redis.streams import Streams
from streamworkers.logger import get_logger
from streamworkers.schedules.limits import OverlongRun, find_overlong_runs, judge_deadlines

log = get_logger()
_MOST_RUNS = 100
_SCHEDULER = Actor("scheduler", "system")


class RunLimits:
    """A background service of schedulers: each cancellation and each judgement is one transaction with its notice."""

    name = "run-limits"
    scope = "all"
    interval_seconds = 2.0

    def __init__(self, pool: "ConnectionPool[Connection]", streams: Streams) -> None:
        self._pool = pool
        self._streams = streams

    def run_once(self) -> float | None:
        """Look at up to 100 runs and 100 deadlines; returns 0 while there may be more."""
        with self._pool.connection() as connection:
            overlong = find_overlong_runs(connection, _MOST_RUNS)
            for run in overlong:
                self._cancel(connection, run)
            with connection.transaction():
                missed, judged = judge_deadlines(connection, _MOST_RUNS)
                if missed:
                    ledger.add_events(connection, make_deadline_notices(connection, missed))
        for each in missed:
            log.warning("deadline_missed", schedule=each.schedule, run=each.run_id, done_by=each.done_by_at.isoformat())
        return 0.0 if _MOST_RUNS in (len(overlong), judged) else None

    def _cancel(self, connection: Connection, overlong: OverlongRun) -> None:
        """Cancel a run; one that has ended meanwhile stays as it is."""
        with connection.transaction():
            run = cancel_for(connection, overlong.id, overlong.describe(), _SCHEDULER)
            if run is None:
                return
            ledger.add_events(connection, [make_overlong_notice(connection, overlong)])
        log.warning("run_too_long", schedule=overlong.schedule, run=overlong.id, seconds=round(overlong.seconds))
        forget_open_items(self._streams, run)
