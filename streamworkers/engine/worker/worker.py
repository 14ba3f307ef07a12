"""A worker: reads entries, executes them, and reads again. Its supervisor watches it from outside."""

import os
import random
import time
import warnings
from collections.abc import Mapping, Sequence
from types import FrameType

from psycopg_pool import ConnectionPool

from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.backoff import Backoff
from streamworkers.engine.host.fault_board import FaultBoard
from streamworkers.engine.protocol import StatusPipe
from streamworkers.engine.redis.lanes import ReadingOrder, queue_of
from streamworkers.engine.redis.queue import Delivery
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.worker.batch_size import BatchSizer
from streamworkers.engine.worker.call_hooks import CallHooks
from streamworkers.engine.worker.children import ChildEnder
from streamworkers.engine.worker.commit import BatchCommitter
from streamworkers.engine.worker.executor import Executor
from streamworkers.engine.worker.hook_runner import HookRunner
from streamworkers.engine.worker.pause_watch import PauseWatch
from streamworkers.errors import RedisUnavailableError
from streamworkers.faults import find_fault
from streamworkers.hooks import HookClass
from streamworkers.logger import get_logger

log = get_logger()
READ_BLOCK_MS = 5000


class _StopReading(BaseException):  # not an error
    """Raised out of a blocking read by the stop signal; what the reply held is requeued by the supervisor."""


class StopFlag:
    """An event that a signal handler can set at any moment; it could interrupt threading.Event in its lock."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Ask the worker to stop."""
        self._set = True

    def is_set(self) -> bool:
        """True once the stop was asked for."""
        return self._set

    def wait(self, seconds: float) -> bool:
        """Pause until the stop at most; True if it was asked for."""
        deadline = time.monotonic() + seconds
        while not self._set and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))
        return self._set


class Worker:
    """The loop of one consumer over the lanes of its queues."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        streams: Streams,
        queues: Sequence[str],
        consumer: str,
        pipe: StatusPipe,
        hooks: Mapping[str, HookClass],
    ) -> None:
        self._streams = streams
        self._queues = list(queues)
        first = {name for lane in queues for name in registry.first_queues.get(queue_of(lane), ())}
        self._order = ReadingOrder(queues, first)
        self._gathering = {lane for lane in queues if registry.gathers(queue_of(lane))}
        self._consumer = consumer
        self._pipe = pipe
        self._stop = StopFlag()
        self._reading = False
        self._were_empty = False
        self._backoff = Backoff(self._stop)
        self._faults = FaultBoard()
        self._is_holding = False
        self._pauses = PauseWatch()
        self._lease_seconds = settings.lease_seconds
        self._requeue_at = 0.0
        self._sizers = {
            lane: BatchSizer(
                registry.target_batch_seconds(queue_of(lane), settings.target_batch_seconds),
                registry.largest_batch(queue_of(lane)),
            )
            for lane in queues
        }
        self._children = ChildEnder(give_up=self._stop.set)
        ending_children = self._children.ending_children
        self._hooks = HookRunner(hooks, pipe, settings.hook_seconds, self._children.ending_children_of_hooks)
        call_hooks, hold = CallHooks(self._hooks, consumer), self._hold_unless_stopping
        committer = BatchCommitter(streams, consumer, pipe, hold, ending_children, hooks=call_hooks)
        self._executor = Executor(settings, registry, committer, random.Random())  # noqa: S311  # jitter only

    def request_stop(self, _signal: int, _frame: FrameType | None) -> None:
        """Signal handler: finish the current batch and end; if waiting for entries, end now."""
        self._stop.set()
        if self._reading:
            raise _StopReading

    def run(self, pool: "ConnectionPool[Connection]") -> None:
        """Read and execute until asked to stop."""
        self._hooks.open()
        self._pipe.ready()
        try:
            while not self._stop.is_set():
                deliveries = self._read()
                if deliveries:
                    self._pipe.batch(len(deliveries))
                    self._execute(pool, deliveries)
                self._pipe.idle()
        except _StopReading:
            # It may have come while a connection was being opened, which nobody closes now.
            warnings.simplefilter("ignore", ResourceWarning)
        self._hooks.close()
        if self._children.remain:
            # Handlers for the end of the process would wait for them.
            os._exit(0)

    def _read(self) -> list[Delivery]:
        lanes = self._order.next()
        count = {lane: self._sizers[lane].count for lane in lanes}
        self._reading = True
        try:
            if self._stop.is_set():
                return []
            if time.monotonic() >= self._requeue_at:
                self._requeue_lost_replies()
            deliveries = self._streams.queues.read(
                lanes, self._consumer, count, READ_BLOCK_MS, were_empty=self._were_empty
            )
            self._were_empty = not deliveries
            if self._gathering and any(delivery.queue in self._gathering for delivery in deliveries):
                deliveries = self._streams.queues.gather(self._consumer, deliveries)
        except RedisUnavailableError as error:
            self._reading = False
            self._requeue_at = 0.0
            for sizer in self._sizers.values():
                sizer.forget()
            self._hold(error)
            return []
        finally:
            self._reading = False
        self._resume()
        return deliveries

    def _requeue_lost_replies(self) -> None:
        """Requeue what Redis counts as ours between batches: it was in a reply that never arrived.

        This happens at once after a failed read, and once in a lease, because Redis may still execute a request that
        was given up.
        """
        for queue in self._streams.queues.list_filled(self._queues):
            if count := self._streams.leases.requeue(queue, self._consumer):
                log.warning("entries_requeued", queue=queue, consumer=self._consumer, count=count)
        self._requeue_at = time.monotonic() + self._lease_seconds

    def _execute(self, pool: "ConnectionPool[Connection]", deliveries: Sequence[Delivery]) -> None:
        started, has_held = time.monotonic(), False
        while True:
            try:
                if has_held:
                    # Both services answer before anything is executed again: an outage repeats no call.
                    self._streams.probe_write()
                with pool.connection() as connection:
                    self._execute_unpaused(connection, deliveries)
            except Exception as error:
                if find_fault(error) is None:
                    raise
                self._hold(error)
                has_held = True
                if self._stop.is_set():
                    return
            else:
                self._resume()
                self._sizers[deliveries[0].queue].measured(len(deliveries), time.monotonic() - started)
                return

    def _execute_unpaused(self, connection: Connection, deliveries: Sequence[Delivery]) -> None:
        """Execute deliveries as long as none of their queues is paused, and requeue what has not begun then."""
        queues = {queue_of(delivery.queue) for delivery in deliveries}
        paused = self._pauses.find(connection, queues)

        def should_stop() -> bool:
            paused.update(self._pauses.find(connection, queues))
            return self._stop.is_set() or bool(paused)

        if not paused:
            self._executor.execute(connection, deliveries, should_stop)
        for queue in paused:
            self._streams.queues.note_paused(queue)
        for lane in {delivery.queue for delivery in deliveries} if paused else ():
            count = self._streams.leases.requeue(lane, self._consumer)
            log.info("queue_paused", queue=lane, consumer=self._consumer, requeued=count)

    def _hold(self, error: Exception) -> None:
        """Wait before the next try, and say for what."""
        fault = find_fault(error)
        assert fault is not None
        self._is_holding = True
        self._faults.record(self._consumer, fault)
        self._pipe.holding(fault, self._executor.undecided.report())
        self._backoff.failed()

    def _resume(self) -> None:
        """Note that what this worker tried has succeeded."""
        self._backoff.succeeded()
        if self._is_holding:
            self._is_holding = False
            self._faults.clear(self._consumer)
            self._pipe.resumed()

    def _hold_unless_stopping(self, error: Exception) -> None:
        self._hold(error)
        if self._stop.is_set():
            raise error
