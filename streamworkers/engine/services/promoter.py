"""Moves delayed entries to their stream when they are due."""

from collections.abc import Sequence

from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.redis.lanes import queue_of
from streamworkers.engine.redis.streams import Streams

LIMIT = 500


class Promoter:
    """The promoter of some queues."""

    name = "promoter"
    interval_seconds = 2.0

    def __init__(self, streams: Streams, queues: Sequence[str], metrics: PoolMetrics) -> None:
        self.scope = ",".join(queues)
        self._streams = streams
        self._queues = queues
        self._metrics = metrics

    def run_once(self) -> float | None:
        """Move up to LIMIT entries of each queue; returns the seconds until the next one is due."""
        pauses = []
        # Idle queues, asked every second for as long as they are idle, should cost next to nothing.
        for queue in self._streams.queues.list_delayed(self._queues):
            count, next_ms = self._streams.queues.promote(queue, LIMIT)
            if count:
                self._metrics.promoted.labels(queue_of(queue)).inc(count)
            if next_ms is not None:
                pauses.append(next_ms / 1000)
        return min(pauses, default=None)
