"""What is in use of the limits of jobs, read from Redis at each scrape."""

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from streamworkers.engine.host.scrape_board import ScrapeBoard
from streamworkers.engine.limits import RateLimit
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry


class LimitCollector(Collector):
    """Reads the limits of the jobs that are installed; gives no samples while Redis cannot be read."""

    def __init__(self, streams: Streams, jobs: Registry, scrapes: ScrapeBoard) -> None:
        self._streams = streams
        self._jobs = jobs
        self._scrapes = scrapes

    def describe(self) -> tuple[GaugeMetricFamily]:
        """Return the metric without samples."""
        text = "Items within a limit of jobs in the whole fleet: in use, and waiting; of a rate, of its last seconds"
        return (GaugeMetricFamily("streamworkers_limit_items", text, labels=("limit", "state")),)

    def collect(self) -> Iterable[Metric]:
        """Return the metric with current samples."""
        return (self._scrapes.read("limits", self._read) or []) if self._jobs.limits else self.describe()

    def _read(self) -> list[Metric]:
        (items,) = self.describe()
        for name, limit in self._jobs.limits.items():
            seconds = limit.seconds if isinstance(limit, RateLimit) else None
            usage = self._streams.places.read_usage(name, seconds).values()
            items.add_metric((name, "in_use"), sum(each.held for each in usage))
            items.add_metric((name, "waiting"), sum(each.waiting for each in usage))
        return [items]
