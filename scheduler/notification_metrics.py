"""The metrics of notifications and of the bot, which schedulers read from PostgreSQL and Redis at each scrape."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine.host.scrape_board import ScrapeBoard
from streamworkers.engine.ledger.processes import read_processes
from streamworkers.notifications.store.notifications import count_rejected
from streamworkers.notifications.store.standing import (
    ENDPOINT_STATES,
    STATES,
    STEPS,
    count_endpoints,
    count_links,
    count_standing,
    read_step_ages,
)

Counts: TypeAlias = Mapping[tuple[str, str], int]


class NotificationCollector(Collector):
    """Reads what waits and what is wrong; gives no samples while PostgreSQL cannot be read."""

    def __init__(self, pool: "ConnectionPool[Connection]", scrapes: ScrapeBoard) -> None:
        self._pool = pool
        self._scrapes = scrapes

    def describe(self) -> list[GaugeMetricFamily]:
        """Return the metrics without samples."""
        families = (
            ("delivery_backlog", "Deliveries that are neither sent nor suppressed, by state", ("channel", "state")),
            (
                "notification_wait_seconds",
                "For how long the oldest has been due at a step: event, notification, waiting or admitted delivery",
                ("step",),
            ),
            (
                "endpoints",
                "Endpoints by state: usable, unverified, off, or rejected by their provider",
                ("channel", "state"),
            ),
            ("rejected_notifications", "Events kept of which no notification could be made", ()),
            ("telegram_links", "Chats that are linked with the bot", ()),
            ("telegram_pollers", "Processes of the bot that get its updates", ()),
        )
        return [GaugeMetricFamily(f"streamworkers_{name}", text, labels=labels) for name, text, labels in families]

    def collect(self) -> Iterable[Metric]:
        """Return the metrics with current samples."""
        return self._scrapes.read("notifications", self._read) or []

    def _read(self) -> list[GaugeMetricFamily]:
        with self._pool.connection() as connection:
            standing, endpoints = count_standing(connection), count_endpoints(connection)
            ages = read_step_ages(connection)
            single = count_rejected(connection)[0], count_links(connection), _count_pollers(connection)
        backlog, waits, places, *others = families = self.describe()
        channels = {channel for channel, _ in (*standing, *endpoints)}
        _fill(backlog, channels, STATES, standing)
        _fill(places, channels - {""}, ENDPOINT_STATES, endpoints)
        for step in STEPS:
            waits.add_metric((step,), ages[step])
        for family, value in zip(others, single, strict=True):
            family.add_metric((), value)
        return families


def _fill(family: GaugeMetricFamily, channels: Iterable[str], states: Iterable[str], counts: Counts) -> None:
    """One sample for each channel and state, 0 too: what was never there cannot be seen to appear."""
    for channel in sorted(channels):
        for state in states:
            family.add_metric((channel, state), counts.get((channel, state), 0))


def _count_pollers(connection: Connection) -> int:
    processes = (each for each in read_processes(connection) if each.kind == "telegram" and not each.is_silent)
    return sum(bool(each.doing.get("polls")) and not each.doing.get("error") for each in processes)
