"""Publishes events that were committed with their results: at least once, in the order of their commits' ids."""

import json

from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine.host.metrics import ServiceMetrics
from streamworkers.engine.redis.streams import Streams

LIMIT = 500


class OutboxRelay:
    """Moves rows of `outbox` to their Pub/Sub channels."""

    name = "outbox"
    scope = "all"
    interval_seconds = 2.0

    def __init__(self, pool: "ConnectionPool[Connection]", streams: Streams, metrics: ServiceMetrics) -> None:
        self._pool = pool
        self._streams = streams
        self._metrics = metrics

    def run_once(self) -> float | None:
        """Publish up to LIMIT events; returns 0 while there are more.

        Rows go when all of them are published: a crash in between publishes them again, with the same `event_id`.
        """
        with self._pool.connection() as connection, connection.transaction():
            rows = connection.execute(
                "DELETE FROM outbox WHERE id IN"
                " (SELECT id FROM outbox ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)"
                " RETURNING id, event_id, channel, payload",
                (LIMIT,),
            ).fetchall()
            messages = [
                (channel, json.dumps({"event_id": str(event_id), **payload}))
                for _, event_id, channel, payload in sorted(rows, key=lambda row: row[0])
            ]
            if messages:
                self._streams.publish(messages)
        for channel, _ in messages:
            self._metrics.events_published.labels(channel).inc()
        return 0.0 if len(rows) == LIMIT else None
