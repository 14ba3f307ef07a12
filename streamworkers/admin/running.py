"""What runs right now: Redis' pending entries, joined with what supervisors report of the calls of their workers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from streamworkers.engine.redis.entry import Entry, split_entry_id, unpack_entry
from streamworkers.engine.redis.heartbeats import CallStatus, SupervisorStatus, WorkerStatus
from streamworkers.engine.redis.inspector import PendingEntry
from streamworkers.engine.redis.lanes import priority_of, queue_of
from streamworkers.engine.redis.streams import Streams
from streamworkers.errors import BadInputError

MOST_PENDING = 5_000  # of each lane of a queue
ItemPlace = Literal["executes", "taken", "orphaned"]
_PLACES: tuple[ItemPlace, ...] = ("executes", "orphaned", "taken")


@dataclass(frozen=True, slots=True)
class RunningItem:
    """An item that a worker has: it executes it, or has taken it and comes to it later.

    An `orphaned` one was with a worker whose supervisor is gone; it is requeued when its lease expires. `since` is when
    the call with it began, and `limit_seconds` what the call may take.
    """

    place: ItemPlace
    run_id: int
    seq: int
    job: str
    symbol: str
    timeframe: str | None
    attempt: int
    queue: str
    priority: str
    worker: str
    since: datetime | None
    seconds: float | None
    limit_seconds: float | None


@dataclass(frozen=True, slots=True)
class RunningPicture:
    """The items that workers have, those that are executed for the longest time first.

    `report_seconds` is the age of the oldest report of a supervisor, None without one; `unread` counts the pending
    entries beyond those that were read, and those that are no item.
    """

    items: list[RunningItem]
    report_seconds: float | None
    unread: int


def read_running(streams: Streams) -> RunningPicture:
    """Read what every worker has. Reads at most 5,000 pending entries of each lane of a queue."""
    inspector = streams.inspector
    heartbeats = inspector.read_heartbeats()
    now_ms = inspector.read_clock_ms()
    workers = {
        worker.consumer: (heartbeat, worker) for heartbeat in heartbeats.values() for worker in heartbeat.workers
    }
    items: list[RunningItem] = []
    unread = 0
    for lane in sorted(inspector.list_queues()):
        pending, left = inspector.read_pending(lane, MOST_PENDING)
        found = list(_decode(pending))
        unread += left + len(pending) - len(found)
        items += _place(lane, found, heartbeats, workers, now_ms)
    items.sort(key=lambda item: (_PLACES.index(item.place), -(item.seconds or 0.0), item.run_id, item.seq))
    ages = [max(0, now_ms - heartbeat.written_ms) / 1000 for heartbeat in heartbeats.values() if heartbeat.written_ms]
    return RunningPicture(items, round(max(ages), 1) if ages else None, unread)


def _decode(pending: Sequence[PendingEntry]) -> Iterator[tuple[PendingEntry, Entry]]:
    for each in pending:
        try:
            yield each, unpack_entry(each.packed, len(each.packed), each.entry_id)
        except BadInputError:
            continue


def _place(
    lane: str,
    found: Sequence[tuple[PendingEntry, Entry]],
    heartbeats: Mapping[str, SupervisorStatus],
    workers: Mapping[str, tuple[SupervisorStatus, WorkerStatus]],
    now_ms: int,
) -> Iterator[RunningItem]:
    run_of_call = {(pending.consumer, entry.entry_id): entry.run_id for pending, entry in found}
    for pending, entry in found:
        heartbeat, worker = workers.get(pending.consumer, (None, None))
        place: ItemPlace = "taken"
        if pending.consumer.rpartition(".")[0] not in heartbeats:
            place = "orphaned"
        call = None if worker is None else worker.call
        if call is not None and run_of_call.get((pending.consumer, call.first)) != entry.run_id:
            call = None
        since = limit = None
        if heartbeat is not None and call is not None and _is_in(call, lane, entry):
            place, since, limit = "executes", heartbeat.began_at(call), call.timeout_seconds
        yield RunningItem(
            place,
            entry.run_id,
            entry.seq,
            entry.job,
            entry.symbol,
            entry.timeframe or None,
            entry.attempt,
            queue_of(lane),
            priority_of(lane),
            pending.consumer,
            None if since is None else datetime.fromtimestamp(since, UTC),
            None if since is None else round(max(0.0, now_ms / 1000 - since), 1),
            limit,
        )


def _is_in(call: CallStatus, lane: str, entry: Entry) -> bool:
    """True if an entry of a call's run is one of those that the call has: they follow each other in the stream."""
    first, last = split_entry_id(call.first), split_entry_id(call.last)
    return call.queue == lane and first <= split_entry_id(entry.entry_id) <= last
