"""The metrics of a scheduler: what it counts itself, and what it reads when Prometheus asks.

What is read from Redis and PostgreSQL is the same from every replica: `max by` gives the truth, whatever their number.
"""

from collections.abc import Callable, Iterable

import psycopg
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg_pool import ConnectionPool, PoolTimeout

from scheduler import history
from streamworkers.database import Connection
from streamworkers.engine.ledger_reports import dead_by_queue
from streamworkers.engine.metrics import ServiceMetrics
from streamworkers.engine.stream import Streams
from streamworkers.errors import RedisUnavailableError

_LATENESS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600, 3600)


class SchedulerMetrics(ServiceMetrics):
    """What one scheduler process counts. Labels are schedules, states, sources and outcomes, of bounded number."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks = Counter(
            "streamworkers_schedule_ticks",
            "Ticks by what became of them",
            ("schedule", "state"),
            registry=self.registry,
        )
        self.lateness_seconds = Histogram(
            "streamworkers_schedule_lateness_seconds",
            "Time from when a tick was due to the start of its run",
            ("schedule",),
            buckets=_LATENESS_BUCKETS,
            registry=self.registry,
        )
        self.messages = Counter(
            "streamworkers_messages",
            "Messages of other programs by what became of them; of what is no good, by reason",
            ("source", "outcome", "reason"),
            registry=self.registry,
        )
        self.reconnects = Counter(
            "streamworkers_listener_connections",
            "Connections of the listeners: above one, a connection was lost",
            ("source",),
            registry=self.registry,
        )


class ScheduleCollector(Collector):
    """Reads the schedules when Prometheus asks; says nothing while PostgreSQL is away."""

    def __init__(self, pool: "ConnectionPool[Connection]") -> None:
        self._pool = pool

    def collect(self) -> Iterable[Metric]:
        """Time to the next tick, last success, waiting ticks, days left of calendars, dead items."""
        next_seconds = GaugeMetricFamily(
            "streamworkers_schedule_next_tick_seconds", "Time to the next tick, negative when late", labels=["schedule"]
        )
        success = GaugeMetricFamily(
            "streamworkers_schedule_last_success_timestamp_seconds",
            "When a run of the schedule last completed without errors, in Unix time",
            labels=["schedule"],
        )
        enabled = GaugeMetricFamily("streamworkers_schedule_enabled", "1, or 0 while it is paused", labels=["schedule"])
        waiting = GaugeMetricFamily(
            "streamworkers_schedule_waiting_ticks", "Ticks that wait for another run, or for room", labels=["schedule"]
        )
        calendar = GaugeMetricFamily(
            "streamworkers_schedule_calendar_days",
            "Days for which its calendar knows sessions",
            labels=["schedule"],
        )
        dead = GaugeMetricFamily("streamworkers_queue_dead_items", "Dead items of ended runs", labels=["queue"])
        try:
            with self._pool.connection() as connection:
                rows = history.schedule_gauges(connection)
                dead_items = dead_by_queue(connection)
        except (psycopg.Error, PoolTimeout):
            return
        for row in rows:
            labels = (row.name,)
            enabled.add_metric(labels, float(row.enabled))
            waiting.add_metric(labels, row.waiting)
            for family, value in (
                (next_seconds, row.next_seconds),
                (success, row.last_success),
                (calendar, row.calendar_days),
            ):
                if value is not None:
                    family.add_metric(labels, value)
        for queue, count in dead_items.items():
            dead.add_metric((queue,), count)
        yield from (next_seconds, success, enabled, waiting, calendar, dead)


class QueueAgeCollector(Collector):
    """Reads the age of each queue's oldest entry when Prometheus asks; says nothing while Redis is away."""

    def __init__(self, streams: Streams, queues: Callable[[], Iterable[str]]) -> None:
        self._streams = streams
        self._queues = queues

    def collect(self) -> Iterable[Metric]:
        """One gauge, by queue."""
        ages = GaugeMetricFamily(
            "streamworkers_queue_oldest_age_seconds",
            "Age of the oldest entry in the stream, waiting or pending; 0 for none",
            labels=["queue"],
        )
        try:
            for queue in self._queues():
                ages.add_metric((queue,), self._streams.oldest_age_seconds(queue))
        except RedisUnavailableError:
            return
        yield ages
