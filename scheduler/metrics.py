"""The metrics of a scheduler: its own counters, and values that it reads at each scrape.

Every scheduler reads the same values from Redis and PostgreSQL: aggregate them with `max by`, not with `sum by`.
"""

from collections.abc import Iterable

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg_pool import ConnectionPool

from scheduler.message import REASONS
from scheduler.message_inbox import DATA_LOADS, NOTIFICATIONS
from streamworkers.database import Connection
from streamworkers.engine.host.metrics import ServiceMetrics
from streamworkers.engine.host.scrape_board import ScrapeBoard
from streamworkers.engine.ledger.reports import count_dead_by_queue
from streamworkers.schedules import reports as history

_OUTCOMES = (
    *(("started", "new"), ("notified", "new"), ("duplicate", "recorded")),
    *(("repeated", "id"), ("repeated", "content")),
    *(("ignored", "run_analysis"), ("ignored", "paused")),
    *(("rejected", reason) for reason in REASONS),
)
_LATENESS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600, 3600)


class SchedulerMetrics(ServiceMetrics):
    """Counters of one scheduler. Labels are schedules, states, sources and outcomes, all bounded in number."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks = Counter(
            "streamworkers_schedule_ticks",
            "Ticks decided, by state",
            ("schedule", "state"),
            registry=self.registry,
        )
        self.lateness_seconds = Histogram(
            "streamworkers_schedule_lateness_seconds",
            "Time between a tick's due time and the start of its run",
            ("schedule",),
            buckets=_LATENESS_BUCKETS,
            registry=self.registry,
        )
        self.messages = Counter(
            "streamworkers_messages",
            "Messages of other programs by outcome, and by reason if they were rejected or ignored",
            ("source", "outcome", "reason"),
            registry=self.registry,
        )
        for source in (name for inbox in (DATA_LOADS, NOTIFICATIONS) for name in inbox.sources):
            for outcome, reason in _OUTCOMES:
                self.messages.labels(source, outcome, reason)
        self.reconnects = Counter(
            "streamworkers_listener_connections",
            "Connections opened by the listeners; more than one means that a connection was lost",
            ("source",),
            registry=self.registry,
        )

    def begin_at_zero(self, schedule: str) -> None:
        """Create the counters of a schedule at 0, before its first tick."""
        for state in history.TICK_STATES:
            self.ticks.labels(schedule, state)


class ScheduleCollector(Collector):
    """Reads schedules and ledger at each scrape; gives no samples while PostgreSQL cannot be read."""

    def __init__(self, pool: "ConnectionPool[Connection]", scrapes: ScrapeBoard) -> None:
        self._pool = pool
        self._scrapes = scrapes

    def describe(self) -> list[GaugeMetricFamily]:
        """Return the metrics without samples."""
        families = (
            ("schedule_next_tick_seconds", "Time until the next tick; negative if it is late", "schedule"),
            (
                "schedule_last_success_timestamp_seconds",
                "Unix time of the last run of the schedule that completed without errors",
                "schedule",
            ),
            ("schedule_calendar_days", "Days ahead for which its calendar has sessions", "schedule"),
            ("schedule_enabled", "1 if enabled, 0 if paused", "schedule"),
            ("schedule_waiting_ticks", "Ticks waiting for another run or for a free instance", "schedule"),
            ("schedule_last_tick_age_seconds", "Time since the newest tick", "schedule"),
            (
                "schedule_last_tick_coverage_ratio",
                "Share of completed items in the run of the newest tick; 0 without a run",
                "schedule",
            ),
            (
                "schedule_deadline_missed",
                "1 while the newest work with a deadline was not done by it and is not done yet",
                "schedule",
            ),
            (
                "schedule_runs_too_long",
                "Runs cancelled within an hour because they took longer than the schedule allows",
                "schedule",
            ),
            (
                "schedule_ticks_unaccounted",
                "Ticks of the last day that are missing, extra or doubled by the account of ticks",
                "schedule",
            ),
            ("queue_dead_items", "Dead items in ended runs", "queue"),
        )
        return [GaugeMetricFamily(f"streamworkers_{name}", text, labels=[label]) for name, text, label in families]

    def collect(self) -> Iterable[Metric]:
        """Return the metrics with current samples; a schedule without a value has no sample."""
        return self._scrapes.read("schedules", self._read) or []

    def _read(self) -> list[Metric]:
        with self._pool.connection() as connection:
            schedules = history.schedule_gauges(connection)
            dead_items = count_dead_by_queue(connection)
        *of_schedules, dead = self.describe()
        for name, *values in schedules:
            for family, value in zip(of_schedules, values, strict=True):
                if value is not None:
                    family.add_metric((name,), float(value))
        for queue, count in dead_items.items():
            dead.add_metric((queue,), count)
        return [*of_schedules, dead]
