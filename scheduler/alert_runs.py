"""Starts runs of the job `alerts`: about the series that have changed and have an alert, and about nothing else."""

import time
from collections.abc import Callable

from psycopg_pool import ConnectionPool

from streamworkers.alerts.store.due import MOST_RETRIES, record_request, take_due
from streamworkers.alerts.store.symbols import follow_universes
from streamworkers.database import Connection, wait_for_notify
from streamworkers.engine.enqueue import enqueue_committed, record_run
from streamworkers.engine.job import Origin, RunRequest
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.logger import get_logger
from streamworkers.market.bars.changes import CHANGES_CHANNEL
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.universes.cache import UniverseCache

log = get_logger()
ALERTS_JOB = "alerts"
_MOST_SYMBOLS = 20_000
_SECONDS_BETWEEN_RUNS = 1.0
_UNIVERSE_SECONDS = 60.0
_LISTEN_SECONDS = 0.5


class AlertRuns:
    """A background service of schedulers: at most one run for each timeframe and second.

    Changes are booked in the transaction that writes the run, so each starts one run, whatever number of schedulers
    looks. A series that its run has not decided is booked again, a limited number of times.
    """

    name = "alert-runs"
    scope = "all"
    interval_seconds = 1.0

    def __init__(
        self, pool: "ConnectionPool[Connection]", streams: Streams, registry: Registry, universes: UniverseCache
    ) -> None:
        self._pool = pool
        self._streams = streams
        self._registry = registry
        self._universes = universes
        self.seconds_between_runs = _SECONDS_BETWEEN_RUNS
        self.most_retries = MOST_RETRIES
        self._started_at = dict.fromkeys(TIMEFRAMES, float("-inf"))
        self._expanded: tuple[int, float] | None = None

    def run_once(self) -> float | None:
        """Start what is due; returns the seconds until a timeframe may have its next run, or None."""
        if ALERTS_JOB not in self._registry:
            return None
        pause: float | None = None
        with self._pool.connection() as connection:
            self._expand_universes(connection)
            for timeframe in TIMEFRAMES:
                left = self._started_at[timeframe] + self.seconds_between_runs - time.monotonic()
                if left > 0:
                    pause = min(left, pause or left)
                elif run := self._start(connection, timeframe):
                    self._started_at[timeframe] = time.monotonic()
                    enqueue_committed(connection, self._streams, run)
        return pause

    def _start(self, connection: Connection, timeframe: str) -> Run | None:
        with connection.transaction():
            symbols = take_due(connection, timeframe, _MOST_SYMBOLS, self.most_retries)
            if not symbols:
                return None
            request = RunRequest(
                job=ALERTS_JOB,
                symbols=tuple(symbols),
                target=f"{len(symbols)} changed series",
                timeframe=timeframe,
                origin=Origin("event"),
            )
            run = record_run(connection, self._registry, request)[0]
            record_request(connection, timeframe, symbols, run.id)
            return run

    def _expand_universes(self, connection: Connection) -> None:
        """After a change of universes, and each minute in case a change was missed."""
        now = time.monotonic()
        if self._expanded is not None:
            loads, at = self._expanded
            if loads == self._universes.loads and now - at < _UNIVERSE_SECONDS:
                return
        loads = self._universes.loads
        follow_universes(connection, self._universes.resolve_with)
        self._expanded = loads, now


def follow_changes(connect: Callable[[], Connection], wake: Callable[[], None], keep_going: Callable[[], bool]) -> None:
    """Call `wake` for each commit that writes bars, until `keep_going()` is false or the connection is lost."""
    with connect() as connection:
        connection.execute(f"LISTEN {CHANGES_CHANNEL}")
        wake()
        while keep_going():
            if wait_for_notify(connection, _LISTEN_SECONDS):
                wake()
