"""Requeues entries whose lease expired: those of workers whose supervisor died with them.

After Redis was away every lease has expired, also those of healthy workers, so no attempt is charged then.
"""

from collections.abc import Callable, Sequence

import structlog

from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.redis.streams import Streams

log = structlog.get_logger()
LIMIT = 50
LONGEST_INTERVAL_SECONDS = 4.0
_START = "0-0"


class Reclaimer:
    """The reclaimer of some queues; it keeps its cursor in each between steps.

    `was_away` is true if Redis did not answer at some time in the last two leases.
    """

    name = "reclaimer"

    def __init__(
        self,
        streams: Streams,
        queues: Sequence[str],
        owner: str,
        lease_ms: int,
        metrics: PoolMetrics,
        was_away: Callable[[], bool] = lambda: False,
    ) -> None:
        self.scope = ",".join(queues)
        self.interval_seconds = min(lease_ms / 4000, LONGEST_INTERVAL_SECONDS)
        self._streams = streams
        self._owner = owner
        self._lease_ms = lease_ms
        self._metrics = metrics
        self._was_away = was_away
        self._cursors = dict.fromkeys(queues, _START)

    def run_once(self) -> float | None:
        """Requeue up to LIMIT entries of each queue; returns 0 while a queue has more to examine."""
        more = False
        for queue, cursor in self._cursors.items():
            next_cursor, count = self._streams.leases.reclaim(
                queue, self._owner, self._lease_ms, cursor, LIMIT, charge=not self._was_away()
            )
            self._cursors[queue] = next_cursor
            more = more or next_cursor != _START
            if count:
                self._metrics.reclaimed.labels(queue).inc(count)
                log.warning("entries_reclaimed", queue=queue, count=count)
        return 0.0 if more else None
