"""A worker: one process that reads entries, executes them, and reads again. Its supervisor watches it from outside.

Run as `python -m streamworkers.engine.worker.main`; only the supervisor starts it.
"""

import argparse
import ctypes
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

import structlog
from psycopg_pool import ConnectionPool

from streamworkers.config import Settings, load_settings
from streamworkers.database import Connection, open_pool
from streamworkers.engine.backoff import Backoff
from streamworkers.engine.protocol import StatusPipe
from streamworkers.engine.redis.queue import Delivery
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry, installed_jobs
from streamworkers.engine.worker.batch_size import BatchSizer
from streamworkers.engine.worker.commit import BatchCommitter
from streamworkers.engine.worker.executor import Executor, describe, must_wait
from streamworkers.errors import RedisUnavailableError, UsageError
from streamworkers.logs import configure_logs

log = structlog.get_logger()
READ_BLOCK_MS = 5000
_PR_SET_PDEATHSIG = 1


class _StopReading(BaseException):  # not an error
    """Raised out of a blocking read by the stop signal; whatever the reply held is handed back by the supervisor."""


class StopFlag:
    """An event that a signal handler may set at any moment; threading.Event holds a lock that it may interrupt."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Ask for the stop."""
        self._set = True

    def is_set(self) -> bool:
        """True once it was asked for."""
        return self._set

    def wait(self, seconds: float) -> bool:
        """Pause, but not beyond the stop; True when it was asked for."""
        deadline = time.monotonic() + seconds
        while not self._set and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))
        return self._set


class Worker:
    """The loop of one consumer over its queues."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        streams: Streams,
        queues: Sequence[str],
        consumer: str,
        pipe: StatusPipe,
    ) -> None:
        self._streams = streams
        self._queues = list(queues)
        self._consumer = consumer
        self._pipe = pipe
        self._stop = StopFlag()
        self._reading = False
        self._backoff = Backoff(self._stop)
        self._lease_seconds = settings.lease_seconds
        self._requeue_at = 0.0
        self._sizers = {
            queue: BatchSizer(
                registry.target_batch_seconds(queue, settings.target_batch_seconds), registry.largest_batch(queue)
            )
            for queue in queues
        }
        committer = BatchCommitter(streams, consumer, pipe, self._hold_unless_stopping)
        self._executor = Executor(settings, registry, committer, random.Random())  # noqa: S311  # jitter only

    def request_stop(self, _signal: int, _frame: FrameType | None) -> None:
        """Signal handler: finish the batch in hand and end; when waiting for entries, end now."""
        self._stop.set()
        if self._reading:
            raise _StopReading

    def run(self, pool: "ConnectionPool[Connection]") -> None:
        """Read and execute until asked to stop."""
        self._pipe.ready()
        try:
            while not self._stop.is_set():
                deliveries = self._read()
                if deliveries:
                    self._pipe.batch(len(deliveries))
                    self._execute(pool, deliveries)
                    self._pipe.idle()
        except _StopReading:
            pass

    def _read(self) -> list[Delivery]:
        # Queues take turns at being looked at first, so that a busy one cannot starve the others.
        self._queues.append(self._queues.pop(0))
        count = {queue: self._sizers[queue].count for queue in self._queues}
        self._reading = True
        try:
            if self._stop.is_set():
                return []
            if time.monotonic() >= self._requeue_at:
                self._requeue_lost_replies()
            deliveries = self._streams.queues.read(self._queues, self._consumer, count, READ_BLOCK_MS)
        except RedisUnavailableError as error:
            self._reading = False
            self._requeue_at = 0.0
            self._hold(error)
            return []
        finally:
            self._reading = False
        self._backoff.succeeded()
        return deliveries

    def _requeue_lost_replies(self) -> None:
        """Between batches nothing is in hand: what Redis counts as ours was in a reply that never arrived.

        At once after a failed read, and once in a lease, because a request that was on its way when we gave it up may
        be carried out later than that.
        """
        for queue in self._queues:
            if count := self._streams.leases.requeue(queue, self._consumer):
                log.warning("entries_requeued", queue=queue, consumer=self._consumer, count=count)
        self._requeue_at = time.monotonic() + self._lease_seconds

    def _execute(self, pool: "ConnectionPool[Connection]", deliveries: Sequence[Delivery]) -> None:
        started = time.monotonic()
        while True:
            try:
                with pool.connection() as connection:
                    self._executor.execute(connection, deliveries, self._stop.is_set)
            except Exception as error:
                if not must_wait(error):
                    raise
                self._hold(error)
                if self._stop.is_set():
                    return
            else:
                self._backoff.succeeded()
                self._sizers[deliveries[0].queue].measured(len(deliveries), time.monotonic() - started)
                return

    def _hold(self, error: Exception) -> None:
        log.warning("service_away", consumer=self._consumer, error=describe(error))
        self._pipe.holding()
        self._backoff.failed()

    def _hold_unless_stopping(self, error: Exception) -> None:
        self._hold(error)
        if self._stop.is_set():
            raise error


def main() -> None:
    """Entry of the process: connect, load the jobs, work, and end with the supervisor."""
    parser = argparse.ArgumentParser(prog="streamworkers.engine.worker.main")
    parser.add_argument("--consumer", required=True)
    parser.add_argument("--queues", required=True)
    parser.add_argument("--status-fd", type=int, required=True)
    parser.add_argument("--life-fd", type=int, required=True)
    words = parser.parse_args()
    for descriptor in (words.status_fd, words.life_fd):
        # A process that a handler starts must not keep the pipes open after our death.
        os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _let_the_kernel_end_us()
    threading.Thread(target=_die_with_supervisor, args=(words.life_fd,), name="life", daemon=True).start()
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    if settings.redis_url is None or settings.database_url is None:
        raise UsageError(
            "a worker needs STREAMWORKERS_REDIS_URL and STREAMWORKERS_DATABASE_URL, which its supervisor sets"
        )
    streams = Streams(settings.redis_url.get_secret_value(), settings.key_prefix)
    worker = Worker(
        settings,
        installed_jobs(),
        streams,
        words.queues.split(","),
        words.consumer,
        StatusPipe(words.status_fd),
    )
    signal.signal(signal.SIGTERM, worker.request_stop)
    with open_pool(
        settings.database_url.get_secret_value(),
        application=words.consumer,
        max_size=2,
        statement_timeout_seconds=settings.statement_timeout_seconds,
    ) as pool:
        worker.run(pool)
    streams.close()


def _let_the_kernel_end_us() -> None:
    """On Linux the kernel ends us with our supervisor, also while a handler holds the interpreter.

    The thread that waits for the pipe does the same everywhere else, and for a supervisor that died before this.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _die_with_supervisor(descriptor: int) -> None:
    """Wait for the supervisor's death, which closes the pipe, and end at once: nobody renews our leases now."""
    while os.read(descriptor, 1):
        pass
    os._exit(70)


if __name__ == "__main__":
    main()
