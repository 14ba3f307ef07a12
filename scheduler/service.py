"""The scheduler process: the ticker in the main thread, listeners and background services in others."""

import os
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from psycopg_pool import ConnectionPool

from scheduler.alert_blindness import AlertBlindness
from scheduler.alert_metrics import AlertCollector
from scheduler.alert_runs import AlertRuns, follow_changes
from scheduler.audit_sealer import AuditSealer
from scheduler.backfill_runs import BackfillRuns
from scheduler.calendars import SessionFiller
from scheduler.data_gaps import DataGaps
from scheduler.delivery_runs import DeliveryRuns
from scheduler.inbox_guard import InboxGuard
from scheduler.late_runs import LateRuns
from scheduler.listener import ChannelListener, StreamListener
from scheduler.message import MessageLimits
from scheduler.message_inbox import DATA_LOADS, NOTIFICATIONS, Acceptor, MessageInbox
from scheduler.message_neighbours import MessageNeighbours
from scheduler.message_record import MessageRecord
from scheduler.message_runs import MessageRuns, find_message_providers
from scheduler.messages_to_notifications import MessagesToNotifications
from scheduler.messages_to_runs import MessagesToRuns
from scheduler.metrics import ScheduleCollector, SchedulerMetrics
from scheduler.notification_inbox import NotificationInbox
from scheduler.notification_metrics import NotificationCollector
from scheduler.notification_router import NotificationRouter
from scheduler.pool_watch import PoolWatch
from scheduler.run_limits import RunLimits
from scheduler.sign_of_life import SignOfLife
from scheduler.status import StatusFollower
from scheduler.system_metrics import SystemCollector
from scheduler.tick_accountant import TickAccountant
from scheduler.ticker import Ticker
from scheduler.ticker_loop import TickerLoop
from streamworkers.config import Settings
from streamworkers.database import Connection, SessionLimits, connect, open_pool
from streamworkers.diagnosis.components import ComponentStatus, save_statuses
from streamworkers.engine.host.fault_board import list_troubles
from streamworkers.engine.host.fault_metrics import STOPPED, UNREAD, FaultCollector
from streamworkers.engine.host.heartbeat import ProcessHeartbeat
from streamworkers.engine.host.host import Host, stop_loops
from streamworkers.engine.host.loop import ConnectionLoop
from streamworkers.engine.host.metrics import BacklogCollector, DatabasePoolCollector
from streamworkers.engine.host.readiness import find_postgres_trouble, find_redis_trouble
from streamworkers.engine.redis.inbox import Messages
from streamworkers.engine.redis.streams import open_streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.job_types import JobTypeRecorder
from streamworkers.engine.services.loop import PromptLoop, Service, ServiceLoop, describe_loops, list_leased
from streamworkers.engine.services.outbox_relay import OutboxRelay
from streamworkers.engine.services.preparer import Preparer, follow_submissions
from streamworkers.engine.services.session_guard import SessionGuard
from streamworkers.errors import RedisUnavailableError
from streamworkers.market.targets import MarketTargets
from streamworkers.market.universes.cache import UniverseCache
from streamworkers.notifications.channels.registry import load_channels

_REDIS_FINDING_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class SchedulerOptions:
    """The options of `streamworkers scheduler`."""

    metrics_host: str
    metrics_port: int | None


class Scheduler:
    """A replica; any number of them may run, start and stop at any time."""

    def __init__(
        self, settings: Settings, redis_url: str, database_url: str, registry: Registry, options: SchedulerOptions
    ) -> None:
        self.host = Host("scheduler", on_second_signal=lambda: os._exit(1), failing_seconds=settings.failing_seconds)
        self.scheduler_id = self.host.id
        self.metrics = SchedulerMetrics()
        self._settings = settings
        self._limits = SessionLimits.of(settings)
        self._database_url = database_url
        self._redis_reported_at = float("-inf")
        self._streams = open_streams(redis_url, settings.key_prefix, settings.message_prefix)
        self._messages = Messages(
            redis_url, settings.key_prefix, settings.message_prefix, most_bytes=settings.message_max_bytes
        )
        self._pool: ConnectionPool[Connection] = open_pool(
            database_url, application=self.scheduler_id, max_size=7, limits=self._limits
        )
        self.universes = UniverseCache(self._connect)
        self.ticker = Ticker(
            self._pool,
            self._streams,
            registry,
            self._resolve,
            self.metrics,
            on_redis_away=self._record_redis_away,
        )
        self.messages_to_runs = MessagesToRuns(
            self._pool,
            self._streams,
            self._messages,
            MessageRuns(registry, self._resolve, find_message_providers(settings)),
            self.metrics,
            settings.status_ttl_seconds,
            MessageLimits.of(settings),
            MessageRecord.of(settings),
        )
        self._neighbours = MessageNeighbours(self._pool, self._messages)
        self._add_loops(registry)
        self._register_metrics(registry)
        self.host.serve(options.metrics_host, options.metrics_port, self.metrics.registry, self.not_ready)

    def _add_loops(self, registry: Registry) -> None:
        poll_seconds = self._settings.scheduler_poll_seconds
        self._main = self.host.add(TickerLoop(self.ticker, self._connect, poll_seconds, self.host.signals))
        self.host.add(ConnectionLoop("universe-cache", self.universes.follow))
        self._stream_listeners = [self._add_listeners(self.messages_to_runs, DATA_LOADS)]
        self._services: list[ServiceLoop] = [
            self.host.add(ServiceLoop(service, self._streams, self.scheduler_id, self.metrics))
            for service in self._list_services(registry)
        ]
        targets, lease_seconds = MarketTargets(self._resolve), self._settings.lease_seconds
        preparer = Preparer(self._pool, self._streams, registry, targets, lease_seconds, self.metrics)
        prompt = self.host.add(PromptLoop(preparer, self._streams, self.scheduler_id, self.metrics))
        self._services.append(prompt)
        follow = partial(follow_submissions, self._connect, prompt.wake)
        self.host.add(ConnectionLoop("submissions", follow))
        alert_runs = AlertRuns(self._pool, self._streams, registry, self.universes)
        alerts = self.host.add(PromptLoop(alert_runs, self._streams, self.scheduler_id, self.metrics))
        self._services.append(alerts)
        self.host.add(ConnectionLoop("series-changes", partial(follow_changes, self._connect, alerts.wake)))
        self._add_notifications(registry)
        self.host.add(ProcessHeartbeat(self._pool, "scheduler", self.scheduler_id, self._describe_doing))

    def _list_services(self, registry: Registry) -> list[Service]:
        """The services for which nobody waits: each pauses for its usual time."""
        return [
            StatusFollower(
                self._pool,
                self._messages,
                self._settings.status_ttl_seconds,
                self._settings.massive_calls_per_minute,
            ),
            PoolWatch(self._pool, self._streams),
            # Events of rejected ticks must be published also where no worker runs.
            OutboxRelay(self._pool, self._streams, self.metrics),
            SessionFiller(self._pool, self._settings.calendar),
            JobTypeRecorder(self._pool, registry),
            SessionGuard(self._pool),
            AlertBlindness(self._pool, self._settings.calendar),
            LateRuns(self._pool, 60 * self._settings.run_late_minutes),
            RunLimits(self._pool, self._streams),
            DataGaps(self._pool, self._settings.calendar, self._settings.load_hour_anchor),
            SignOfLife(self._pool, self._settings.watchdog_at, self._settings.system_user),
            AuditSealer(self._pool),
            TickAccountant(self._pool),
            BackfillRuns(self._pool),
        ]

    def _add_notifications(self, registry: Registry) -> None:
        channels, per_minute = load_channels(self._settings), self._settings.notifications_per_minute
        runs = DeliveryRuns(self._pool, self._streams, registry, channels, per_minute)
        sending = PromptLoop(runs, self._streams, self.scheduler_id, self.metrics)
        router = NotificationRouter(self._pool, self._settings, on_routed=sending.wake)
        routing = PromptLoop(router, self._streams, self.scheduler_id, self.metrics)
        inbox = NotificationInbox(self._pool, routing.wake)
        receiving = PromptLoop(inbox, self._streams, self.scheduler_id, self.metrics)
        self._services += [self.host.add(loop) for loop in (receiving, routing, sending)]
        requests = MessagesToNotifications(
            self._pool,
            self._messages,
            self.metrics,
            routing.wake,
            MessageLimits.of(self._settings),
            MessageRecord.of(self._settings),
        )
        self._stream_listeners.append(self._add_listeners(requests, NOTIFICATIONS))

    def _add_listeners(self, acceptor: Acceptor, inbox: MessageInbox) -> StreamListener:
        most_bytes = round(self._settings.inbox_max_mb * 1_000_000)
        self.host.add(InboxGuard(self._messages, self.metrics, inbox, most_bytes))
        self.host.add(ChannelListener(self._messages, acceptor, self.metrics, inbox, self.scheduler_id))
        return self.host.add(
            StreamListener(self._messages, acceptor, self.metrics, self.scheduler_id, inbox, self._neighbours)
        )

    def _register_metrics(self, registry: Registry) -> None:
        host = self.host
        for collector in (
            ScheduleCollector(self._pool, host.scrapes),
            AlertCollector(self._pool, host.scrapes),
            NotificationCollector(self._pool, host.scrapes),
            SystemCollector(self._pool, self._streams, host.scrapes),
            BacklogCollector(self._streams, registry.queues, host.scrapes),
            DatabasePoolCollector(self._pool),
            FaultCollector(STOPPED, host.faults.standing),
            host.collect_failing(),
            FaultCollector(UNREAD, host.scrapes.own),  # the last one: it tells of the others
        ):
            self.metrics.registry.register(collector)

    def run(self) -> None:
        """Work until SIGTERM or SIGINT; a second signal ends the process at once."""
        self.host.start(self._main)
        self._main.run()
        stop_loops([loop for loop in self.host.loops if loop is not self._main])
        self.close()
        self.host.finish()

    def run_once(self) -> int:
        """Do what is due now and return the number of messages read, for a system's cron.

        Raises what an unreachable service raises.
        """
        while self.ticker.run_once() == 0.0:
            continue
        count = sum(listener.read_once() for listener in self._stream_listeners)
        for loop in self._services:
            while loop.service.run_once() == 0.0:
                continue
        return count

    def close(self) -> None:
        """Stop serving, and close all connections to Redis and PostgreSQL; once is enough."""
        self.host.stop_serving()
        self._pool.close()
        self._messages.close()
        self._streams.close()

    def not_ready(self) -> list[str]:
        """What prevents runs from being started now."""
        probed = find_redis_trouble(self._streams), find_postgres_trouble(self._database_url, self.scheduler_id)
        return list_troubles(probed, self.host.faults.standing()) + self.host.failures.list_troubles()

    def _describe_doing(self) -> dict[str, Any]:
        scrapes = [msgspec.to_builtins(standing.as_status()) for standing in self.host.scrapes.own()]
        doing = {"starts": ["ticks", "messages"], "services": list_leased(self._services)}
        loops, shared = msgspec.to_builtins(describe_loops(self.host.loops)), self._neighbours.describe()
        troubles = {**self.host.describe_troubles(), "scrape_faults": scrapes, "shared_messages": shared}
        return {**doing, **troubles, "loops": loops}

    def _connect(self) -> Connection:
        return connect(self._database_url, application=self.scheduler_id, limits=self._limits)

    def _resolve(self, connection: Connection, expression: str) -> tuple[str, ...]:
        return self.universes.resolve_with(connection, expression)

    def _record_redis_away(self, error: RedisUnavailableError) -> None:
        """Record in the health history that Redis is away, at most every five minutes: no health check can run."""
        if time.monotonic() - self._redis_reported_at < _REDIS_FINDING_SECONDS:
            return
        self._redis_reported_at = time.monotonic()
        component = ComponentStatus("redis", "critical", str(error), {"found_by": "scheduler"})
        with self._pool.connection() as connection:
            save_statuses(connection, [component], None)
