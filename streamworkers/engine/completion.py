"""Completes runs: the ledger decides, and the count in Redis follows it."""

from collections.abc import Sequence

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.streams import Streams
from streamworkers.logger import get_logger

log = get_logger()


def complete_run(connection: Connection, streams: Streams, run: Run) -> int:
    """Close a run if it has no open items; returns how many it has. Safe to repeat."""
    return complete_runs(connection, streams, [run])[run.id]


def complete_runs(connection: Connection, streams: Streams, runs: Sequence[Run]) -> dict[int, int]:
    """Close those of some runs of one queue that have no open items; returns how many each has. Safe to repeat."""
    open_counts = complete_in_ledger(connection, runs)
    streams.queues.set_open_counts(runs[0].queue, open_counts)
    return open_counts


def complete_in_ledger(connection: Connection, runs: Sequence[Run]) -> dict[int, int]:
    """Do the same without telling Redis."""
    ended, open_counts = ledger.close_runs(connection, runs)
    for run in runs:
        if run.id in ended:
            log.info("run_completed", run=run.id, job=run.job, status=ended[run.id])
    return open_counts
