"""Pausing and resuming queues: the ledger and the audit log first, then the flag in Redis."""

import time

from streamworkers.actor import LOCAL, Actor
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.database import Connection
from streamworkers.engine.ledger import read_job_types
from streamworkers.engine.ledger.pauses import QueuePause, add_pause, read_pauses, remove_pause
from streamworkers.engine.redis.inspector import sum_backlogs
from streamworkers.engine.redis.lanes import lanes_of, list_queues_of
from streamworkers.engine.redis.streams import Streams
from streamworkers.errors import BadInputError, QueuePauseError, UnknownNameError

MOST_REASON = 500
_SETTLE_SECONDS = 1.0  # much longer than a worker takes from a read to its call
_POLL_SECONDS = 0.02


def list_queue_names(connection: Connection, streams: Streams) -> list[str]:
    """Return the queues of the jobs that the pool has, and those that Redis has, by name."""
    of_jobs = {each.queue for each in read_job_types(connection)}
    return sorted({*of_jobs, *list_queues_of(streams.inspector.list_queues())})


def pause_queue(
    connection: Connection, streams: Streams, queue: str, reason: str, actor: Actor = LOCAL
) -> tuple[QueuePause, int]:
    """Pause a queue: workers begin nothing of it any more. Returns the pause, and how many entries are executed still.

    It returns when nothing of the queue is executed, or after a second: what was read before has begun by then, and
    ends as if there were no pause. Raises what `record_pause` raises.
    """
    pause = record_pause(connection, streams, queue, reason, actor)
    streams.queues.set_pauses([queue], [queue])
    deadline = time.monotonic() + _SETTLE_SECONDS
    while (executing := count_executing(streams, queue)) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return pause, executing


def record_pause(connection: Connection, streams: Streams, queue: str, reason: str, actor: Actor) -> QueuePause:
    """Pause a queue in the ledger, and record it in the audit log; the flag in Redis is for the caller to set.

    Raises UnknownNameError, BadInputError for a reason that breaks a rule, and QueuePauseError for a queue that is
    paused already.
    """
    if not (0 < len(reason) <= MOST_REASON and reason.isprintable() and reason.strip()):
        raise BadInputError(f"reason {reason[:80]!r} is not 1 to {MOST_REASON} printable characters")
    _require_queue(connection, streams, queue)
    with connection.transaction():
        pause = add_pause(connection, queue, actor.person, reason)
        if pause is None:
            raise QueuePauseError(
                f"queue {queue!r} is paused already, {describe_pause(read_pauses(connection)[queue])}"
            )
        record_change(connection, actor, AuditChange("queue.pause", "queue", queue, after={"reason": reason}))
    return pause


def resume_queue(connection: Connection, streams: Streams, queue: str, actor: Actor = LOCAL) -> QueuePause:
    """End the pause of a queue and return it. Raises what `record_resume` raises."""
    pause = record_resume(connection, streams, queue, actor)
    streams.queues.set_pauses([queue], [])
    return pause


def record_resume(connection: Connection, streams: Streams, queue: str, actor: Actor) -> QueuePause:
    """End the pause of a queue in the ledger, and record it; the flag in Redis is for the caller to delete.

    Raises UnknownNameError, and QueuePauseError if it is not paused.
    """
    _require_queue(connection, streams, queue)
    with connection.transaction():
        pause = remove_pause(connection, queue)
        if pause is None:
            raise QueuePauseError(f"queue {queue!r} is not paused")
        before = {"reason": pause.reason, "paused_by": pause.paused_by, "paused_at": pause.paused_at.isoformat()}
        record_change(connection, actor, AuditChange("queue.resume", "queue", queue, before=before))
    return pause


def count_executing(streams: Streams, queue: str) -> int:
    """Return how many entries of a queue workers have, in all its lanes."""
    return sum_backlogs(each for each, _ in streams.inspector.read_lanes(lanes_of(queue)).values()).pending


def describe_pause(pause: QueuePause) -> str:
    """Return since when, by whom and why a queue is paused."""
    return f"since {pause.paused_at.astimezone():%Y-%m-%d %H:%M:%S %Z} by {pause.paused_by}: {pause.reason}"


def _require_queue(connection: Connection, streams: Streams, queue: str) -> None:
    known = list_queue_names(connection, streams)
    if queue not in known and queue not in read_pauses(connection):
        raise UnknownNameError("queue", queue, known)
