"""Delayed entries come back when they are due."""

from consumer import Consumer
from harness import start_run
from streamworkers.database import Connection
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.promoter import Promoter


def test_the_promoter_says_when_the_next_entry_is_due(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, metrics: PoolMetrics
) -> None:
    promoter = Promoter(streams, ["tests"], metrics)
    assert promoter.run_once() is None
    start_run(connection, streams, registry, "snoozing", "A", parameters={"ready_at": 32503680000})
    consumer.work()
    pause = promoter.run_once()
    assert pause is not None
    assert pause > 60
    streams.client.raw.delete(streams.keys.delayed("tests"))
