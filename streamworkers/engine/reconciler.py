"""Makes Redis agree with the ledger: adds what was lost, completes what was done.

One rule heals a FLUSHALL, a lost second of the append-only file, a failover and a crash in the middle of an enqueue:
when a queue is empty and the ledger still holds open items of its runs, those items are added again. A run whose
enqueue never finished is added again even while the queue is busy. An item added twice costs time, never a second
effect.
"""

from collections.abc import Sequence

import structlog
from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.completion import complete_run
from streamworkers.engine.enqueue import add_entries
from streamworkers.engine.ledger import Run
from streamworkers.engine.metrics import PoolMetrics
from streamworkers.engine.stream import Streams

log = structlog.get_logger()
ADD_LIMIT = 20_000
FORGET_EVERY = 12


class Reconciler:
    """The reconciler of some queues."""

    name = "reconciler"

    def __init__(
        self,
        pool: "ConnectionPool[Connection]",
        streams: Streams,
        queues: Sequence[str],
        interval_seconds: float,
        quiet_seconds: float,
        metrics: PoolMetrics,
    ) -> None:
        self.scope = ",".join(queues)
        self.interval_seconds = interval_seconds
        self._pool = pool
        self._streams = streams
        self._queues = queues
        self._quiet_seconds = quiet_seconds
        self._metrics = metrics
        self._last_counts: dict[int, int] = {}
        self._added_to: dict[int, int] = {}
        self._steps = 0

    def run_once(self) -> float | None:
        """Look at every unfinished run of each queue once; asks Redis next to nothing while there is none."""
        more = False
        with self._pool.connection() as connection:
            for queue in self._queues:
                if ledger.unfinished_runs(connection, queue, self._quiet_seconds):
                    more = self._reconcile(connection, queue) or more
                elif self._last_counts or self._steps % FORGET_EVERY == 0:
                    self._forget_ended(connection, queue, self._streams.open_items(queue))
        self._steps += 1
        return 0.0 if more else None

    def _reconcile(self, connection: Connection, queue: str) -> bool:
        # The queue is looked at before the ledger: what is open after it was empty is really lost.
        backlog = self._streams.backlog(queue)
        empty = backlog.waiting + backlog.pending + backlog.delayed == 0
        counts = self._streams.open_items(queue)
        more = False
        for run in ledger.unfinished_runs(connection, queue, self._quiet_seconds):
            count = counts.pop(run.id, None)
            if empty or not run.is_enqueued or run.id in self._added_to:
                more = self._heal(connection, run) or more
            elif count is None or count <= 0 or self._last_counts.get(run.id) == count:
                complete_run(connection, self._streams, run)
            self._last_counts[run.id] = count or 0
        self._forget_ended(connection, queue, counts)
        return more

    def _heal(self, connection: Connection, run: Run) -> bool:
        """Add the next open items of a run again, unless somebody is enqueuing it; True while there are more."""
        if not ledger.lock_enqueue(connection, run.id, wait=False):
            return False
        try:
            last = self._added_to.get(run.id)
            if last is None:
                if complete_run(connection, self._streams, run) == 0:
                    return False
                self._streams.set_open_items(run.queue, run.id, 0)
            page = ledger.open_items(connection, run, -1 if last is None else last, ADD_LIMIT)
            added = add_entries(self._streams, run, iter(page))
            self._metrics.reconciled.labels(run.queue).inc(added)
            log.warning("items_added_again", run=run.id, queue=run.queue, count=added)
            if len(page) == ADD_LIMIT:
                self._added_to[run.id] = page[-1][0]
                return True
            self._added_to.pop(run.id, None)
            ledger.mark_enqueued(connection, run.id)
            return False
        finally:
            ledger.unlock_enqueue(connection, run.id)

    def _forget_ended(self, connection: Connection, queue: str, counts: dict[int, int]) -> None:
        """Drop the counts of runs that have ended; those of runs just enqueued stay."""
        for run_id in counts.keys() | self._last_counts.keys():
            run = ledger.load_run(connection, run_id)
            if run is None or (run.queue == queue and not run.is_open):
                self._last_counts.pop(run_id, None)
                self._added_to.pop(run_id, None)
                if run_id in counts:
                    self._streams.set_open_items(queue, run_id, 0)
