"""Checks of runs in the ledger, of their counts in Redis, and of the outbox."""

from collections.abc import Iterator
from functools import partial

from streamworkers.diagnosis.finding import Finding
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.engine import ledger
from streamworkers.engine.completion import complete_run
from streamworkers.engine.enqueue import finish_enqueue
from streamworkers.engine.ledger import transitions
from streamworkers.engine.redis.foreign import text_of
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE


def find_high_failure_rate(snapshot: Snapshot) -> Iterator[Finding]:
    """Too many items of the runs that ended in the window failed."""
    failed, items = count_ended_items(snapshot)
    if items and failed / items > snapshot.thresholds.error_rate:
        yield Finding("executions", describe_executions(snapshot))


def find_runs_to_complete(snapshot: Snapshot) -> Iterator[Finding]:
    """Open runs without open items."""
    for row in snapshot.run_states:
        if row["is_open"] and row["is_prepared"] and not row["open_count"]:
            what = f"it is {row['status']}, and none of its items is open"
            yield Finding(f"run {row['run_id']}", what, partial(_complete, snapshot, row["run_id"]))


def find_ended_runs_with_open_items(snapshot: Snapshot) -> Iterator[Finding]:
    """Ended runs with open items."""
    for row in snapshot.run_states:
        if not row["is_open"]:
            what = f"it is {row['status']}, and {row['open_count']} of its items are open"
            yield Finding(f"run {row['run_id']}", what, partial(_repair_ended, snapshot, row["run_id"]))


def find_unknown_jobs(snapshot: Snapshot) -> Iterator[Finding]:
    """Open runs of jobs that are not installed here."""
    for row in snapshot.run_states:
        if row["is_open"] and row["job"] not in snapshot.registry:
            yield Finding(f"run {row['run_id']}", f"its job is {row['job']!r}")


def find_unprepared_runs(snapshot: Snapshot) -> Iterator[Finding]:
    """Submitted runs that nobody has prepared."""
    for row in snapshot.unprepared_runs:
        what = f"it could be prepared since {row['since']:%Y-%m-%d %H:%M:%S %Z}; its job is {row['job']!r}"
        yield Finding(f"run {row['run_id']}", what)


def find_stale_runs(snapshot: Snapshot) -> Iterator[Finding]:
    """Runs most of whose symbols have no bar at their as-of."""
    for row in snapshot.stale_runs:
        what = f"{row['stale_count']} of its {row['item_count']} symbols ({row['target'][:60]}) are stale:"
        what += f" they have no {row['timeframe']} bar as of {row['as_of'].astimezone(EXCHANGE_ZONE):%Y-%m-%d %H:%M %Z}"
        yield Finding(f"run {row['run_id']}", what)


def find_undecided_items(snapshot: Snapshot) -> Iterator[Finding]:
    """Items that workers execute again and again, because each time a service seems away."""
    for heartbeat in snapshot.supervisors.values():
        for worker in heartbeat.workers:
            for item in worker.undecided:
                what = f"{item.symbol} was executed {item.times} times without a decision by {worker.consumer}"
                yield Finding(f"item {item.run_id}:{item.seq}", f"{what}: {item.error}")


def find_stale_counts(snapshot: Snapshot) -> Iterator[Finding]:
    """Find counts in Redis of runs that are not open."""
    for queue in snapshot.backlogs:
        counted = snapshot.streams.inspector.read_open_counts(queue)
        is_read = queue in snapshot.served_queues
        for run_id in sorted(counted.keys() - ledger.find_open_runs(snapshot.connection, queue, list(counted))):
            what = f"Redis counts {counted[run_id]} open items of it in queue {queue}"
            what += "; a supervisor deletes the count within about a minute" if is_read else ""
            yield Finding(f"run {run_id}", what, partial(_delete_count, snapshot, queue, run_id), is_transient=is_read)
        for field in snapshot.streams.inspector.find_foreign_counts(queue):
            what = f"the field {text_of(field)!r} among the counts of queue {queue} is none: another program wrote it"
            yield Finding(f"queue {queue}", what, partial(snapshot.streams.queues.delete_count, queue, field))


def find_late_events(snapshot: Snapshot) -> Iterator[Finding]:
    """Events that have waited in the outbox for too long."""
    if late := snapshot.late_events:
        fix = partial(_publish, snapshot) if snapshot.relay else None
        yield Finding(
            "outbox", f"{late} events have waited for more than {snapshot.thresholds.outbox_seconds:g} s", fix
        )


def count_ended_items(snapshot: Snapshot) -> tuple[int, int]:
    """The failed items, and all items, of the runs that ended in the window."""
    failed = sum(row["items_failed"] or 0 for row in snapshot.run_statistics)
    return failed, failed + sum(row["items_completed"] or 0 for row in snapshot.run_statistics)


def describe_executions(snapshot: Snapshot) -> str:
    """How many runs and items of the window succeeded."""
    runs = sum(row["runs"] for row in snapshot.run_statistics)
    succeeded = sum(row["succeeded"] for row in snapshot.run_statistics)
    failed, items = count_ended_items(snapshot)
    return f"{succeeded} of {runs} runs and {items - failed} of {items} items succeeded"


def _complete(snapshot: Snapshot, run_id: int) -> None:
    run = ledger.load_run(snapshot.connection, run_id)
    if run is not None and run.is_open:
        complete_run(snapshot.connection, snapshot.streams, run)


def _repair_ended(snapshot: Snapshot, run_id: int) -> None:
    run = ledger.load_run(snapshot.connection, run_id)
    if run is not None and transitions.repair_ended_run(snapshot.connection, run):
        finish_enqueue(snapshot.connection, snapshot.streams, run, ledger.iterate_open_items(snapshot.connection, run))


def _delete_count(snapshot: Snapshot, queue: str, run_id: int) -> None:
    if not ledger.find_open_runs(snapshot.connection, queue, [run_id]):
        snapshot.streams.queues.set_open_count(queue, run_id, 0)


def _publish(snapshot: Snapshot) -> None:
    assert snapshot.relay is not None
    while snapshot.relay.run_once() == 0.0:
        pass
