"""Checks that every open item has an entry in Redis, and every entry an open item."""

from collections.abc import Iterator, Sequence
from functools import partial

from streamworkers.diagnosis.finding import Finding
from streamworkers.diagnosis.queue_entries import Stranded
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.engine import ledger
from streamworkers.engine.redis.entry import NewerEntryError, unpack_entry
from streamworkers.engine.redis.queue import Delivery
from streamworkers.engine.services.loss_check import add_missing, record_added
from streamworkers.errors import BadInputError

_DELAYED = "delayed"


def find_stranded_items(snapshot: Snapshot) -> Iterator[Finding]:
    """Open items that are nowhere in Redis."""
    for queue, entries in snapshot.entries.items():
        for stranded in entries.stranded:
            what = f"{stranded.missing} of its open items are nowhere in queue {queue}"
            fix = partial(_add_missing, snapshot, stranded)
            yield Finding(f"run {stranded.unfinished.run.id}", what, fix)


def find_entries_without_items(snapshot: Snapshot) -> Iterator[Finding]:
    """Entries that belong to no open item."""
    for queue, entries in snapshot.entries.items():
        if not entries.of_closed_items + entries.of_ended_runs + entries.malformed:
            continue
        what = (
            f"{entries.of_closed_items} are of closed items of open runs, {entries.of_ended_runs} of runs that have"
            f" ended or are not in the ledger, {entries.malformed} are malformed"
        )
        if queue in snapshot.served_queues:
            what += "; a few at a time are normal while workers run, which drop them"
            yield Finding(f"queue {queue}", what, is_transient=True)
        else:
            yield Finding(f"queue {queue}", what, partial(_remove_orphans, snapshot, queue))


def _add_missing(snapshot: Snapshot, stranded: Stranded) -> None:
    connection, streams = snapshot.connection, snapshot.streams
    total, last_seq = 0, -1
    while True:
        added, next_seq = add_missing(connection, streams, stranded.scan, stranded.unfinished, last_seq)
        total += added
        if next_seq is None:
            break
        last_seq = next_seq
    if total:
        record_added(connection, streams, stranded.unfinished.run)


def _remove_orphans(snapshot: Snapshot, queue: str) -> None:
    """Remove entries without items as a worker would, unless a worker reads the queue by now."""
    streams = snapshot.streams
    supervisors = streams.inspector.read_heartbeats().values()
    if any(queue in (*supervisor.queues, *supervisor.drained_queues) for supervisor in supervisors):
        return
    streams.queues.cut_delayed(queue)
    cursor = 0
    while True:
        cursor, members = streams.inspector.scan_delayed(queue, cursor)
        orphans = _select_orphans(snapshot, [Delivery(queue, _DELAYED, packed) for packed in members])
        streams.queues.remove_entries(queue, [], [orphan.packed for orphan in orphans])
        if cursor == 0:
            break
    after_id = "0-0"
    while page := streams.inspector.scan_stream(queue, after_id):
        streams.queues.remove_entries(queue, [orphan.entry_id for orphan in _select_orphans(snapshot, page)], [])
        after_id = page[-1].entry_id


def _select_orphans(snapshot: Snapshot, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """The entries that belong to no open item; those that belong to no run are first kept in the ledger."""
    connection = snapshot.connection
    orphans: list[Delivery] = []
    rejects: dict[str, list[Delivery]] = {}
    by_run: dict[int, dict[int, list[Delivery]]] = {}
    for delivery in deliveries:
        try:
            entry = unpack_entry(delivery.packed, snapshot.settings.entry_max_bytes)
        except NewerEntryError:
            continue
        except BadInputError as error:
            rejects.setdefault(str(error), []).append(delivery)
        else:
            by_run.setdefault(entry.run_id, {}).setdefault(entry.seq, []).append(delivery)
    for run_id, by_seq in by_run.items():
        run = ledger.load_run(connection, run_id)
        if run is None:
            rejects[f"there is no run {run_id}"] = [each for group in by_seq.values() for each in group]
            continue
        still_open = ledger.read_open_symbols(connection, run, list(by_seq))
        orphans += [each for seq, group in by_seq.items() if seq not in still_open for each in group]
    for reason, rejected_deliveries in rejects.items():
        ledger.keep_rejected(connection, rejected_deliveries[0].queue, rejected_deliveries, reason)
        orphans += rejected_deliveries
    return orphans
