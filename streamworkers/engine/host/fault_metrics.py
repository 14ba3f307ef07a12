"""Metrics of the faults that stand in a process now."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamworkers.engine.host.fault_board import StandingFault
from streamworkers.errors import FaultKind, Store


class FaultMetric(NamedTuple):
    """A number of faults by store and kind: the metric's name without the prefix, and what they keep from what."""

    name: str
    text: str


STOPPED = FaultMetric(
    "store_faults", "Loops and workers that a fault of Redis or PostgreSQL stops now, by kind: away, rejected, full"
)
HOLDING = FaultMetric(
    "workers_holding", "Workers that have waited for Redis or PostgreSQL for longer than a lease, by the kind of fault"
)
UNREAD = FaultMetric(
    "scrape_faults", "Collectors that a fault of Redis or PostgreSQL kept from reading their metrics for this scrape"
)


class FaultCollector(Collector):
    """Counts at each scrape the faults that a function returns."""

    def __init__(self, metric: FaultMetric, standing: Callable[[], Iterable[StandingFault]]) -> None:
        self._metric = metric
        self._standing = standing

    def describe(self) -> tuple[GaugeMetricFamily]:
        """Return the metric without samples."""
        name, text = self._metric
        return (GaugeMetricFamily(f"streamworkers_{name}", text, labels=("store", "kind")),)

    def collect(self) -> Iterable[Metric]:
        """Return the metric with current samples."""
        (family,) = self.describe()
        counts = {(store, kind): 0 for store in Store for kind in FaultKind}
        for each in self._standing():
            counts[each.fault.store, each.fault.kind] += 1
        for (store, kind), count in counts.items():
            family.add_metric((store, kind), count)
        return [family]
