"""Events are published in their order, and kept while nobody can take them."""

import json

import pytest
from psycopg_pool import ConnectionPool

from consumer import Consumer
from harness import start_run, subscribe
from patience import patient
from streamworkers.database import Connection
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.outbox_relay import OutboxRelay
from streamworkers.errors import RedisUnavailableError


def test_events_are_published_in_order_with_an_id_and_leave_the_outbox(
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    metrics: PoolMetrics,
) -> None:
    listener = subscribe(streams, "tests.effects")
    start_run(connection, streams, registry, "ledger_entry", "A", "B")
    consumer.work()
    assert OutboxRelay(pool, streams, metrics).run_once() is None
    messages = [json.loads(listener.get_message(timeout=patient(30))["data"]) for _ in range(2)]
    listener.close()
    assert [message["symbol"] for message in messages] == ["A", "B"]
    assert len({message["event_id"] for message in messages}) == 2
    assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (0,)


def test_events_stay_in_the_outbox_while_redis_is_away(
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    metrics: PoolMetrics,
) -> None:
    start_run(connection, streams, registry, "ledger_entry", "A")
    consumer.work()
    away = open_streams("unix:///nowhere/redis.sock", "x")
    with pytest.raises(RedisUnavailableError):
        OutboxRelay(pool, away, metrics).run_once()
    away.close()
    assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (1,)
