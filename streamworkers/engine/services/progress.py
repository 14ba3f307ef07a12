"""Writes how far the running runs of some queues are, for those who follow them."""

import time
from collections.abc import Mapping, Sequence

from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine.ledger import run_events

_MOST_RUNS = 100
# Counting the items of a large run costs PostgreSQL time that workers need: at most a fiftieth of it is used.
_REST = 50


class ProgressFollower:
    """Writes an event with the counts of each running run, at most once a second, and only when they have changed."""

    name = "progress"
    interval_seconds = 2.0

    def __init__(self, pool: "ConnectionPool[Connection]", queues: Sequence[str]) -> None:
        self.scope = ",".join(queues)
        self._pool = pool
        self._queues = queues
        self._after_id = 0

    def run_once(self) -> float | None:
        """Count the items of at most `_MOST_RUNS` runs; returns a short pause while there are any."""
        began = time.monotonic()
        with self._pool.connection() as connection:
            counts = run_events.count_running(connection, self._queues, self._after_id, _MOST_RUNS)
            if begun := [(run_id, data) for run_id, data in counts if _is_begun(data)]:
                run_events.write_progress(connection, begun)
        self._after_id = counts[-1][0] if len(counts) == _MOST_RUNS else 0
        return max(run_events.PROGRESS_SECONDS, _REST * (time.monotonic() - began)) if counts else None


def _is_begun(counts: Mapping[str, int]) -> bool:
    return any(count for state, count in counts.items() if state != "items")
