"""Completes runs: the ledger decides, and the count in Redis follows it."""

import structlog

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.streams import Streams

log = structlog.get_logger()


def complete_run(connection: Connection, streams: Streams, run: Run) -> int:
    """Close a run if it has no open items; returns how many it has. Safe to repeat."""
    status, open_count = ledger.close_run(connection, run)
    if status is not None:
        log.info("run_completed", run=run.id, job=run.job, status=status)
    streams.queues.set_open_count(run.queue, run.id, open_count)
    return open_count
