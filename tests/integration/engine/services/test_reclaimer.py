"""Entries whose lease has run out are taken from their owner."""

from consumer import Consumer
from harness import run_status, start_run
from losses import metric_value
from streamworkers.database import Connection
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.reclaimer import Reclaimer


def test_entries_of_a_dead_worker_are_reclaimed_after_their_lease(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    second_consumer: Consumer,
    metrics: PoolMetrics,
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    consumer.read()
    slow = Reclaimer(streams, ["tests"], "me", 60_000, metrics)
    assert slow.run_once() is None
    assert metric_value(metrics, "entries_reclaimed_total", queue="tests") == 0
    Reclaimer(streams, ["tests"], "me", 0, metrics).run_once()
    assert metric_value(metrics, "entries_reclaimed_total", queue="tests") == 2
    second_consumer.work()
    assert run_status(connection, run) == "COMPLETED"
