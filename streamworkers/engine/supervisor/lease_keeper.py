"""Renews the leases of this supervisor's workers, and requeues what its dead workers held.

Renewal is the supervisor's work, never user code's: TA-Lib and NumPy hold the interpreter lock, and a heartbeat in the
same process would starve when it matters most. It happens at a quarter of the lease, so that three may be missed.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.redis.heartbeats import SupervisorStatus
from streamworkers.engine.redis.streams import Streams
from streamworkers.errors import RedisUnavailableError
from streamworkers.faults import describe

log = structlog.get_logger()


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


class LeaseKeeper(threading.Thread):
    """The thread that talks to Redis for this supervisor's workers.

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
        super().__init__(name="lease-keeper", daemon=True)
        self.turned_at = time.monotonic()
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

    def release(self, dead: DeadWorker) -> None:
        """Requeue what an ended worker held, now, or as soon as Redis answers."""
        self._dead_workers.put(dead)

    def was_away(self) -> bool:
        """True if Redis took no heartbeat at some time in the last two leases."""
        return time.monotonic() - self._trouble_at < 2 * self._lease_ms / 1000

    def stop(self, seconds: float) -> None:
        """Requeue what is left, delete the heartbeat, and end; gives up after `seconds` while Redis is away."""
        self._dead_workers.put(None)
        self.join(seconds)

    def run(self) -> None:
        """Wake up for a dead worker, or at a quarter of the lease."""
        interval = self._lease_ms / 4000
        beat_at = 0.0
        stopping = False
        while True:
            self.turned_at = now = time.monotonic()
            try:
                if now >= beat_at and not stopping:
                    beat_at = now + interval
                    self._beat()
                    self.trouble = ""
                self._release_dead_workers()
                if stopping:
                    self._streams.heartbeats.end(self._owner)
                    return
            except RedisUnavailableError as error:
                self.trouble, self._trouble_at = str(error), time.monotonic()
                log.warning("service_away", thread=self.name, error=describe(error))
            try:
                wait = 0.5 if self._unreleased else 10.0
                wait = min(wait, interval, max(0.0, beat_at - time.monotonic()))
                dead = self._dead_workers.get(timeout=wait)
            except queue.Empty:
                continue
            if dead is None:
                stopping = True
            else:
                self._unreleased.append(dead)

    def _beat(self) -> None:
        for holder in self._holders():
            for name in holder.queues:
                self._streams.leases.renew(name, holder.consumer, self._lease_ms)
        self._streams.heartbeats.beat(self._owner, self._describe_self(), max(3 * self._lease_ms // 4, 3000) + 2000)

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
