"""The metrics of a scheduler: its own counters, and gauges that it reads at each scrape.

Every replica reads the same values from Redis and PostgreSQL: aggregate them with `max by`, not with `sum`.
"""

from collections.abc import Iterable

import psycopg
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg_pool import ConnectionPool, PoolTimeout

from scheduler.message import REASONS
from streamworkers.database import Connection
from streamworkers.engine.host.metrics import ServiceMetrics
from streamworkers.engine.ledger.reports import dead_by_queue
from streamworkers.schedules import reports as history

TICK_STATES = ("started", "waiting", "missed", "skipped", "rejected")
_OUTCOMES = (
    *(("started", "new"), ("duplicate", "known"), ("duplicate", "rejected")),
    *(("ignored", "run_analysis"), ("ignored", "paused")),
    *(("rejected", reason) for reason in REASONS),
)
_LATENESS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600, 3600)


class SchedulerMetrics(ServiceMetrics):
    """The counters of one scheduler process. Every label has a bounded number of values."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks = Counter(
            "streamworkers_schedule_ticks",
            "Ticks by the state that was decided",
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
            "Messages of other programs, by outcome and reason",
            ("source", "outcome", "reason"),
            registry=self.registry,
        )
        for source in ("pubsub", "stream"):
            for outcome, reason in _OUTCOMES:
                self.messages.labels(source, outcome, reason)
        self.reconnects = Counter(
            "streamworkers_listener_connections",
            "Connections that the listeners made: more than one means that a connection was lost",
            ("source",),
            registry=self.registry,
        )

    def begin_at_zero(self, schedule: str) -> None:
        """Show the counters of a schedule before its first tick."""
        for state in TICK_STATES:
            self.ticks.labels(schedule, state)


class ScheduleCollector(Collector):
    """Reads the schedules and the ledger at each scrape; returns nothing while PostgreSQL is away."""

    def __init__(self, pool: "ConnectionPool[Connection]") -> None:
        self._pool = pool

    def describe(self) -> list[GaugeMetricFamily]:
        """The metrics without values."""
        families = (
            ("schedule_next_tick_seconds", "Time to the next tick, negative when late", "schedule"),
            (
                "schedule_last_success_timestamp_seconds",
                "When a run of the schedule last completed without errors, in Unix time",
                "schedule",
            ),
            ("schedule_calendar_days", "Days for which its calendar knows sessions", "schedule"),
            ("schedule_enabled", "1, or 0 while it is paused", "schedule"),
            ("schedule_waiting_ticks", "Ticks that wait for another run, or for max_instances", "schedule"),
            ("schedule_last_tick_age_seconds", "Time since the newest decided tick", "schedule"),
            (
                "schedule_last_tick_coverage_ratio",
                "Completed items of all items of the run of the newest tick; 0 while it has none",
                "schedule",
            ),
            ("queue_dead_items", "Dead items of ended runs", "queue"),
        )
        return [GaugeMetricFamily(f"streamworkers_{name}", text, labels=[label]) for name, text, label in families]

    def collect(self) -> Iterable[Metric]:
        """The metrics with values; a schedule without a value has no sample."""
        try:
            with self._pool.connection() as connection:
                schedules = history.schedule_gauges(connection)
                dead_items = dead_by_queue(connection)
        except (psycopg.Error, PoolTimeout):
            return []
        *of_schedules, dead = self.describe()
        for name, *values in schedules:
            for family, value in zip(of_schedules, values, strict=True):
                if value is not None:
                    family.add_metric((name,), float(value))
        for queue, count in dead_items.items():
            dead.add_metric((queue,), count)
        return [*of_schedules, dead]
