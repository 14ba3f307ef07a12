"""The metrics of alerts, which schedulers read from PostgreSQL at each scrape."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg_pool import ConnectionPool

from streamworkers.alerts.store.blindness import count_blind
from streamworkers.alerts.store.due import count_behind, count_decisions, read_lateness
from streamworkers.database import Connection
from streamworkers.engine.host.scrape_board import ScrapeBoard
from streamworkers.market.calendar.timeframes import TIMEFRAMES


class AlertCollector(Collector):
    """Reads what decisions have counted; gives no samples while PostgreSQL cannot be read."""

    def __init__(self, pool: "ConnectionPool[Connection]", scrapes: ScrapeBoard) -> None:
        self._pool = pool
        self._scrapes = scrapes

    def describe(self) -> list[Metric]:
        """Return the metrics without samples."""
        return [
            CounterMetricFamily(
                "streamworkers_alert_evaluations",
                "Rules evaluated at a bar, by what they were; `known` is true or false",
                labels=["timeframe", "outcome"],
            ),
            CounterMetricFamily(
                "streamworkers_alert_firings",
                "Firings of alerts: live, late, or suppressed by a mute",
                labels=["timeframe", "state"],
            ),
            GaugeMetricFamily(
                "streamworkers_alert_series_behind",
                "Series with an alert whose newest change is not decided yet",
                labels=["timeframe"],
            ),
            GaugeMetricFamily(
                "streamworkers_alert_lateness_seconds",
                "Longest time from the write of a bar to a firing, of the firings of the last 15 minutes",
                labels=["timeframe"],
            ),
            GaugeMetricFamily(
                "streamworkers_alert_series_blind",
                "Series with an alert whose bars are missing, as its owner was notified",
                labels=["timeframe"],
            ),
        ]

    def collect(self) -> Iterable[Metric]:
        """Return the metrics with current samples."""
        return self._scrapes.read("alerts", self._read) or []

    def _read(self) -> list[Metric]:
        with self._pool.connection() as connection:
            counts = count_decisions(connection)
            gauges = count_behind(connection), read_lateness(connection)
            blind_series = count_blind(connection)
        evaluations, firings, behind, lateness, blind = families = self.describe()
        assert isinstance(evaluations, CounterMetricFamily)
        assert isinstance(firings, CounterMetricFamily)
        for timeframe, count in counts.items():
            evaluations.add_metric((timeframe, "known"), count["evaluations"] - count["unknown"])
            evaluations.add_metric((timeframe, "unknown"), count["unknown"])
            firings.add_metric((timeframe, "live"), count["firings"] - count["late"] - count["suppressed"])
            firings.add_metric((timeframe, "late"), count["late"])
            firings.add_metric((timeframe, "suppressed"), count["suppressed"])
        for family, values in ((behind, gauges[0]), (lateness, gauges[1])):
            assert isinstance(family, GaugeMetricFamily)
            for timeframe in counts:
                family.add_metric((timeframe,), values.get(timeframe, 0.0))
        assert isinstance(blind, GaugeMetricFamily)
        for timeframe in TIMEFRAMES:  # also those of which nothing was ever decided
            blind.add_metric((timeframe,), blind_series.get(timeframe, 0))
        return families
