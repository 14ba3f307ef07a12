"""Checks of workers, consumers and queues in Redis."""

from collections.abc import Iterator
from functools import partial

from streamworkers.diagnosis.finding import Finding
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.engine.redis.lanes import lanes_of, list_queues_of, queue_of

LATE_SECONDS = 60.0
_RECLAIM_LIMIT = 100
_PROMOTE_LIMIT = 500


def find_no_worker(snapshot: Snapshot) -> Iterator[Finding]:
    """No worker process is alive."""
    if not snapshot.worker_count:
        why = ": every supervisor is drained, by an order" if snapshot.served_queues else ""
        yield Finding("workers", f"no worker is alive{why}")


def find_unread_queues(snapshot: Snapshot) -> Iterator[Finding]:
    """Queues of installed jobs that have entries and no reader."""
    known = set(snapshot.registry.queues)
    return (finding for lane, finding in _list_unread(snapshot) if queue_of(lane) in known)


def find_unknown_queues(snapshot: Snapshot) -> Iterator[Finding]:
    """Queues that have entries, no reader and no installed job."""
    known = set(snapshot.registry.queues)
    return (finding for lane, finding in _list_unread(snapshot) if queue_of(lane) not in known)


def find_drained_queues(snapshot: Snapshot) -> Iterator[Finding]:
    """Queues whose only supervisors are drained, or about to be."""
    for queue in sorted(list_queues_of(snapshot.served_queues - snapshot.read_queues)):
        lanes = set(lanes_of(queue))
        names = sorted(name for name, each in snapshot.supervisors.items() if lanes & set(each.drained_queues))
        what = f"no worker reads it: {', '.join(names)} {'is' if len(names) == 1 else 'are'} drained or stopping"
        backlog = snapshot.sum_backlog(queue)
        yield Finding(f"queue {queue}", f"{what}; {backlog.waiting} entries wait, {backlog.delayed} are delayed")


def find_missing_groups(snapshot: Snapshot) -> Iterator[Finding]:
    """Streams with entries and without the consumer group."""
    for queue, backlog in snapshot.backlogs.items():
        if backlog.waiting + backlog.pending and snapshot.streams.inspector.read_last_delivered_ms(queue) is None:
            fix = partial(snapshot.streams.queues.ensure_groups, [queue])
            yield Finding(f"queue {queue}", f"it has no consumer group; {_describe_backlog(snapshot, queue)}", fix)


def find_old_items(snapshot: Snapshot) -> Iterator[Finding]:
    """Queues whose oldest entry has waited for too long."""
    limit = snapshot.thresholds.queue_age_seconds
    late = {
        queue: age for queue, age in snapshot.oldest_seconds.items() if age > limit and queue not in snapshot.pauses
    }
    if late:
        ages = ", ".join(f"{queue} {_format_age(age)}" for queue, age in late.items())
        yield Finding("queues", f"items have waited for long: {ages}")


def find_paused_queues(snapshot: Snapshot) -> Iterator[Finding]:
    """Queues of which workers begin nothing, because somebody has paused them."""
    for queue, pause in snapshot.pauses.items():
        since = f"{pause.paused_at.astimezone():%Y-%m-%d %H:%M:%S %Z}"
        waiting = snapshot.sum_backlog(queue).waiting
        yield Finding(
            f"queue {queue}", f"it is paused since {since} by {pause.paused_by}: {pause.reason}; {waiting} entries wait"
        )


def find_overdue_delayed(snapshot: Snapshot) -> Iterator[Finding]:
    """Delayed entries that should have been promoted."""
    for queue in snapshot.backlogs:
        if overdue := snapshot.streams.inspector.count_overdue(queue, round(LATE_SECONDS * 1000)):
            what = f"{overdue} delayed entries are more than {LATE_SECONDS:g} s late"
            yield Finding(f"queue {queue}", what, partial(_promote, snapshot, queue))


def find_dead_consumers(snapshot: Snapshot) -> Iterator[Finding]:
    """Consumers whose supervisor has no heartbeat."""
    lease_ms = snapshot.settings.lease_ms
    for queue in snapshot.backlogs:
        for consumer, pending in snapshot.streams.inspector.read_consumers(queue).items():
            if consumer.rpartition(".")[0] in snapshot.supervisors:
                continue
            silences = snapshot.streams.inspector.read_idle_ms(queue, consumer) if pending else []
            expired = sum(silence >= lease_ms for silence in silences)
            what = f"{pending} entries pending; the lease of {expired} has expired" if pending else "nothing pending"
            # The reclaimer needs up to another lease and its longest pause of 5 s.
            is_transient = queue in snapshot.served_queues and max(silences, default=0) < 2 * lease_ms + 5000
            what += "; a live supervisor of the queue will remove it" if is_transient else ""
            fix = partial(_remove_consumer, snapshot, queue, consumer) if expired or not pending else None
            yield Finding(f"consumer {consumer} of queue {queue}", what, fix, is_transient)


def _list_unread(snapshot: Snapshot) -> Iterator[tuple[str, Finding]]:
    for queue, backlog in snapshot.backlogs.items():
        if backlog.waiting + backlog.pending + backlog.delayed and queue not in snapshot.served_queues:
            what = f"no worker reads it; {_describe_backlog(snapshot, queue)}"
            yield queue, Finding(f"queue {queue}", what)


def _describe_backlog(snapshot: Snapshot, queue: str) -> str:
    backlog = snapshot.backlogs[queue]
    return f"{backlog.waiting} entries wait, {backlog.pending} are pending, {backlog.delayed} are delayed"


def _format_age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.0f} h"


def _promote(snapshot: Snapshot, queue: str) -> None:
    while snapshot.streams.queues.promote(queue, _PROMOTE_LIMIT)[0] == _PROMOTE_LIMIT:
        pass


def _remove_consumer(snapshot: Snapshot, queue: str, consumer: str) -> None:
    """Reclaim what has expired in a queue, then delete a consumer if it has nothing left."""
    cursor = "0-0"
    while True:
        cursor, _ = snapshot.streams.leases.reclaim(queue, "doctor", snapshot.settings.lease_ms, cursor, _RECLAIM_LIMIT)
        if cursor == "0-0":
            break
    snapshot.streams.leases.remove_consumer(queue, consumer)
