"""The scheduler process: ticks in the main thread, listeners and background services beside it."""

import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

import psycopg
import structlog
from psycopg_pool import ConnectionPool, PoolTimeout

from scheduler.calendars import SessionFiller
from scheduler.listener import ChannelListener, StreamListener
from scheduler.messages_to_runs import Intake
from scheduler.metrics import ScheduleCollector, SchedulerMetrics
from scheduler.pool_watch import PoolWatch
from scheduler.status import StatusFollower
from scheduler.system_metrics import SystemCollector
from scheduler.ticker import Ticker
from streamworkers.config import Settings
from streamworkers.database import Connection, connect, open_pool
from streamworkers.engine.host.http import HealthServer
from streamworkers.engine.host.metrics import BacklogCollector, DatabasePoolCollector
from streamworkers.engine.ledger.runs import SCHEDULES_NOTIFY
from streamworkers.engine.redis.inbox import Messages
from streamworkers.engine.redis.queue import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.loop import ServiceLoop
from streamworkers.engine.services.outbox_relay import OutboxRelay
from streamworkers.engine.worker.executor import describe
from streamworkers.errors import RedisUnavailableError, ServiceUnreachableError
from streamworkers.jobs.health import Finding, save_findings
from streamworkers.market.universes.cache import UniverseCache

log = structlog.get_logger()
LIVE_SECONDS = 60.0
_AWAY_SECONDS = 1.0
_GOODBYE_SECONDS = 5.0
_REDIS_FINDING_SECONDS = 300.0


class _Thread(Protocol):
    """What the threads of a scheduler have in common."""

    turned_at: float

    @property
    def name(self) -> str: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def join(self, timeout: float) -> None: ...


@dataclass(frozen=True, slots=True)
class SchedulerOptions:
    """What `streamworkers scheduler` was asked for."""

    metrics_host: str
    metrics_port: int | None


class Scheduler:
    """Any number of replicas may run, and stop, at any time."""

    def __init__(
        self, settings: Settings, redis_url: str, database_url: str, registry: Registry, options: SchedulerOptions
    ) -> None:
        self.scheduler_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.metrics = SchedulerMetrics()
        self.metrics.service_failures.labels("ticker")
        self._settings = settings
        self._database_url = database_url
        self._registry = registry
        self._stopping = False
        self._turned_at = time.monotonic()
        self._redis_told_at = float("-inf")
        self._streams = Streams(redis_url, settings.key_prefix)
        self._messages = Messages(redis_url, settings.key_prefix)
        self._pool: ConnectionPool[Connection] = open_pool(database_url, application=self.scheduler_id, max_size=6)
        self.universes = UniverseCache(lambda: connect(database_url, application=self.scheduler_id))
        self.ticker = Ticker(
            self._pool,
            self._streams,
            registry,
            self._resolve,
            self.metrics,
            on_redis_away=self._note_redis_away,
        )
        self.intake = Intake(
            self._pool,
            self._streams,
            self._messages,
            registry,
            self._resolve,
            self.metrics,
            settings.status_ttl_seconds,
        )
        self.follower = StatusFollower(self._pool, self._messages, settings.status_ttl_seconds)
        self._channel_listener = ChannelListener(self._messages, self.intake)
        self._stream_listener = StreamListener(self._messages, self.intake, self.scheduler_id)
        # Events of rejected ticks must go out also where no worker runs.
        relay = OutboxRelay(self._pool, self._streams, self.metrics)
        self._services = [
            ServiceLoop(service, self._streams, self.scheduler_id, self.metrics)
            for service in (self.follower, PoolWatch(self._pool, self._streams), relay, SessionFiller(self._pool))
        ]
        self.metrics.registry.register(ScheduleCollector(self._pool))
        self.metrics.registry.register(SystemCollector(self._pool, self._streams))
        self.metrics.registry.register(DatabasePoolCollector(self._pool))
        self.metrics.registry.register(BacklogCollector(self._streams, registry.queues))
        self._health = (
            HealthServer(
                options.metrics_host, options.metrics_port, self.metrics.registry, self.not_live, self.not_ready
            )
            if options.metrics_port is not None
            else None
        )

    def run(self) -> None:
        """Work until SIGTERM or SIGINT; a second signal ends it at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        threads: list[_Thread] = [*self._listeners(), *self._services]
        for thread in threads:
            thread.start()
        if self._health:
            self._health.start()
        log.info(
            "scheduler_started", scheduler=self.scheduler_id, metrics_port=self._health.port if self._health else None
        )
        while not self._stopping:
            self._tick()
        for thread in threads:
            thread.stop()
        deadline = time.monotonic() + _GOODBYE_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._health:
            self._health.stop()
        self.close()
        log.info("scheduler_stopped", scheduler=self.scheduler_id)

    def run_once(self) -> int:
        """Do what is due now and return, for places where a cron of the system calls; the number of messages read.

        Raises what the services raise when they are away.
        """
        while self.ticker.run_once() == 0.0:
            continue
        count = self._stream_listener.read_once()
        for service in self._services:
            while service.service.run_once() == 0.0:
                continue
        return count

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()
        self._messages.close()
        self._streams.close()

    def not_live(self) -> list[str]:
        """Loops that have not turned for a minute beyond their pause."""
        now = time.monotonic()
        turned = [("ticker", self._turned_at, 0.0)]
        turned += [(thread.name, thread.turned_at, 0.0) for thread in self._listeners()]
        turned += [(loop.name, loop.turned_at, loop.longest_pause_seconds) for loop in self._services]
        return [
            f"{name} has not turned for {now - at:.0f} s"
            for name, at, pause in turned
            if now - at > LIVE_SECONDS + pause
        ]

    def not_ready(self) -> list[str]:
        """What keeps runs from being started now."""
        wrong = []
        try:
            self._streams.ping()
        except RedisUnavailableError as error:
            wrong.append(str(error))
        try:
            connect(self._database_url, application=self.scheduler_id, writable=True).close()
        except ServiceUnreachableError as error:
            wrong.append(str(error))
        return wrong

    def _listeners(self) -> list[_Thread]:
        return [self.universes, self._channel_listener, self._stream_listener]

    def _tick(self) -> None:
        """Decide, and again at each change and each due tick, until something goes away or it shall stop."""
        try:
            with self._listening() as connection:
                while not self._stopping:
                    self._turned_at = time.monotonic()
                    pause = min(self.ticker.run_once(), self._settings.scheduler_poll_seconds)
                    if pause > 0:
                        for _ in connection.notifies(timeout=pause, stop_after=1):
                            break
        except (psycopg.Error, PoolTimeout, ServiceUnreachableError) as error:
            self.metrics.service_failures.labels("ticker").inc()
            log.warning("ticker_away", error=describe(error))
            self._wait(_AWAY_SECONDS)
        except Exception as error:  # ticks never stop silently: it says what is wrong and goes on
            self.metrics.service_failures.labels("ticker").inc()
            log.exception("ticker_failed", error=describe(error))
            self._wait(_AWAY_SECONDS)

    @contextmanager
    def _listening(self) -> Iterator[Connection]:
        with ExitStack() as stack:
            connection = stack.enter_context(connect(self._database_url, application=self.scheduler_id))
            connection.execute(f"LISTEN {SCHEDULES_NOTIFY}")
            yield connection

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stopping and (left := deadline - time.monotonic()) > 0:
            self._turned_at = time.monotonic()
            time.sleep(min(0.1, left))

    def _resolve(self, connection: Connection, expression: str) -> tuple[str, ...]:
        return self.universes.resolve_with(connection, expression)

    def _note_redis_away(self, error: RedisUnavailableError) -> None:
        """Into the health history what no worker can be told to find out; at most every five minutes."""
        if time.monotonic() - self._redis_told_at < _REDIS_FINDING_SECONDS:
            return
        self._redis_told_at = time.monotonic()
        finding = Finding("redis", "critical", str(error), {"found_by": "scheduler"})
        with self._pool.connection() as connection:
            save_findings(connection, [finding], None)

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        if self._stopping:
            os._exit(1)
        self._stopping = True
