"""The API process: any number of them may run."""

import os
from dataclasses import dataclass
from functools import partial
from typing import Any

from psycopg_pool import ConnectionPool

from streamworkers.api.call import ApiService
from streamworkers.api.diagnosing import Diagnoser
from streamworkers.api.event_feed import EventFeed, follow_notifications
from streamworkers.api.gateway import Gateway
from streamworkers.api.limits import open_limits
from streamworkers.api.metrics import ApiMetrics
from streamworkers.api.probes import Probes
from streamworkers.api.routes.table import OPERATIONS
from streamworkers.api.server import ApiServer
from streamworkers.api.working import RequestWorker
from streamworkers.config import Settings
from streamworkers.database import Connection, SessionLimits, connect, open_pool
from streamworkers.engine.host.fault_board import list_troubles
from streamworkers.engine.host.fault_metrics import STOPPED, FaultCollector
from streamworkers.engine.host.heartbeat import ProcessHeartbeat
from streamworkers.engine.host.host import Host, stop_loops
from streamworkers.engine.host.loop import ConnectionLoop, Loop
from streamworkers.engine.host.metrics import DatabasePoolCollector
from streamworkers.engine.host.readiness import find_postgres_trouble, find_redis_trouble
from streamworkers.engine.redis.streams import open_streams
from streamworkers.faults import describe
from streamworkers.logger import get_logger

log = get_logger()


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """The options of `streamworkers api`."""

    host: str
    port: int
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None


class _Watching(Loop):
    """The main thread's loop: it waits for a signal."""

    def turn(self) -> None:
        """Wait for a second, or for a signal."""
        self.succeeded()
        self._stop_requested.wait(1.0)


class ListeningLoop(ConnectionLoop):
    """Waits for notifications, which nothing depends on: without them events are found by looking, within a second."""

    _is_lost = False

    def succeeded(self) -> None:
        """Note that it listens, or listens again."""
        super().succeeded()
        self._is_lost = False

    def failed(self, error: Exception) -> None:
        """Log it once; it is no fault that keeps the process from its work."""
        if not self._is_lost:
            log.warning("notifications_lost", error=describe(error))
        self._is_lost = True


class ApiProcess:
    """Answers requests until SIGTERM or SIGINT."""

    def __init__(self, settings: Settings, redis_url: str, database_url: str, options: ApiOptions) -> None:
        self.host = Host("api", on_second_signal=lambda: os._exit(1), failing_seconds=settings.failing_seconds)
        self.metrics = ApiMetrics()
        self._database_url = database_url
        self._streams = open_streams(redis_url, settings.key_prefix, settings.message_prefix)
        self._limits = open_limits(redis_url, settings.key_prefix)
        limits = self._session_limits = SessionLimits(
            settings.api_statement_seconds, lock=1.0, idle_in_transaction=10.0
        )
        self._pool: ConnectionPool[Connection] = open_pool(
            database_url, application=self.host.id, max_size=settings.api_connections, limits=limits
        )
        self._beats: ConnectionPool[Connection] = open_pool(
            database_url, application=self.host.id, max_size=1, limits=SessionLimits.of(settings)
        )
        worker = RequestWorker(self._pool, ApiService(settings, self._streams, Diagnoser()), self._limits)
        self._probes = Probes(self.not_ready, settings.api_ready_seconds)
        self._feed = EventFeed(self._connect, settings.api_streams, notifies=settings.listen_url is not None)
        self._gateway = Gateway(settings, worker, self._probes, self._feed, self.metrics)
        self._server = ApiServer(options.host, options.port, self._gateway)
        self._main = self.host.add(_Watching("main", self.host.signals))
        self.host.add(ProcessHeartbeat(self._beats, "api", self.host.id, self._describe_doing))
        self._event_loops = [self.host.add(loop) for loop in self._make_event_loops(settings)]
        self.metrics.set_most_at_once(settings.api_connections)
        self._register_metrics()
        self.host.serve(options.metrics_host, options.metrics_port, self.metrics.registry, self.not_ready)

    def _connect(self) -> Connection:
        return connect(self._database_url, application=self.host.id, limits=self._session_limits)

    def _make_event_loops(self, settings: Settings) -> list[Loop]:
        loops: list[Loop] = [ConnectionLoop("event-feed", self._feed.work)]
        if settings.listen_url is not None:
            url = settings.listen_url.get_secret_value()
            listen = partial(connect, url, application=self.host.id, limits=self._session_limits)
            loops.append(ListeningLoop("event-notices", partial(follow_notifications, listen, self._feed.wake)))
        return loops

    def _register_metrics(self) -> None:
        self.metrics.begin_at_zero([(operation.method, operation.route) for operation in OPERATIONS])
        self.metrics.watch_followers(lambda: len(self._feed))
        self.metrics.registry.register(DatabasePoolCollector(self._pool))
        self.metrics.registry.register(FaultCollector(STOPPED, self.host.faults.standing))
        self.metrics.registry.register(self.host.collect_failing())

    @property
    def port(self) -> int:
        """The port on which requests are answered."""
        return self._server.port

    def start(self) -> None:
        """Start to answer requests, in threads."""
        for loop in self._event_loops:
            if not loop.is_alive():
                loop.start()
        self._server.start()
        log.info("api_listens", port=self.port)

    def run(self) -> None:
        """Work until SIGTERM or SIGINT."""
        self.host.start(self._main)
        self.start()
        self._main.run()
        stop_loops([loop for loop in self.host.loops if loop is not self._main])
        self.close()
        self.host.finish()

    def close(self) -> None:
        """ApiAnswer what is in progress, and close all connections; once is enough."""
        self._feed.close()
        stop_loops([loop for loop in self._event_loops if loop.is_alive()])
        self._server.stop()
        self._gateway.close()
        self._probes.close()
        self.host.stop_serving()
        self._pool.close()
        self._beats.close()
        self._streams.close()
        self._limits.close()

    def not_ready(self) -> list[str]:
        """What keeps requests from being answered now."""
        probed = find_redis_trouble(self._streams), find_postgres_trouble(self._database_url, self.host.id)
        return list_troubles(probed, self.host.faults.standing()) + self.host.failures.list_troubles()

    def _describe_doing(self) -> dict[str, Any]:
        return {"services": ["api"], "port": self.port, **self.host.describe_troubles()}
