"""Finds the open items of stalled runs that a busy queue has lost, and adds them again.

A run is *stalled* if its turn has come and its open items have not become fewer for a while. A scan of the queue then
shows which of them Redis holds nowhere. As long as it finds nothing missing, as with a slow handler, the next scan of
the run waits twice as long.
"""

from dataclasses import dataclass, field
from time import monotonic

from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.completion import complete_run
from streamworkers.engine.enqueue import add_entries
from streamworkers.engine.ledger import Run, UnfinishedRun
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.services.queue_scan import QueueScan

ADD_LIMIT = 20_000


@dataclass(frozen=True, slots=True)
class StallRule:
    """When a scan is worth its cost. The defaults are right for the default lease."""

    stall_seconds: float = 65.0
    longest_pause_seconds: float = 600.0
    entry_max_bytes: int = 16_384

    @classmethod
    def of(cls, settings: Settings) -> "StallRule":
        """Return the rule for a pool: what a dead worker held takes a lease, and a step of the reclaimer, to return."""
        return cls(stall_seconds=2 * settings.lease_seconds + 5.0, entry_max_bytes=settings.entry_max_bytes)


@dataclass(slots=True)
class RunProgress:
    """What was last seen of a run; times by the monotonic clock."""

    count: int | None
    fewer_at: float
    check_at: float
    pause: float
    open_count: int | None = None


@dataclass(slots=True)
class StallDetector:
    """Watches the runs of one queue, and says which are worth counting in the ledger and which are stalled."""

    interval_seconds: float
    rule: StallRule
    _progress: dict[int, RunProgress] = field(default_factory=dict)

    def is_worth_counting(self, run: Run, count: int | None, has_turn: bool) -> bool:
        """True if the ledger should count a run's open items, going by its count in Redis.

        `has_turn` is false while the run's last entry was not read yet, because it waits behind others.
        """
        now = monotonic()
        progress = self._progress.get(run.id)
        if progress is None or progress.count != count:
            open_count = progress.open_count if progress else None
            self._progress[run.id] = RunProgress(count, now, now, self.interval_seconds, open_count)
        elif not has_turn:
            progress.fewer_at = now
        elif now >= progress.check_at:
            return True
        return count is None or count <= 0

    def is_stalled(self, run: Run, open_count: int) -> bool:
        """Record the open items that the ledger counts; True if they have not become fewer for too long."""
        now = monotonic()
        progress = self._progress[run.id]
        if open_count == 0:
            return False
        if progress.open_count is not None and open_count < progress.open_count:
            progress.fewer_at, progress.pause = now, self.interval_seconds
        progress.count = progress.open_count = open_count
        stalls_at = progress.fewer_at + self.rule.stall_seconds
        progress.check_at = now + progress.pause if now >= stalls_at else min(now + progress.pause, stalls_at)
        progress.pause = min(2 * progress.pause, self.rule.longest_pause_seconds)
        return now >= stalls_at

    def forget(self, run_id: int) -> None:
        """Drop what is known of a run."""
        self._progress.pop(run_id, None)

    def forget_all_but(self, run_ids: set[int]) -> bool:
        """Drop what is known of other runs; True if there were any."""
        ended = self._progress.keys() - run_ids
        for run_id in ended:
            del self._progress[run_id]
        return bool(ended)


@dataclass(slots=True)
class LossCheck:
    """A scan of stalled runs, and how far its result has been acted on."""

    scan: QueueScan
    runs: list[UnfinishedRun]
    after_seq: int = -1
    added: int = 0


def add_missing(
    connection: Connection, streams: Streams, scan: QueueScan, unfinished: UnfinishedRun, after_seq: int
) -> tuple[int, int | None]:
    """Add those of the next open items of a run that a scan saw nowhere; returns their number and the last seq.

    The last seq is None at the end of the run. Nothing is added to a run that is being enqueued, or was enqueued since
    the scan began, by a retry, a replay or the reconciler.
    """
    run = unfinished.run
    with ledger.enqueue_lock(connection, run.id, wait=False) as is_free:
        now = ledger.read_unfinished_run(connection, run.id)
        if not is_free or now is None or now.enqueued_ms != unfinished.enqueued_ms:
            return 0, None
        page = ledger.read_open_items(connection, run, after_seq, ADD_LIMIT)
        added = add_entries(streams, run, (entry for entry in page if not scan.has_seen(run.id, entry.seq)))
    return added, page[-1].seq if len(page) == ADD_LIMIT else None


def record_added(connection: Connection, streams: Streams, run: Run) -> None:
    """After the last `add_missing` of a run: correct its count, and note that its turn is still to come."""
    complete_run(connection, streams, run)
    ledger.mark_enqueued(connection, run.id)
