"""Reports that no worker is alive, which no worker can report."""

import time
from datetime import UTC, datetime

from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.diagnosis.components import ComponentStatus, make_monitoring_event, save_statuses
from streamworkers.engine import ledger
from streamworkers.engine.redis.streams import Streams
from streamworkers.logger import get_logger

log = get_logger()
AGAIN_SECONDS = 600.0


class PoolWatch:
    """A background service of schedulers: a health check would wait for a worker too."""

    name = "pool-watch"
    scope = "all"
    interval_seconds = 30.0

    def __init__(self, pool: "ConnectionPool[Connection]", streams: Streams) -> None:
        self._pool = pool
        self._streams = streams
        self._reported_at: float | None = None

    def run_once(self) -> float | None:
        """Look for heartbeats; without any, keep and publish that, and again every ten minutes."""
        if self._streams.inspector.read_heartbeats():
            self._reported_at = None
            return None
        now = time.monotonic()
        if self._reported_at is None or now - self._reported_at >= AGAIN_SECONDS:
            component = ComponentStatus("workers", "critical", "no worker is alive", {"found_by": "scheduler"})
            log.warning("no_worker")
            with self._pool.connection() as connection, connection.transaction():
                save_statuses(connection, [component], None)
                ledger.add_events(connection, [make_monitoring_event([component], None, datetime.now(UTC))])
            self._reported_at = now
        return None
