"""Counts what a worker committed and did not report before it died."""

import threading
from collections.abc import Sequence

import psycopg
from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.protocol import PendingCommit
from streamworkers.engine.redis.lanes import queue_of
from streamworkers.faults import describe
from streamworkers.logger import get_logger

log = get_logger()


class UnreportedCommits:
    """Asks the ledger what a dead worker had committed, so that the counters add up to the work done."""

    def __init__(self, pool: "ConnectionPool[Connection]", metrics: PoolMetrics) -> None:
        self._pool = pool
        self._metrics = metrics

    def confirm(self, pending_commits: Sequence[PendingCommit], consumer: str) -> None:
        """Count what of these commits has happened, in a thread of its own."""
        threading.Thread(
            target=self._count_closed, args=(pending_commits, consumer), name="confirm", daemon=True
        ).start()

    def _count_closed(self, pending_commits: Sequence[PendingCommit], consumer: str) -> None:
        left = list(pending_commits)
        try:
            with self._pool.connection() as connection:
                while left:
                    pending = left[0]
                    closed = ledger.count_closed_by(connection, pending.run_day, pending.run_id, pending.seqs, consumer)
                    for outcome, count in closed.items():
                        self._metrics.finished.labels(queue_of(pending.queue), pending.job, outcome).inc(count)
                    left.pop(0)
        except psycopg.Error as error:
            items = sum(len(pending.seqs) for pending in left)
            log.warning("counts_lost", consumer=consumer, items=items, error=describe(error))
