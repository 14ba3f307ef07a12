"""Operations on runs: start, cancel, retry, replay, purge. Each changes ledger and audit log first, then Redis."""

from collections.abc import Iterable, Sequence

from streamworkers.actor import LOCAL, Actor
from streamworkers.admin.later_runs import submit_later
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import enqueue, finish_enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger import Run
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError, UnknownNameError


def require_run(connection: Connection, run_id: int) -> Run:
    """Return the run with this id. Raises UnknownNameError if there is none."""
    run = ledger.load_run(connection, run_id)
    if run is None:
        newest = ledger_reports.list_runs(connection, job=None, status=None, limit=20)
        raise UnknownNameError("run", str(run_id), (str(row["run_id"]) for row in newest))
    return run


def start(
    connection: Connection, streams: Streams, registry: Registry, request: RunRequest, actor: Actor = LOCAL
) -> tuple[Run, bool]:
    """Enqueue a run, or submit one that waits or has a webhook, and add a row to the audit log; as `enqueue`."""

    def note(run: Run, is_new: bool) -> None:
        record_submission(connection, actor, run.id, run.job, is_new=is_new)

    if request.must_be_submitted:
        return submit_later(connection, registry, request, note=note)
    return enqueue(connection, streams, registry, request, note=note)


def record_submission(connection: Connection, actor: Actor, run_id: int, job: str, *, is_new: bool) -> None:
    """Add a row about a run that was asked for to the audit log, in the caller's transaction."""
    after = {"job": job, "is_new": is_new}
    record_change(connection, actor, AuditChange("run.submit", "run", str(run_id), after=after))


def cancel(connection: Connection, streams: Streams, run_id: int, actor: Actor = LOCAL) -> int:
    """Cancel a run; returns the number of items that were open. Raises BadInputError if the run has ended.

    Workers drop its entries when they read them, and the fence rejects the commit of a handler that is executing.
    """
    run, count = cancel_in_ledger(connection, run_id, actor)
    forget_open_items(streams, run)
    return count


def cancel_in_ledger(connection: Connection, run_id: int, actor: Actor) -> tuple[Run, int]:
    """Do the ledger's half of `cancel`, for a caller whose transaction holds more."""
    run = require_run(connection, run_id)
    with connection.transaction():
        count = ledger.cancel_run(connection, run)
        if count is None:
            raise BadInputError(
                f"run {run_id} is {run.status}, and only a run that is PENDING or RUNNING can be cancelled"
            )
        _record(connection, actor, "run.cancel", run, {"items": count})
    return run, count


def cancel_for(connection: Connection, run_id: int, reason: str, actor: Actor) -> Run | None:
    """Do the ledger's half of `cancel` for a reason that the run then has; None if the run had ended."""
    run = require_run(connection, run_id)
    with connection.transaction():
        count = ledger.cancel_run(connection, run, reason)
        if count is None:
            return None
        _record(connection, actor, "run.cancel", run, {"items": count}, reason)
    return run


def forget_open_items(streams: Streams, run: Run) -> None:
    """Take the open items of a cancelled run out of the count in Redis, after the commit."""
    if run.is_prepared:
        streams.queues.set_open_count(run.queue, run.id, 0)


def retry(connection: Connection, streams: Streams, run_id: int, actor: Actor = LOCAL) -> int:
    """Reopen the failed and cancelled items of a run; returns their number. Raises BadInputError if there are none."""
    run, seqs = reopen_in_ledger(connection, require_run(connection, run_id), actor, states=("failed", "cancelled"))
    return _add_again(connection, streams, run, seqs)


def replay(connection: Connection, streams: Streams, items: Iterable[tuple[int, int]], actor: Actor = LOCAL) -> int:
    """Reopen dead items, given as (run id, seq), at attempt 1; returns their number."""
    total = 0
    for run_id, seqs in _by_run(items).items():
        run, reopened = reopen_in_ledger(connection, require_run(connection, run_id), actor, seqs=seqs)
        total += _add_again(connection, streams, run, reopened)
    return total


def reopen_in_ledger(
    connection: Connection,
    run: Run,
    actor: Actor,
    *,
    states: Sequence[str] = ("failed",),
    seqs: Sequence[int] | None = None,
) -> tuple[Run, list[int]]:
    """Reopen items of a run, or all in these states; the reconciler adds their entries if nobody else does.

    Returns the run and the seqs. Raises BadInputError if there are none.
    """
    with connection.transaction():
        reopened = ledger.reopen_items(connection, run, states, None if seqs is None else list(seqs))
        if not reopened and not run.is_prepared:
            raise BadInputError(f"run {run.id} is {run.status} and never got its items: submit it again")
        if not reopened:
            raise BadInputError(f"run {run.id} has no item that is {' or '.join(states)}")
        action = "run.retry" if "cancelled" in states else "run.replay"
        _record(connection, actor, action, run, {"items": len(reopened)})
    return run, reopened


def purge(connection: Connection, items: Iterable[tuple[int, int]], actor: Actor = LOCAL) -> int:
    """Cancel dead items, given as (run id, seq), for good; returns their number."""
    total = 0
    for run_id, seqs in _by_run(items).items():
        run = require_run(connection, run_id)
        with connection.transaction():
            purged = ledger.purge_items(connection, run, seqs)
            _record(connection, actor, "run.purge", run, {"items": purged})
        total += purged
    return total


def _record(
    connection: Connection, actor: Actor, action: str, run: Run, after: dict[str, int], reason: str | None = None
) -> None:
    before = {"job": run.job, "status": run.status}
    record_change(connection, actor, AuditChange(action, "run", str(run.id), before, after), reason=reason)


def _add_again(connection: Connection, streams: Streams, run: Run, reopened: Sequence[int]) -> int:
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
