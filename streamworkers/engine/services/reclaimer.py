"""Requeues entries whose lease expired: those of workers whose supervisor died with them.

After Redis was away every lease has expired, also those of healthy workers, so no attempt is charged then. After a jump
of Redis' clock leases only look expired: for the length of one none is reclaimed, so that those of live workers are
renewed.
"""

from collections.abc import Callable, Sequence

from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.redis.clock import ClockWatch
from streamworkers.engine.redis.lanes import queue_of
from streamworkers.engine.redis.streams import Streams
from streamworkers.logger import get_logger

log = get_logger()
LIMIT = 50
LONGEST_INTERVAL_SECONDS = 4.0
_START = "0-0"
_ALL_EVERY = 20


class Reclaimer:
    """The reclaimer of some queues; it keeps its cursor in each between steps.

    `was_away` is true if Redis did not answer at some time in the last two leases; `clock` has noticed its jumps.
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
        clock: ClockWatch | None = None,
    ) -> None:
        self.scope = ",".join(queues)
        self.interval_seconds = min(lease_ms / 4000, LONGEST_INTERVAL_SECONDS)
        self._streams = streams
        self._owner = owner
        self._lease_ms = lease_ms
        self._metrics = metrics
        self._was_away = was_away
        self._clock = clock
        self._cursors = dict.fromkeys(queues, _START)
        self._steps = 0

    def run_once(self) -> float | None:
        """Requeue up to LIMIT entries of each queue; returns 0 while a queue has more to examine."""
        if self._clock is not None and self._clock.has_jumped_within(self._lease_ms / 1000):
            return None
        more = False
        for queue in self._list_examined():
            next_cursor, count = self._streams.leases.reclaim(
                queue,
                self._owner,
                self._lease_ms,
                self._cursors[queue],
                LIMIT,
                charge=not self._was_away(),
                # A live lease is at most half over, so that a jump by less than the other half does no harm.
                latest_ms=self._clock.latest_ms(self._lease_ms / 2) if self._clock is not None else None,
            )
            if count < 0:
                log.warning("clock_jumped", queue=queue)
                return None
            self._cursors[queue] = next_cursor
            more = more or next_cursor != _START
            if count:
                self._metrics.reclaimed.labels(queue_of(queue)).inc(count)
                log.warning("entries_reclaimed", queue=queue, count=count)
        return 0.0 if more else None

    def _list_examined(self) -> list[str]:
        """The lanes with entries, and now and then all: another program may have deleted what is still pending."""
        self._steps += 1
        if self._steps % _ALL_EVERY == 1:
            return list(self._cursors)
        lanes: dict[str, list[str]] = {}
        for lane in self._cursors:
            lanes.setdefault(queue_of(lane), []).append(lane)
        return [lane for each in lanes.values() for lane in self._streams.queues.list_filled(each)]
