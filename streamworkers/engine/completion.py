"""The end of a run: the ledger decides, and the count in Redis is set to what the ledger says."""

import structlog

from streamworkers.database import Connection
from streamworkers.engine.ledger import transitions as run_changes
from streamworkers.engine.ledger.runs import Run
from streamworkers.engine.redis.streams import Streams

log = structlog.get_logger()


def complete_run(connection: Connection, streams: Streams, run: Run) -> int:
    """Close a run if none of its items is open; returns how many are. Safe to repeat."""
    status, open_count = run_changes.complete_run(connection, run)
    if status is not None:
        log.info("run_completed", run=run.id, job=run.job, status=status)
    streams.queues.set_open_count(run.queue, run.id, open_count)
    return open_count
