"""A supervisor: owns worker processes and the background services, runs no user code."""

import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

import psycopg
import structlog
from psycopg_pool import ConnectionPool

from streamworkers.config import Settings
from streamworkers.database import Connection, open_pool
from streamworkers.engine import ledger
from streamworkers.engine.host.http import HealthServer
from streamworkers.engine.host.metrics import BacklogCollector, DatabasePoolCollector, PoolMetrics, WorkerCollector
from streamworkers.engine.host.readiness import find_postgres_trouble, find_redis_trouble
from streamworkers.engine.job import JobCounter
from streamworkers.engine.protocol import BatchReport, PendingCommit
from streamworkers.engine.redis.heartbeats import SupervisorStatus, WorkerStatus
from streamworkers.engine.redis.streams import open_streams
from streamworkers.engine.services.loop import Service, ServiceLoop
from streamworkers.engine.services.loss_check import StallRule
from streamworkers.engine.services.outbox_relay import OutboxRelay
from streamworkers.engine.services.promoter import Promoter
from streamworkers.engine.services.pruner import Pruner
from streamworkers.engine.services.reclaimer import Reclaimer
from streamworkers.engine.services.reconciler import Reconciler
from streamworkers.engine.supervisor.fleet import Fleet, Limits
from streamworkers.engine.supervisor.lease_keeper import LeaseKeeper
from streamworkers.errors import BadInputError
from streamworkers.faults import describe

log = structlog.get_logger()
LIVE_SECONDS = 60.0
_TURN_SECONDS = 1.0
_GOODBYE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class SupervisorOptions:
    """What `streamworkers worker` was asked for.

    `slots` holds the queues of each worker process, `jobs` the jobs of each queue that is known, `counters` those of
    the jobs themselves.
    """

    slots: Sequence[Sequence[str]]
    jobs: Mapping[str, Sequence[str]]
    limits: Limits
    grace_seconds: float
    metrics_host: str
    metrics_port: int | None
    counters: Sequence[JobCounter] = ()


def plan_slots(processes: int, queues: Mapping[str, int | None], known: Sequence[str]) -> list[list[str]]:
    """The queues of each worker process.

    `queues` says how many processes a queue gets to itself, or None when it shares the rest. Processes that are left
    over read the sharing queues, or all known ones when none was named so. Raises BadInputError when the numbers do
    not add up.
    """
    if not 1 <= processes <= 256:
        raise BadInputError(f"{processes} processes is not between 1 and 256")
    slots = [[queue] for queue, count in queues.items() for _ in range(count or 0)]
    shared = [queue for queue, count in queues.items() if count is None]
    rest = processes - len(slots)
    if rest < 0 or (rest == 0 and shared):
        raise BadInputError(f"the queues named ask for more than {processes} processes: {dict(queues)}")
    return slots + [list(shared or known) for _ in range(rest)]


class Supervisor:
    """Runs until SIGTERM or SIGINT; a second signal ends it, and its workers, at once."""

    def __init__(self, settings: Settings, redis_url: str, database_url: str, options: SupervisorOptions) -> None:
        self.supervisor_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.metrics = PoolMetrics(options.counters)
        self._options = options
        self._last_scrape_seconds = settings.last_scrape_seconds
        self._signals = 0
        self._turned_at = time.monotonic()
        self._streams = open_streams(redis_url, settings.key_prefix)
        self._database_url = database_url
        self._pool: ConnectionPool[Connection] = open_pool(
            database_url,
            application=self.supervisor_id,
            max_size=4,
            statement_timeout_seconds=settings.statement_timeout_seconds,
        )
        self._queues = sorted({queue for queues in options.slots for queue in queues})
        self.metrics.registry.register(BacklogCollector(self._streams, self._queues))
        self.metrics.registry.register(DatabasePoolCollector(self._pool))
        self.metrics.registry.register(WorkerCollector(lambda: self._fleet.usages()))
        self.metrics.slots.set(len(options.slots))
        self.metrics.begin_at_zero({queue: options.jobs.get(queue, ()) for queue in self._queues})
        self._leases = LeaseKeeper(
            self._streams,
            self.supervisor_id,
            settings.lease_ms,
            lambda: self._fleet.holders(),
            self._describe,
            self.metrics,
        )
        environment = {
            **os.environ,
            "STREAMWORKERS_REDIS_URL": redis_url,
            "STREAMWORKERS_DATABASE_URL": database_url,
        }
        self._fleet = Fleet(
            options.slots,
            self.supervisor_id,
            environment,
            options.limits,
            self.metrics,
            release=self._leases.release,
            confirm=self._confirm,
            reported=self._on_report,
        )
        self._loops = {
            service.name: ServiceLoop(service, self._streams, self.supervisor_id, self.metrics)
            for service in self._services(settings)
        }
        self._health = (
            HealthServer(
                options.metrics_host,
                options.metrics_port,
                self.metrics.registry,
                self.not_live,
                self.not_ready,
            )
            if options.metrics_port is not None
            else None
        )

    def _services(self, settings: Settings) -> list[Service]:
        streams, queues, metrics = self._streams, self._queues, self.metrics
        return [
            Promoter(streams, queues, metrics),
            Reclaimer(streams, queues, self.supervisor_id, settings.lease_ms, metrics, self._leases.was_away),
            Reconciler(
                self._pool,
                streams,
                queues,
                interval_seconds=settings.reconcile_seconds,
                quiet_seconds=settings.reconcile_seconds,
                metrics=metrics,
                rule=StallRule.of(settings),
            ),
            OutboxRelay(self._pool, streams, metrics),
            Pruner(self._pool, streams, queues, lambda: set(streams.inspector.read_heartbeats())),
        ]

    def run(self) -> None:
        """Work until told to stop; returns after all workers have ended and what they held has been put back."""
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._fleet.watch(read_end)
        for thread in (self._leases, *self._loops.values()):
            thread.start()
        if self._health:
            self._health.start()
        log.info(
            "supervisor_started",
            worker=self.supervisor_id,
            metrics_port=self._health.port if self._health else None,
        )
        while not self._signals:
            self._turn(_TURN_SECONDS)
        self._shut_down()
        signal.set_wakeup_fd(-1)
        log.info("supervisor_stopped", worker=self.supervisor_id)

    def not_live(self) -> list[str]:
        """Loops that have not turned for a minute beyond their pause; the supervisor should be started again."""
        now = time.monotonic()
        turned = [("supervisor", self._turned_at, 0.0), (self._leases.name, self._leases.turned_at, 0.0)]
        turned += [(loop.name, loop.turned_at, loop.longest_pause_seconds) for loop in self._loops.values()]
        return [
            f"{name} has not turned for {now - at:.0f} s"
            for name, at, pause in turned
            if now - at > LIVE_SECONDS + pause
        ]

    def not_ready(self) -> list[str]:
        """What keeps work from being done now."""
        wrong = []
        redis_trouble = find_redis_trouble(self._streams) or self._leases.trouble
        postgres_trouble = find_postgres_trouble(self._database_url, self.supervisor_id)
        wrong += [trouble for trouble in (redis_trouble, postgres_trouble) if trouble]
        if not any(child.ready for child in self._fleet.children()):
            wrong.append("no worker process is ready")
        return wrong

    def _turn(self, longest_seconds: float) -> None:
        self._turned_at = time.monotonic()
        self._fleet.turn(longest_seconds)

    def _shut_down(self) -> None:
        log.info("supervisor_stopping", worker=self.supervisor_id, grace_seconds=self._options.grace_seconds)
        self._fleet.stop()
        deadline = time.monotonic() + self._options.grace_seconds
        while self._fleet.children():
            if self._signals > 1 or time.monotonic() >= deadline:
                self._fleet.kill()
            self._turn(min(_TURN_SECONDS, max(0.05, deadline - time.monotonic())))
        self._show_last_figures()
        for loop in self._loops.values():
            loop.stop()
        deadline = time.monotonic() + _GOODBYE_SECONDS
        for loop in self._loops.values():
            loop.join(max(0.0, deadline - time.monotonic()))
        self._leases.stop(_GOODBYE_SECONDS)
        if self._health:
            self._health.stop()
        self._pool.close()
        self._streams.close()

    def _show_last_figures(self) -> None:
        """Counters end with the process: let Prometheus have the last of them, so that sums over all stay right."""
        since = time.monotonic()
        deadline = since + self._last_scrape_seconds
        while self._health and self._signals < 2 and (left := deadline - time.monotonic()) > 0:
            self._turned_at = time.monotonic()
            if self._health.wait_for_scrape(since, min(_TURN_SECONDS, left)):
                return

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self._signals += 1

    def _on_report(self, report: BatchReport) -> None:
        """Let what a batch left to do be done now, not at the next usual step."""
        if report.events:
            self._loops[OutboxRelay.name].wake()
        if report.retried or report.snoozed:
            self._loops[Promoter.name].wake()

    def _confirm(self, pending_commit: PendingCommit, consumer: str) -> None:
        """Count what a worker had committed when it died before it could tell; the main thread may not wait for it."""
        threading.Thread(
            target=self._count_closed, args=(pending_commit, consumer), name="confirm", daemon=True
        ).start()

    def _count_closed(self, pending_commit: PendingCommit, consumer: str) -> None:
        try:
            with self._pool.connection() as connection:
                closed = ledger.count_closed_by(
                    connection, pending_commit.run_day, pending_commit.run_id, pending_commit.seqs, consumer
                )
        except psycopg.Error as error:
            log.warning("counts_lost", consumer=consumer, items=len(pending_commit.seqs), error=describe(error))
            return
        for outcome, count in closed.items():
            self.metrics.finished.labels(pending_commit.queue, pending_commit.job, outcome).inc(count)

    def _describe(self) -> SupervisorStatus:
        return SupervisorStatus(
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=self._queues,
            metrics_port=self._health.port if self._health else None,
            workers=[
                WorkerStatus(child.consumer, child.process.pid, list(child.queues), child.busy)
                for child in self._fleet.children()
            ],
        )
