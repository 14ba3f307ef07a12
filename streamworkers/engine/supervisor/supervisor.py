"""A supervisor: owns the worker processes and the background services, and runs no user code."""

import os
import socket
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from psycopg_pool import ConnectionPool

from streamworkers.config import Settings
from streamworkers.database import Connection, SessionLimits, connect, open_pool
from streamworkers.engine.host.fault_board import StandingFault, list_troubles
from streamworkers.engine.host.fault_metrics import HOLDING, STOPPED, UNREAD, FaultCollector
from streamworkers.engine.host.heartbeat import ProcessHeartbeat
from streamworkers.engine.host.host import Host, stop_loops
from streamworkers.engine.host.limit_metrics import LimitCollector
from streamworkers.engine.host.loop import ConnectionLoop, Loop, follow_channels
from streamworkers.engine.host.metrics import (
    BacklogCollector,
    DatabasePoolCollector,
    PoolMetrics,
    UndecidedCollector,
    WorkerCollector,
)
from streamworkers.engine.host.readiness import find_postgres_trouble, find_redis_trouble
from streamworkers.engine.ledger import SUBMITTED_NOTIFY
from streamworkers.engine.ledger.orders import ORDERED_NOTIFY
from streamworkers.engine.protocol import BatchReport
from streamworkers.engine.redis.heartbeats import SupervisorStatus
from streamworkers.engine.redis.lanes import list_queues_of
from streamworkers.engine.redis.streams import open_streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.job_types import JobTypeRecorder
from streamworkers.engine.services.loop import PromptLoop, Service, ServiceLoop, list_leased
from streamworkers.engine.services.loss_check import StallRule
from streamworkers.engine.services.outbox_relay import OutboxRelay
from streamworkers.engine.services.preparer import Preparer
from streamworkers.engine.services.progress import ProgressFollower
from streamworkers.engine.services.promoter import Promoter
from streamworkers.engine.services.pruner import Pruner
from streamworkers.engine.services.reclaimer import Reclaimer
from streamworkers.engine.services.reconciler import Reconciler
from streamworkers.engine.services.session_guard import SessionGuard
from streamworkers.engine.supervisor.fleet import Fleet
from streamworkers.engine.supervisor.lease_keeper import LeaseKeeper
from streamworkers.engine.supervisor.options import SupervisorOptions
from streamworkers.engine.supervisor.place_keeper import PlaceKeeper
from streamworkers.engine.supervisor.steering import SUPERVISOR_STATES, OrderReader, SteeredFleet
from streamworkers.engine.supervisor.unreported import UnreportedCommits
from streamworkers.errors import BadInputError, FaultKind
from streamworkers.logger import get_logger

log = get_logger()
_TURN_SECONDS = 1.0
# The process is live in each of them: to restart it would undo what somebody has ordered.
_NOT_READY = {
    "draining": "its workers finish their batches and end, by an order",
    "drained": "it has no workers, by an order: streamworkers workers resume",
    "stopping": "it stops",
}


class Supervisor:
    """Runs until SIGTERM or SIGINT; a second signal ends it, and its workers, at once."""

    def __init__(self, settings: Settings, redis_url: str, database_url: str, options: SupervisorOptions) -> None:
        self.host = Host("supervisor", failing_seconds=settings.failing_seconds)
        self.supervisor_id = self.host.id
        self.metrics = PoolMetrics(options.jobs.counters, options.jobs.histograms)
        self._options = options
        self._last_scrape_seconds = settings.last_scrape_seconds
        self._streams = open_streams(redis_url, settings.key_prefix, settings.message_prefix)
        self._database_url = database_url
        self._limits = SessionLimits.of(settings)
        self._pool: ConnectionPool[Connection] = open_pool(
            database_url, application=self.supervisor_id, max_size=5, limits=self._limits
        )
        self._queues = sorted({queue for queues in options.slots for queue in queues})
        self._leases = self._build_leases(settings)
        self._fleet = self._build_fleet(settings, redis_url)
        self._lease_seconds = settings.lease_seconds
        self.host.faults.add_source(self._noteworthy_holds)
        self._main = self.host.add(
            SteeredFleet(self._fleet, self.host.signals, self._leases.has_released, self._note_state)
        )
        self.host.add(self._leases)
        self._heartbeat = self.host.add(
            ProcessHeartbeat(self._pool, "supervisor", self.supervisor_id, self._describe_doing)
        )
        self._orders = self.host.add(
            OrderReader(self._pool, self.supervisor_id, self._main, self._plan, self._heartbeat.beat)
        )
        self._loops = {
            service.name: self.host.add(ServiceLoop(service, self._streams, self.supervisor_id, self.metrics))
            for service in self._services(settings)
        }
        self._follower = self._add_preparer(settings)
        self._register_metrics()
        self.host.serve(options.metrics_host, options.metrics_port, self.metrics.registry, self.not_ready)

    def _add_preparer(self, settings: Settings) -> Loop:
        """Add the preparer of the jobs of these queues, and return the loop that wakes it and the reader of orders."""
        jobs = Registry(job for job in self._options.jobs.values() if job.queue in self._queues)
        service = Preparer(self._pool, self._streams, jobs, self._options.targets, settings.lease_seconds, self.metrics)
        loop = self.host.add(PromptLoop(service, self._streams, self.supervisor_id, self.metrics))
        self._loops[service.name] = loop
        wakes = {SUBMITTED_NOTIFY: loop.wake, ORDERED_NOTIFY: self._orders.wake}
        return self.host.add(ConnectionLoop("listener", partial(follow_channels, self._connect, wakes)))

    def _connect(self) -> Connection:
        return connect(self._database_url, application=self.supervisor_id, limits=self._limits)

    def _build_leases(self, settings: Settings) -> LeaseKeeper:
        return LeaseKeeper(
            self._streams,
            self.supervisor_id,
            settings.lease_ms,
            lambda: self._fleet.holders(),
            self._describe,
            self.metrics,
            self._queues,
            PlaceKeeper(self._streams.places, self._options.jobs),
            lambda: self._fleet.place_holders(settings.lease_seconds / 4),
        )

    def _build_fleet(self, settings: Settings, redis_url: str) -> Fleet:
        urls = {"STREAMWORKERS_REDIS_URL": redis_url, "STREAMWORKERS_DATABASE_URL": self._database_url}
        return Fleet(
            self._options.slots,
            self.supervisor_id,
            {**os.environ, **urls},
            settings.start_method,
            self._options.limits,
            self.metrics,
            release=self._leases.release,
            confirm=UnreportedCommits(self._pool, self.metrics).confirm,
            reported=self._on_report,
        )

    def _register_metrics(self) -> None:
        host = self.host
        for collector in (
            BacklogCollector(self._streams, self._queues, host.scrapes),
            LimitCollector(self._streams, self._options.jobs, host.scrapes),
            DatabasePoolCollector(self._pool),
            WorkerCollector(self._fleet.usages),
            UndecidedCollector(self._queues, self._fleet.undecided),
            FaultCollector(STOPPED, host.faults.standing),
            FaultCollector(HOLDING, self._long_holds),
            host.collect_failing(),
            FaultCollector(UNREAD, host.scrapes.own),  # the last one: it tells of the others
        ):
            self.metrics.registry.register(collector)
        self._note_state()
        by_queue = self._options.jobs.jobs_by_queue()
        self.metrics.begin_hooks_at_zero(self._options.hooks)
        self.metrics.begin_at_zero({queue: by_queue.get(queue, ()) for queue in list_queues_of(self._queues)})

    def _plan(self, processes: int) -> Sequence[Sequence[str]]:
        """The slots for another number of processes. Raises BadInputError for one that does not do."""
        slots = self._options.plan(processes)
        if others := sorted({queue for queues in slots for queue in queues} - set(self._queues)):
            wrong, own = (", ".join(list_queues_of(lanes)) for lanes in (others, self._queues))
            raise BadInputError(
                f"with {processes} processes some would read {wrong}, and this supervisor was started for {own}: start"
                " another one"
            )
        return slots

    def _note_state(self) -> None:
        """Tell people what has changed: in the metrics, and in PostgreSQL at once."""
        for state in SUPERVISOR_STATES:
            self.metrics.state.labels(state).set(state == self._main.state)
        self._heartbeat.wake()

    def _services(self, settings: Settings) -> list[Service]:
        streams, queues, metrics = self._streams, self._queues, self.metrics
        return [
            Promoter(streams, queues, metrics),
            Reclaimer(
                streams,
                queues,
                self.supervisor_id,
                settings.lease_ms,
                metrics,
                self._leases.was_away,
                self._leases.clock,
            ),
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
            ProgressFollower(self._pool, queues),
            SessionGuard(self._pool),
            JobTypeRecorder(self._pool, self._options.jobs),
            Pruner(self._pool, streams, queues, lambda: set(streams.inspector.read_heartbeats())),
        ]

    def run(self) -> None:
        """Work until a signal; returns after all workers have ended and their entries have been requeued."""
        self._fleet.watch(self.host.start(self._main))
        self._main.run()
        self._shut_down()
        self.host.finish()

    def not_live(self) -> list[str]:
        """Loops that have not turned for a minute beyond their pause: the supervisor should be restarted."""
        return self.host.not_live()

    def not_ready(self) -> list[str]:
        """What prevents work from being done now."""
        probed = find_redis_trouble(self._streams), find_postgres_trouble(self._database_url, self.supervisor_id)
        problems = list_troubles(probed, self.host.faults.standing()) + self.host.failures.list_troubles()
        if self._main.state != "running":
            problems.append(_NOT_READY[self._main.state])
        elif not any(child.ready for child in self._fleet.children()):
            problems.append("no worker process is ready")
        return problems

    def _noteworthy_holds(self) -> list[StandingFault]:
        """What workers wait for that does not pass by itself, or has not within a lease."""
        return [hold for hold in self._fleet.holds() if hold.fault.kind is not FaultKind.AWAY or self._is_long(hold)]

    def _long_holds(self) -> list[StandingFault]:
        return [hold for hold in self._fleet.holds() if self._is_long(hold)]

    def _is_long(self, hold: StandingFault) -> bool:
        return time.time() - hold.since > self._lease_seconds

    def _turn(self, longest_seconds: float) -> None:
        self._main.mark_turn()
        self._fleet.turn(longest_seconds)

    def _shut_down(self) -> None:
        log.info("supervisor_stopping", supervisor=self.supervisor_id, grace_seconds=self._options.grace_seconds)
        self._fleet.stop()
        self._note_state()
        deadline = time.monotonic() + self._options.grace_seconds
        while self._fleet.children():
            if self.host.signals.is_urgent or time.monotonic() >= deadline:
                self._fleet.kill()
            self._turn(min(_TURN_SECONDS, max(0.05, deadline - time.monotonic())))
        self._fleet.close()
        self._wait_for_last_scrape()
        stop_loops([self._follower, self._orders, *self._loops.values()])
        stop_loops([self._leases, self._heartbeat])
        self.close()

    def close(self) -> None:
        """Stop serving, and close all connections to Redis and PostgreSQL; once is enough."""
        self.host.stop_serving()
        self._pool.close()
        self._streams.close()

    def _wait_for_last_scrape(self) -> None:
        """Let Prometheus read the final counters: they end with the process, and sums over all processes need them."""
        server, since = self.host.server, time.monotonic()
        deadline = since + self._last_scrape_seconds
        while server and not self.host.signals.is_urgent and (left := deadline - time.monotonic()) > 0:
            self._main.mark_turn()
            if server.wait_for_scrape(since, min(_TURN_SECONDS, left)):
                return

    def _on_report(self, report: BatchReport) -> None:
        """Wake the services that have to publish events or promote entries of a batch."""
        if report.events:
            self._loops[OutboxRelay.name].wake()
        if report.retried or report.snoozed:
            self._loops[Promoter.name].wake()

    def _describe_doing(self) -> dict[str, Any]:
        children = self._fleet.children()
        return {
            "queues": list_queues_of(self._queues),
            "mode": self._main.state,
            "wanted": len(self._fleet.wanted()),
            "workers": len(children),
            "ready": sum(child.ready for child in children),
            "busy": sum(child.busy for child in children),
            "services": list_leased(self._loops.values()),
        }

    def _describe(self) -> SupervisorStatus:
        is_running, slots = self._main.state == "running", self._fleet.wanted()
        queues = sorted({queue for slot in slots for queue in slot.queues})
        return SupervisorStatus(
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=queues if is_running else [],
            metrics_port=self.host.metrics_port,
            workers=[child.describe() for child in self._fleet.children()],
            faults=[standing.as_status() for standing in self.host.faults.own()],
            scrape_faults=[standing.as_status() for standing in self.host.scrapes.own()],
            failing=[standing.as_status() for standing in self.host.failures.lasting()],
            drained_queues=[] if is_running else queues,
            state=self._main.state,
            written_at=time.time(),
        )
