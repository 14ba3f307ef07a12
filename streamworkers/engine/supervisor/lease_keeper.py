"""Renews the leases of this supervisor's workers, and requeues what its dead workers held.

Renewal is the supervisor's work, never user code's: TA-Lib and NumPy hold the interpreter lock, and a heartbeat in the
same process would starve when it matters most. It happens at a quarter of the lease, so that three may be missed.
"""

import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from streamworkers.engine.host.loop import Loop
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.redis.heartbeats import SupervisorStatus
from streamworkers.engine.redis.streams import Streams
from streamworkers.errors import RedisUnavailableError
from streamworkers.faults import describe

log = structlog.get_logger()
_STARTING_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Holder:
    """A consumer that holds entries, and its queues."""

    consumer: str
    queues: Sequence[str]


@dataclass(frozen=True, slots=True)
class DeadWorker:
    """A consumer that has ended, and why; the reason is '' for one that stopped in order.

    `suspects` are the queue and the entries that its handler was executing.
    """

    consumer: str
    queues: Sequence[str]
    reason: str
    suspects: tuple[str, Sequence[str]] | None = None


class LeaseKeeper(Loop):
    """The thread that talks to Redis on behalf of this supervisor's workers.

    `trouble` is why the last heartbeat failed, '' if it did not: a Redis that is full or read-only answers, but takes
    no heartbeat.
    """

    def __init__(
        self,
        streams: Streams,
        owner: str,
        lease_ms: int,
        holders: Callable[[], Sequence[Holder]],
        describe_self: Callable[[], SupervisorStatus],
        metrics: PoolMetrics,
    ) -> None:
        super().__init__("lease-keeper")
        self.trouble = ""
        self._trouble_at = float("-inf")
        self._streams = streams
        self._owner = owner
        self._lease_ms = lease_ms
        self._holders = holders
        self._describe_self = describe_self
        self._metrics = metrics
        self._dead_workers: queue.SimpleQueue[DeadWorker | None] = queue.SimpleQueue()
        self._unreleased: list[DeadWorker] = []
        self._interval = lease_ms / 4000
        self._beat_at = 0.0
        self._is_stopping = False

    def release(self, dead: DeadWorker) -> None:
        """Requeue what an ended worker held, now, or as soon as Redis answers."""
        self._dead_workers.put(dead)

    def was_away(self) -> bool:
        """True if Redis took no heartbeat at some time in the last two leases."""
        return time.monotonic() - self._trouble_at < 2 * self._lease_ms / 1000

    def stop(self) -> None:
        """Requeue what is left, remove the heartbeat, and end; join it with a timeout, as Redis may be away."""
        self._dead_workers.put(None)

    def turn(self) -> None:
        """Beat at a quarter of the lease, requeue for dead workers, and wait for the next of either."""
        now = time.monotonic()
        try:
            if now >= self._beat_at and not self._is_stopping:
                self._beat_at = now + self._interval  # also after a heartbeat that fails
                if not self._beat():
                    # The first workers are still starting: the next heartbeat shows them soon.
                    self._beat_at = now + min(self._interval, _STARTING_SECONDS)
                self.trouble = ""
            self._release_dead_workers()
            if self._is_stopping:
                self._streams.heartbeats.end(self._owner)
                super().stop()
                return
        except RedisUnavailableError as error:
            self.trouble, self._trouble_at = str(error), time.monotonic()
            log.warning("service_away", thread=self.name, error=describe(error))
        wait = 0.5 if self._unreleased else 10.0
        wait = min(wait, self._interval, max(0.0, self._beat_at - time.monotonic()))
        try:
            dead = self._dead_workers.get(timeout=wait)
        except queue.Empty:
            return
        if dead is None:
            self._is_stopping = True
        else:
            self._unreleased.append(dead)

    def _beat(self) -> bool:
        """Renew the leases and write the heartbeat; True if it has workers."""
        for holder in self._holders():
            for name in holder.queues:
                self._streams.leases.renew(name, holder.consumer, self._lease_ms)
        status = self._describe_self()
        self._streams.heartbeats.beat(self._owner, status, max(3 * self._lease_ms // 4, 3000) + 2000)
        return bool(status.workers)

    def _release_dead_workers(self) -> None:
        while self._unreleased:
            dead = self._unreleased[0]
            for name in dead.queues:
                suspects = dead.suspects[1] if dead.reason and dead.suspects and dead.suspects[0] == name else ()
                count = self._streams.leases.requeue(name, dead.consumer, dead.reason, suspects)
                self._streams.leases.remove_consumer(name, dead.consumer)
                if count:
                    cause = "died" if dead.reason else "stopped"
                    self._metrics.requeued.labels(name, cause).inc(count)
                    log.info("entries_requeued", queue=name, consumer=dead.consumer, count=count, reason=dead.reason)
            self._unreleased.pop(0)
