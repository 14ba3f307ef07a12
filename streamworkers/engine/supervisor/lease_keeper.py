"""Renews the leases of this supervisor's workers, and requeues what its dead workers held.

Renewal is the supervisor's work, never user code's: TA-Lib and NumPy hold the interpreter lock, and a heartbeat in the
same process would starve when it matters most. It happens at a quarter of the lease, so that three may be missed.

Redis measures all of this with its clock. When that jumps forward, leases that look expired are renewed nevertheless;
when it is set back, what would last or wait longer by as much is corrected.
"""

import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from streamworkers.engine.host.loop import Loop
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.redis.clock import ClockWatch
from streamworkers.engine.redis.heartbeats import SupervisorStatus
from streamworkers.engine.redis.lanes import queue_of
from streamworkers.engine.redis.places import HeldPlace
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.supervisor.place_keeper import PlaceHolder, PlaceKeeper
from streamworkers.errors import RedisUnavailableError
from streamworkers.logger import get_logger

log = get_logger()
_STARTING_SECONDS = 0.5
_LONGEST_RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Holder:
    """A consumer that holds entries, and its queues."""

    consumer: str
    queues: Sequence[str]


@dataclass(frozen=True, slots=True)
class DeadWorker:
    """A consumer that has ended, and why; the reason is '' for one that stopped in order.

    `suspects` are the queue and the entries that its handler was executing. They are charged unless the worker died for
    a reason outside of it. `places` are those of limits that it may have held.
    """

    consumer: str
    queues: Sequence[str]
    reason: str
    suspects: tuple[str, Sequence[str]] | None = None
    places: Sequence[HeldPlace] = ()
    is_charged: bool = True


class LeaseKeeper(Loop):
    """The thread that talks to Redis on behalf of this supervisor's workers.

    `clock` watches Redis' clock; `queues` are those whose delays and leases follow it. `place_keeper` has those
    of limits.
    """

    def __init__(
        self,
        streams: Streams,
        owner: str,
        lease_ms: int,
        holders: Callable[[], Sequence[Holder]],
        describe_self: Callable[[], SupervisorStatus],
        metrics: PoolMetrics,
        queues: Sequence[str] = (),
        place_keeper: PlaceKeeper | None = None,
        place_holders: Callable[[], Sequence[PlaceHolder]] = tuple,
    ) -> None:
        super().__init__("lease-keeper")
        self.clock = ClockWatch(streams.inspector.read_clock_ms, lease_ms / 8)
        self._queues = queues
        self._jump_ms = 0
        self._ttl_ms = max(3 * lease_ms // 4, 3000) + 2000
        self._trouble_at = float("-inf")
        self._streams = streams
        self._owner = owner
        self._lease_ms = lease_ms
        self._holders = holders
        self._describe_self = describe_self
        self._metrics = metrics
        self._dead_workers: queue.SimpleQueue[DeadWorker | None] = queue.SimpleQueue()
        self._unreleased: list[DeadWorker] = []
        self._place_keeper, self._place_holders = place_keeper, place_holders
        self._ended = self._released = 0
        self._interval = lease_ms / 4000
        self._beat_at = 0.0
        self._is_stopping = False

    def release(self, dead: DeadWorker) -> None:
        """Requeue what an ended worker held, now, or as soon as Redis answers."""
        self._ended += 1
        self._dead_workers.put(dead)

    def has_released(self) -> bool:
        """True if nothing that an ended worker held is left to be requeued."""
        return self._ended == self._released

    def was_away(self) -> bool:
        """True if Redis took no heartbeat at some time in the last two leases, or its clock has jumped."""
        return time.monotonic() - self._trouble_at < 2 * self._lease_ms / 1000

    def stop(self) -> None:
        """Requeue what is left, remove the heartbeat, and end; join it with a timeout, as Redis may be away."""
        self._dead_workers.put(None)

    def turn(self) -> None:
        """Beat at a quarter of the lease, requeue for dead workers, and wait for the next of either."""
        now, is_due = time.monotonic(), False
        try:
            if now >= self._beat_at and not self._is_stopping:
                is_due = True
                self._beat_at = now + self._interval  # also after a heartbeat that fails
                if not self._beat():
                    # The first workers are still starting: the next heartbeat shows them soon.
                    self._beat_at = now + min(self._interval, _STARTING_SECONDS)
            self._release_dead_workers()
            if is_due:
                self.succeeded()
            if self._is_stopping:
                self._streams.heartbeats.end(self._owner)
                super().stop()
                return
        except RedisUnavailableError as error:
            self.failed(error)
            self._trouble_at = time.monotonic()
            self._beat_at = min(self._beat_at, now + _LONGEST_RETRY_SECONDS)
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
        if jump_ms := round(self.clock.look()):
            self._trouble_at = time.monotonic()
            self._jump_ms += jump_ms
            log.warning("clock_jumped", seconds=jump_ms / 1000)
        for holder in self._holders():
            for name in holder.queues:
                self._streams.leases.renew(name, holder.consumer, self._lease_ms + max(0, self._jump_ms))
        if self._place_keeper is not None:
            self._place_keeper.keep(self._place_holders())
        if self._jump_ms < 0:
            self._correct(-self._jump_ms)
        self._jump_ms = 0  # only now: what failed is done at the next heartbeat
        status = replace(self._describe_self(), written_ms=self.clock.latest_ms(0) or 0)
        self._streams.heartbeats.beat(self._owner, status, self._ttl_ms)
        return bool(status.workers)

    def _correct(self, ms: int) -> None:
        """Correct what is in Redis after its clock was set back; one supervisor of each queue does it."""
        for name in self._queues:
            if self._streams.leases.hold_service_lease(f"clock:{name}", self._owner, 4 * self._lease_ms):
                self._streams.queues.hasten_delayed(name, ms)
                self._streams.leases.restart_all(name)
        self._streams.heartbeats.shorten(self._ttl_ms)

    def _release_dead_workers(self) -> None:
        while self._unreleased:
            dead = self._unreleased[0]
            for name in dead.queues:
                suspects = dead.suspects[1] if dead.reason and dead.suspects and dead.suspects[0] == name else ()
                count = self._streams.leases.requeue(name, dead.consumer, dead.reason, suspects, charge=dead.is_charged)
                self._streams.leases.remove_consumer(name, dead.consumer)
                if count:
                    cause = "died" if dead.reason else "stopped"
                    self._metrics.requeued.labels(queue_of(name), cause).inc(count)
                    log.info("entries_requeued", queue=name, consumer=dead.consumer, count=count, reason=dead.reason)
            if dead.places and self._place_keeper is not None:
                self._place_keeper.free(dead.consumer, dead.places)
            self._unreleased.pop(0)
            self._released += 1
