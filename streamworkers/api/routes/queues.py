"""Routes about the queues of the pool: what is in them, and pausing and resuming one."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import msgspec

from streamworkers.admin import queues as admin
from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.operation import Operation
from streamworkers.api.problem import Conflict, NotFound
from streamworkers.engine.ledger import reports
from streamworkers.engine.ledger.pauses import QueuePause, read_pauses
from streamworkers.engine.redis.inspector import sum_backlogs
from streamworkers.engine.redis.lanes import lanes_of
from streamworkers.errors import QueuePauseError, UnknownNameError


class PauseBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why the queue is paused, for everybody who looks."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=admin.MOST_REASON)]


class PauseView(msgspec.Struct):
    """A queue that is paused, or was until now: since when, by whom and why."""

    queue: str
    paused_at: datetime
    paused_by: str
    reason: str


class QueueView(msgspec.Struct):
    """A queue: its entries by where they are, its dead items, and the age of its oldest entry in seconds.

    `pause` is null, or says since when, by whom and why workers begin nothing of it.
    """

    name: str
    waiting: int
    pending: int
    delayed: int
    dead: int
    oldest_seconds: float
    pause: PauseView | None


class QueueList(msgspec.Struct):
    """The queues that jobs have, or that have entries or dead items, by name."""

    queues: list[QueueView]


def _list_queues(call: ApiCall) -> ApiAnswer:
    """List the queues with their backlogs, and which are paused."""
    streams = call.service.streams
    dead, pauses = reports.count_dead_by_queue(call.connection), read_pauses(call.connection)
    rows = []
    for name in sorted({*admin.list_queue_names(call.connection, streams), *dead, *pauses}):
        lanes = streams.inspector.read_lanes(lanes_of(name))
        backlog = sum_backlogs(each for each, _ in lanes.values())
        places = {"waiting": backlog.waiting, "pending": backlog.pending, "delayed": backlog.delayed}
        age = round(max(each for _, each in lanes.values()), 3)
        pause = pauses[name]._asdict() if name in pauses else None
        rows.append({"name": name, **places, "dead": dead.get(name, 0), "oldest_seconds": age, "pause": pause})
    return ApiAnswer({"queues": rows})


def _pause_queue(call: ApiCall) -> ApiAnswer:
    """Let workers begin nothing of a queue, in all its lanes; what is executed ends normally. 409 if it is paused."""
    streams = call.service.streams
    return _change(
        call,
        lambda queue: admin.record_pause(call.connection, streams, queue, call.body.reason, call.caller.actor),
        lambda queue: streams.queues.set_pauses([queue], [queue]),
    )


def _resume_queue(call: ApiCall) -> ApiAnswer:
    """Let workers go on with a queue; the answer is the pause that has ended. 409 if it is not paused."""
    streams = call.service.streams
    return _change(
        call,
        lambda queue: admin.record_resume(call.connection, streams, queue, call.caller.actor),
        lambda queue: streams.queues.set_pauses([queue], []),
    )


def _change(call: ApiCall, record: Callable[[str], QueuePause], set_flag: Callable[[str], None]) -> ApiAnswer:
    queue = call.path["queue"]
    try:
        pause = record(queue)
    except UnknownNameError:
        raise NotFound("queue", queue) from None
    except QueuePauseError as error:
        raise Conflict(str(error)) from None
    call.after_commit.append(lambda _: set_flag(queue))
    return ApiAnswer(pause._asdict())


QUEUE_OPERATIONS = (
    Operation("GET", "/queues", "List queues", _list_queues, QueueList, object_type="queue"),
    Operation(
        *("POST", "/queues/{queue}/pause", "Pause a queue", _pause_queue, PauseView),
        scope="admin",
        body=PauseBody,
        action="queue.pause",
        object_type="queue",
        problems=(400, 404, 409, 422),
        example={"reason": "the disk is full"},
    ),
    Operation(
        *("POST", "/queues/{queue}/resume", "Resume a queue", _resume_queue, PauseView),
        scope="admin",
        action="queue.resume",
        object_type="queue",
        problems=(404, 409),
    ),
)
