"""Keeps the stores tidy: partitions for the days ahead, no consumers of dead workers, bounded lists."""

from collections.abc import Callable, Sequence

from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger.processes import forget_silent_processes
from streamworkers.engine.redis.streams import Streams
from streamworkers.logger import get_logger

log = get_logger()
DAYS_AHEAD = 7
REJECTED_KEPT = 10_000
COUNTS_FOLDED = 100_000


class Pruner:
    """The pruner of some queues. `live_supervisors` returns the ids of supervisors with a fresh heartbeat."""

    name = "pruner"
    interval_seconds = 60.0

    def __init__(
        self,
        pool: "ConnectionPool[Connection]",
        streams: Streams,
        queues: Sequence[str],
        live_supervisors: Callable[[], set[str]],
    ) -> None:
        self.scope = ",".join(queues)
        self._pool = pool
        self._streams = streams
        self._queues = queues
        self._live_supervisors = live_supervisors

    def run_once(self) -> float | None:
        """Prune once. A consumer with pending entries is never deleted: the reclaimer empties it first."""
        with self._pool.connection() as connection:
            ledger.ensure_partitions(connection, DAYS_AHEAD)
            ledger.delete_old_rejected(connection, REJECTED_KEPT)
            forget_silent_processes(connection)
            ledger.fold_enqueued_counts(connection, COUNTS_FOLDED)
        live = self._live_supervisors()
        for queue in self._queues:
            for consumer, pending in self._streams.inspector.read_consumers(queue).items():
                supervisor_id = consumer.rpartition(".")[0]
                if pending == 0 and supervisor_id not in live and self._streams.leases.remove_consumer(queue, consumer):
                    log.info("consumer_removed", queue=queue, consumer=consumer)
        return None
