"""Metrics that are read from Redis at each scrape."""

import pytest

from consumer import Consumer
from harness import start_run
from losses import metric_value
from streamworkers.database import Connection
from streamworkers.engine.host.metrics import BacklogCollector, PoolMetrics
from streamworkers.engine.host.scrape_board import ScrapeBoard
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.engine.registry import Registry


@pytest.fixture
def metrics() -> PoolMetrics:
    return PoolMetrics()


def test_the_backlog_is_read_when_it_is_asked_for_and_left_out_when_it_cannot_be(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, metrics: PoolMetrics
) -> None:
    start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    consumer.read(count=1)
    scrapes = ScrapeBoard()
    metrics.registry.register(BacklogCollector(streams, ["tests"], scrapes))
    assert metric_value(metrics, "queue_entries", queue="tests", state="waiting") == 2
    assert metric_value(metrics, "queue_entries", queue="tests", state="pending") == 1
    away = open_streams("unix:///nowhere/redis.sock", "x")
    assert list(BacklogCollector(away, ["tests"], scrapes).collect()) == []
    assert [(each.who, each.fault.kind) for each in scrapes.own()] == [("collector queues", "away")]
    away.close()
    assert metric_value(metrics, "queue_entries", queue="tests", state="waiting") == 2
    assert scrapes.own() == []
