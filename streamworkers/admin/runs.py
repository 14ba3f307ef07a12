"""Operations on runs: cancel, retry, replay, purge. Each changes the ledger first, then Redis."""

from collections.abc import Iterable, Sequence

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import finish_enqueue
from streamworkers.engine.ledger import Run
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.redis.streams import Streams
from streamworkers.errors import BadInputError, UnknownNameError


def require_run(connection: Connection, run_id: int) -> Run:
    """Return the run with this id. Raises UnknownNameError if there is none."""
    run = ledger.load_run(connection, run_id)
    if run is None:
        newest = ledger_reports.list_runs(connection, job=None, status=None, limit=20)
        raise UnknownNameError("run", str(run_id), (str(row["run_id"]) for row in newest))
    return run


def cancel(connection: Connection, streams: Streams, run_id: int) -> int:
    """Cancel a run; returns the number of items that were open. Raises BadInputError if the run has ended.

    Workers drop its entries when they read them, and the fence rejects the commit of a handler that is executing.
    """
    run = require_run(connection, run_id)
    count = ledger.cancel_run(connection, run)
    if count is None:
        raise BadInputError(f"run {run_id} is {run.status}, and only a run that is PENDING or RUNNING can be cancelled")
    if run.is_prepared:
        streams.queues.set_open_count(run.queue, run.id, 0)
    return count


def retry(connection: Connection, streams: Streams, run_id: int) -> int:
    """Reopen the failed and cancelled items of a run; returns their number. Raises BadInputError if there are none."""
    run = require_run(connection, run_id)
    return _reopen(connection, streams, run, ("failed", "cancelled"), None)


def replay(connection: Connection, streams: Streams, items: Iterable[tuple[int, int]]) -> int:
    """Reopen dead items, given as (run id, seq), at attempt 1; returns their number."""
    return sum(
        _reopen(connection, streams, require_run(connection, run_id), ("failed",), seqs)
        for run_id, seqs in _by_run(items).items()
    )


def purge(connection: Connection, items: Iterable[tuple[int, int]]) -> int:
    """Cancel dead items, given as (run id, seq), for good; returns their number."""
    return sum(
        ledger.purge_items(connection, require_run(connection, run_id), seqs) for run_id, seqs in _by_run(items).items()
    )


def _reopen(
    connection: Connection, streams: Streams, run: Run, states: Sequence[str], seqs: Sequence[int] | None
) -> int:
    reopened = ledger.reopen_items(connection, run, states, None if seqs is None else list(seqs))
    if not reopened and not run.is_prepared:
        raise BadInputError(f"run {run.id} is {run.status} and never got its items: submit it again")
    if not reopened:
        raise BadInputError(f"run {run.id} has no item that is {' or '.join(states)}")
    wanted = set(reopened)
    finish_enqueue(
        connection, streams, run, (item for item in ledger.iterate_open_items(connection, run) if item.seq in wanted)
    )
    return len(reopened)


def _by_run(items: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    runs: dict[int, list[int]] = {}
    for run_id, seq in items:
        runs.setdefault(run_id, []).append(seq)
    return runs
