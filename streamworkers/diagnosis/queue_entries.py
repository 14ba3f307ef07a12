"""Compares the entries of one queue with the items of the ledger."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger import Run, UnfinishedRun
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.services.queue_scan import QueueScan, split_for_scans

_RUN_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Stranded:
    """A run with open items that are nowhere in its queue."""

    unfinished: UnfinishedRun
    scan: QueueScan
    missing: int


@dataclass(slots=True)
class QueueEntries:
    """What was found in a queue, and what is missing from it.

    `of_closed_items`, `of_ended_runs` and `malformed` count entries that belong to no open item. `scans` are kept for
    the second look.
    """

    scans: list[QueueScan] = field(default_factory=list)
    stranded: list[Stranded] = field(default_factory=list)
    of_closed_items: int = 0
    of_ended_runs: int = 0
    malformed: int = 0


def read_queue_entries(
    connection: Connection, streams: Streams, settings: Settings, queue: str, earlier: Sequence[QueueScan]
) -> QueueEntries:
    """Scan a queue for the items of all its open runs, except those just enqueued.

    An item that one of the `earlier` scans saw is not missing.
    """
    found = QueueEntries()
    others = Counter[int]()
    runs = _list_unfinished(connection, queue, settings.reconcile_seconds)
    for portion in split_for_scans(runs) if runs else [[]]:
        scan = QueueScan(streams, queue, [run for run, _ in portion], settings.entry_max_bytes)
        scan.finish()
        found.scans.append(scan)
        others, found.malformed = scan.other_runs, scan.malformed
        missing_now = {}
        for run, _ in portion:
            held, missing_now[run.id] = _count_open(connection, scan, run)
            found.of_closed_items += scan.count_seen(run.id) - held
        for earlier_scan in earlier:
            scan.add_seen(earlier_scan)
        for unfinished in portion:
            run = unfinished.run
            missing = missing_now[run.id] and _count_open(connection, scan, run)[1]
            if missing and _is_undisturbed(connection, unfinished):
                found.stranded.append(Stranded(unfinished, scan, missing))
    known = {run.id for run, _ in runs}
    known |= ledger.find_open_runs(connection, queue, list(others.keys() - known))
    found.of_ended_runs = sum(count for run_id, count in others.items() if run_id not in known)
    return found


def _list_unfinished(connection: Connection, queue: str, reconcile_seconds: float) -> list[UnfinishedRun]:
    """The open runs of a queue, except those just enqueued."""
    before = ledger.read_moment_before(connection, reconcile_seconds)
    runs: list[UnfinishedRun] = []
    while True:
        page = ledger.read_unfinished_runs(connection, queue, before, runs[-1].run.id if runs else 0, _RUN_PAGE)
        runs += page
        if len(page) < _RUN_PAGE:
            return runs


def _count_open(connection: Connection, scan: QueueScan, run: Run) -> tuple[int, int]:
    """The number of a run's open items that a scan saw, and of those that it did not see."""
    counts = [0, 0]
    for item in ledger.iterate_open_items(connection, run):
        counts[0 if scan.has_seen(run.id, item.seq) else 1] += 1
    return counts[0], counts[1]


def _is_undisturbed(connection: Connection, unfinished: UnfinishedRun) -> bool:
    """True if no process is enqueuing a run or has done so since the run was read."""
    run_id = unfinished.run.id
    with ledger.enqueue_lock(connection, run_id, wait=False) as is_free:
        now = ledger.read_unfinished_run(connection, run_id)
        return is_free and now is not None and now.enqueued_ms == unfinished.enqueued_ms
