"""Publishes events that were committed with their results: at least once, in the order of their ids."""

from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.host.metrics import ServiceMetrics
from streamworkers.engine.redis.streams import Streams

LIMIT = 500


class OutboxRelay:
    """Moves events from the table `outbox` to their Pub/Sub channels."""

    name = "outbox"
    scope = "all"
    interval_seconds = 2.0

    def __init__(self, pool: "ConnectionPool[Connection]", streams: Streams, metrics: ServiceMetrics) -> None:
        self._pool = pool
        self._streams = streams
        self._metrics = metrics

    def run_once(self) -> float | None:
        """Publish up to LIMIT events; returns 0 while there are more.

        Events are deleted once all of them are published: a crash in between publishes them again, with the same
        `event_id`.
        """
        with self._pool.connection() as connection, connection.transaction():
            events = ledger.take_events(connection, LIMIT)
            if events:
                self._streams.publish(events)
        for event in events:
            self._metrics.events_published.labels(event.channel).inc()
        return 0.0 if len(events) == LIMIT else None
