"""The metrics of a supervisor, kept in its own process.

Workers report through their status pipe, so that one process counts for all of them. The work of a killed worker is
counted too: what it had committed but not reported is read from the ledger.
"""

from collections import Counter as Counts
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine.host.scrape_board import ScrapeBoard
from streamworkers.engine.job import JobCounter, JobHistogram
from streamworkers.engine.protocol import BatchReport
from streamworkers.engine.redis.heartbeats import UndecidedItem
from streamworkers.engine.redis.inspector import sum_backlogs
from streamworkers.engine.redis.lanes import lanes_of, list_queues_of, priority_of, queue_of
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.worker_end import WorkerEnd
from streamworkers.hooks import HOOK_EVENTS

_DURATION_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_SIZE_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_WAIT_BUCKETS = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600)


class ServiceMetrics:
    """Metrics of every process with background services."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        build = Gauge(
            "streamworkers_build_info", "Always 1; the label is the version", ("version",), registry=self.registry
        )
        build.labels(version("streamworkers")).set(1)
        self.events_published = self._counter("events_published", "Events published", ("channel",))
        self.service_failures = self._counter(
            "service_failures", "Steps of background services that failed", ("service",)
        )
        self.runs_prepared = self._counter(
            "runs_prepared",
            "Submitted runs that this process prepared, by outcome: prepared, empty, rejected, retried",
            ("job", "outcome"),
        )

    def _counter(self, name: str, documentation: str, labels: Iterable[str]) -> Counter:
        return Counter(f"streamworkers_{name}", documentation, tuple(labels), registry=self.registry)


class PoolMetrics(ServiceMetrics):
    """Every metric of the pool, and the counters and histograms of its jobs.

    Labels are queues, jobs, services, causes and channels, all bounded in number.
    """

    def __init__(self, job_counters: Iterable[JobCounter] = (), job_histograms: Iterable[JobHistogram] = ()) -> None:
        super().__init__()
        self._histograms_of_jobs = {
            each.name: Histogram(
                *(f"streamworkers_{each.name}", each.documentation, each.labels),
                buckets=each.buckets,
                registry=self.registry,
            )
            for each in job_histograms
        }
        self._of_jobs = {
            counter.name: self._counter(counter.name, counter.documentation, counter.labels) for counter in job_counters
        }
        labels = ("queue", "job")
        self.started = self._counter("items_started", "Items passed to a handler, each attempt counted", labels)
        self.finished = self._counter("items_finished", "Items closed, by outcome", (*labels, "outcome"))
        self.retried = self._counter("items_retried", "Failed attempts that are retried", labels)
        self.snoozed = self._counter("items_snoozed", "Items delayed by their handler", labels)
        self.limited = self._counter(
            "items_limited", "Items delayed because a limit of their job had no room", (*labels, "limit")
        )
        self.fenced = self._counter("items_fenced", "Results discarded because another worker closed the item", labels)
        self.dropped = self._counter("entries_dropped", "Entries of items that were already closed", labels)
        self.rejected = self._counter(
            "entries_rejected",
            "Entries removed from a queue because they are malformed or belong to no item",
            ("queue",),
        )
        self.requeued = self._counter(
            "entries_requeued", "Entries of ended workers put back into their stream", ("queue", "cause")
        )
        self.reclaimed = self._counter(
            "entries_reclaimed", "Entries put back into their stream because their lease expired", ("queue",)
        )
        self.promoted = self._counter("entries_promoted", "Delayed entries moved to their stream", ("queue",))
        self.reconciled = self._counter("items_reconciled", "Items that Redis had lost, added again", ("queue",))
        of_hook = ("hook", "event")
        self.hook_errors = self._counter("hook_errors", "Calls of hooks that raised or took too long", of_hook)
        self.hook_skips = self._counter("hook_skips", "Calls of hooks left out after one that took too long", of_hook)
        self.worker_ends = self._counter("worker_ends", "Worker processes that ended, by cause", ("cause",))
        self.workers = Gauge("streamworkers_workers", "Worker processes by state", ("state",), registry=self.registry)
        self.slots = Gauge(
            *("streamworkers_worker_slots", "Worker processes that are kept: none while the supervisor is drained"),
            registry=self.registry,
        )
        self.state = Gauge(
            *("streamworkers_supervisor_state", "1 for the state of the supervisor, 0 for the others", ("state",)),
            registry=self.registry,
        )
        self.batch_items = Histogram(
            *("streamworkers_batch_items", "Items in one call of a handler", labels),
            buckets=_SIZE_BUCKETS,
            registry=self.registry,
        )
        self.batch_seconds = Histogram(
            *("streamworkers_batch_duration_seconds", "Duration of one call of a handler", labels),
            buckets=_DURATION_BUCKETS,
            registry=self.registry,
        )
        self.wait_seconds = Histogram(
            *(
                "streamworkers_batch_wait_seconds",
                "Time from the enqueue of a batch's first item to its call",
                labels,
            ),
            buckets=_WAIT_BUCKETS,
            registry=self.registry,
        )

        self.requeue_seconds = Histogram(
            "streamworkers_requeue_duration_seconds",
            "Time from the last sign of life of a dead worker to the next call with the items it was executing",
            ("queue",),
            buckets=_WAIT_BUCKETS,
            registry=self.registry,
        )

    def begin_at_zero(self, jobs: Mapping[str, Sequence[str]]) -> None:
        """Create the counters of these queues and jobs at 0: rate() misses the first count of a new series."""
        for queue, names in jobs.items():
            self.requeue_seconds.labels(queue)
            for counter in (self.rejected, self.reclaimed, self.promoted, self.reconciled):
                counter.labels(queue)
            for cause in ("died", "stopped"):
                self.requeued.labels(queue, cause)
            for job in names:
                for counter in (self.started, self.retried, self.snoozed, self.fenced, self.dropped):
                    counter.labels(queue, job)
                for outcome in ("completed", "failed"):
                    self.finished.labels(queue, job, outcome)
        for cause in WorkerEnd:
            self.worker_ends.labels(cause)

    def begin_hooks_at_zero(self, hooks: Iterable[str]) -> None:
        """Create the counters of hooks, by their names, at 0."""
        for hook in hooks:
            for event in ("init", *HOOK_EVENTS, "close"):
                for counter in (self.hook_errors, self.hook_skips):
                    counter.labels(hook, event)

    def count_call(self, queue: str, job: str, items: int) -> None:
        """Count a call of a handler with a number of items."""
        queue = queue_of(queue)
        self.started.labels(queue, job).inc(items)
        self.batch_items.labels(queue, job).observe(items)

    def count_batch(self, queue: str, job: str, report: BatchReport) -> None:
        """Count the batch that a worker reported."""
        queue = queue_of(queue)
        for outcome in ("completed", "failed"):
            if count := getattr(report, outcome):
                self.finished.labels(queue, job, outcome).inc(count)
        for name in ("retried", "snoozed", "fenced", "dropped"):
            if count := getattr(report, name):
                getattr(self, name).labels(queue, job).inc(count)
        for limit, count in report.limited:
            self.limited.labels(queue, job, limit).inc(count)
        if report.seconds:
            self.batch_seconds.labels(queue, job).observe(report.seconds)
            self.wait_seconds.labels(queue, job).observe(report.wait_seconds)
        if report.requeue_seconds:
            self.requeue_seconds.labels(queue).observe(report.requeue_seconds)
        for (name, *labels), count in report.tallies:
            if (counter := self._of_jobs.get(name)) is not None:
                (counter.labels(*labels) if labels else counter).inc(count)
        for (name, *labels), value in report.observations:
            if (histogram := self._histograms_of_jobs.get(name)) is not None:
                (histogram.labels(*labels) if labels else histogram).observe(value)


class Usage(NamedTuple):
    """Memory in bytes, resident and of that private to the process, and processor seconds since the start."""

    resident_bytes: int
    private_bytes: int
    cpu_seconds: float


class BacklogCollector(Collector):
    """Reads the queues at each scrape; gives no samples while Redis cannot be read."""

    def __init__(self, streams: Streams, queues: Iterable[str], scrapes: ScrapeBoard) -> None:
        self._streams = streams
        self._scrapes = scrapes
        self._queues = list_queues_of(queues)

    def describe(self) -> list[GaugeMetricFamily]:
        """Return the metrics without samples."""
        return [
            GaugeMetricFamily(
                "streamworkers_queue_entries",
                "Entries in Redis by state: waiting, pending (being executed), delayed",
                labels=("queue", "state"),
            ),
            GaugeMetricFamily(
                "streamworkers_queue_oldest_age_seconds",
                "Age of the oldest entry in the stream, waiting or pending; 0 if there is none",
                labels=("queue",),
            ),
            GaugeMetricFamily(
                "streamworkers_lane_waiting_entries",
                "Entries in Redis that wait, by the priority of their runs",
                labels=("queue", "priority"),
            ),
        ]

    def collect(self) -> Iterable[Metric]:
        """Return the metrics with current samples."""
        return self._scrapes.read("queues", self._read) or []

    def _read(self) -> list[Metric]:
        entries, ages, waiting = self.describe()
        for queue in self._queues:
            lanes = self._streams.inspector.read_lanes(lanes_of(queue))
            total = sum_backlogs(backlog for backlog, _ in lanes.values())
            entries.add_metric((queue, "waiting"), total.waiting)
            entries.add_metric((queue, "pending"), total.pending)
            entries.add_metric((queue, "delayed"), total.delayed)
            ages.add_metric((queue,), max(age for _, age in lanes.values()))
            for lane, (backlog, _) in lanes.items():
                waiting.add_metric((queue, priority_of(lane)), backlog.waiting)
        return [entries, ages, waiting]


class DatabasePoolCollector(Collector):
    """Reads the state of a process's PostgreSQL connection pool at each scrape."""

    def __init__(self, pool: "ConnectionPool[Connection]") -> None:
        self._pool = pool

    def describe(self) -> tuple[GaugeMetricFamily, GaugeMetricFamily, CounterMetricFamily, CounterMetricFamily]:
        """Return the metrics without samples."""
        return (
            GaugeMetricFamily(
                "streamworkers_db_pool_connections", "Connections in the process's PostgreSQL pool", labels=("state",)
            ),
            GaugeMetricFamily("streamworkers_db_pool_requests_waiting", "Requests waiting for a PostgreSQL connection"),
            CounterMetricFamily(
                "streamworkers_db_pool_requests", "Requests for a PostgreSQL connection", labels=("outcome",)
            ),
            CounterMetricFamily(
                "streamworkers_db_pool_wait_seconds", "Time that requests waited for a PostgreSQL connection"
            ),
        )

    def collect(self) -> Iterable[Metric]:
        """Return the metrics with current samples."""
        connections, waiting, requests, waited = self.describe()
        stats = self._pool.get_stats()
        idle = stats.get("pool_available", 0)
        connections.add_metric(("idle",), idle)
        connections.add_metric(("busy",), stats.get("pool_size", 0) - idle)
        waiting.add_metric((), stats.get("requests_waiting", 0))
        failed = stats.get("requests_errors", 0)
        requests.add_metric(("failed",), failed)
        requests.add_metric(("served",), stats.get("requests_num", 0) - failed)
        waited.add_metric((), stats.get("requests_wait_ms", 0) / 1000)
        return [connections, waiting, requests, waited]


class WorkerCollector(Collector):
    """Reads the resource usage of each worker process at each scrape, by slot."""

    def __init__(self, usages: Callable[[], Mapping[int, Usage]]) -> None:
        self._usages = usages

    def describe(self) -> tuple[GaugeMetricFamily, GaugeMetricFamily, CounterMetricFamily]:
        """Return the metrics without samples."""
        return (
            GaugeMetricFamily(
                "streamworkers_worker_resident_memory_bytes",
                "Resident memory of the worker process in a slot, with what it shares with others",
                labels=("slot",),
            ),
            GaugeMetricFamily(
                "streamworkers_worker_private_memory_bytes",
                "Memory that the worker process in a slot shares with no other",
                labels=("slot",),
            ),
            CounterMetricFamily(
                "streamworkers_worker_cpu_seconds",
                "CPU time of the worker process in a slot; starts at 0 with each process",
                labels=("slot",),
            ),
        )

    def collect(self) -> Iterable[Metric]:
        """Return the metrics with current samples."""
        resident, private, cpu = self.describe()
        for slot, usage in self._usages().items():
            resident.add_metric((str(slot),), usage.resident_bytes)
            private.add_metric((str(slot),), usage.private_bytes)
            cpu.add_metric((str(slot),), usage.cpu_seconds)
        return resident, private, cpu


class UndecidedCollector(Collector):
    """Reads at each scrape what the workers report of items that they execute without a decision."""

    def __init__(self, queues: Iterable[str], undecided: Callable[[], Sequence[UndecidedItem]]) -> None:
        self._queues = list_queues_of(queues)
        self._undecided = undecided

    def describe(self) -> tuple[GaugeMetricFamily]:
        """Return the metric without samples."""
        text = "Items executed more than once without a decision, because each time a service seems away"
        return (GaugeMetricFamily("streamworkers_items_undecided", text, labels=("queue",)),)

    def collect(self) -> Iterable[Metric]:
        """Return the metric with current samples, of every queue that is served."""
        (items,) = self.describe()
        counts = Counts(queue_of(item.queue) for item in self._undecided())
        for queue in self._queues:
            items.add_metric((queue,), counts[queue])
        return (items,)
