"""Makes Redis agree with the ledger: adds what was lost, completes what was done.

One rule heals a FLUSHALL, a lost second of the append-only file, a failover and a crash in the middle of an enqueue:
when a queue is empty and the ledger still holds open items of its runs, those items are added again. A run whose
enqueue never finished is added again even while the queue is busy.

A queue that is never empty may hide what it lost. So a run is *stalled* whose turn has come and whose open items have
not become fewer for a while, and then a scan tells which of them Redis holds nowhere: those are added again. While
it finds nothing missing, as with a handler that takes long, the next one waits twice as long.

An item added twice costs time, never a second effect.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic

import structlog
from psycopg_pool import ConnectionPool

from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.completion import complete_run
from streamworkers.engine.enqueue import add_entries
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.ledger import runs as ledger
from streamworkers.engine.ledger.runs import Run, Unfinished
from streamworkers.engine.redis.inspector import Backlog
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.services.queue_scan import QueueScan, portions

log = structlog.get_logger()
ADD_LIMIT = 20_000
RUN_LIMIT = 200
COUNT_LIMIT = 1_000_000
CHUNKS_A_STEP = 50
FORGET_EVERY = 12
_STALE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class StallRule:
    """When a scan is worth its cost. The defaults are right for the default lease, and only dearer for others."""

    stall_seconds: float = 65.0
    longest_pause_seconds: float = 600.0
    entry_max_bytes: int = 16_384

    @classmethod
    def of(cls, settings: Settings) -> "StallRule":
        """The rule for a pool: what a dead worker held needs a lease, and a step of the reclaimer, to come back."""
        return cls(stall_seconds=2 * settings.lease_seconds + 5.0, entry_max_bytes=settings.entry_max_bytes)


@dataclass(slots=True)
class _Watch:
    """What was last seen of a run; times by the monotonic clock."""

    count: int | None
    fewer_at: float
    look_at: float
    pause: float
    open_count: int | None = None


@dataclass(slots=True)
class _Round:
    """One pass over the unfinished runs of a queue, by id, in as many steps as it takes."""

    before: datetime
    backlog: Backlog | None = None
    after_id: int = 0
    added_to: dict[int, int] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    stalled: list[Unfinished] = field(default_factory=list)


@dataclass(slots=True)
class _LossCheck:
    """A scan of stalled runs, and how far its result has been acted on."""

    scan: QueueScan
    runs: list[Unfinished]
    after_seq: int = -1
    added: int = 0


class Reconciler:
    """The reconciler of some queues."""

    name = "reconciler"

    def __init__(
        self,
        pool: "ConnectionPool[Connection]",
        streams: Streams,
        queues: Sequence[str],
        interval_seconds: float,
        quiet_seconds: float,
        metrics: PoolMetrics,
        rule: StallRule | None = None,
    ) -> None:
        self.scope = ",".join(queues)
        self.interval_seconds = interval_seconds
        self._pool = pool
        self._streams = streams
        self._queues = queues
        self._quiet_seconds = quiet_seconds
        self._metrics = metrics
        self._rule = rule or StallRule()
        self._watches: dict[str, dict[int, _Watch]] = {queue: {} for queue in queues}
        self._rounds: dict[str, _Round] = {}
        self._loss_checks: dict[str, _LossCheck] = {}
        self._steps = 0
        self._stepped_at = monotonic()

    def run_once(self) -> float | None:
        """A step for each queue, 0 while there is more; asks Redis next to nothing while no run is unfinished."""
        if monotonic() - self._stepped_at > _STALE_SECONDS + 2 * self.interval_seconds:
            # Somebody else had the lease meanwhile: what this one had begun to find out is out of date.
            self._rounds.clear()
            self._loss_checks.clear()
        more = False
        with self._pool.connection() as connection:
            for queue in self._queues:
                step = self._act_on_losses if queue in self._loss_checks else self._go_round
                more = step(connection, queue) or more
        self._steps += 1
        self._stepped_at = monotonic()
        return 0.0 if more else None

    def _go_round(self, connection: Connection, queue: str) -> bool:
        """Look at the next runs of a queue; True when there is more to do."""
        turn = self._rounds.get(queue)
        if turn is None:
            turn = self._rounds[queue] = _Round(ledger.moment_before(connection, self._quiet_seconds))
        runs = ledger.unfinished_runs(connection, queue, turn.before, turn.after_id, RUN_LIMIT)
        if runs:
            # A run of this round had all its entries in the queue before this: open and in an empty one, it is lost.
            turn.backlog = turn.backlog or self._streams.inspector.read_backlog(queue)
            if not self._look_at(connection, turn, runs) or len(runs) == RUN_LIMIT:
                return True
        del self._rounds[queue]
        self._forget_ended(connection, queue, turn.seen)
        if asked := next(portions(turn.stalled), None):
            scan = QueueScan(self._streams, queue, [run for run, _ in asked], self._rule.entry_max_bytes)
            self._loss_checks[queue] = _LossCheck(scan, asked)
        return bool(asked)

    def _look_at(self, connection: Connection, turn: _Round, runs: Sequence[Unfinished]) -> bool:
        """Heal or watch each of these runs; False when the step has done its part before the last one."""
        assert turn.backlog is not None
        queue = runs[0].run.queue
        empty = turn.backlog.waiting + turn.backlog.pending + turn.backlog.delayed == 0
        counts = self._streams.inspector.read_open_counts_of(queue, [run.id for run, _ in runs])
        last_ms = self._streams.inspector.read_last_delivered_ms(queue) or 0
        to_add, to_count = ADD_LIMIT, COUNT_LIMIT
        for unfinished in runs:
            run, enqueued_ms = unfinished
            turn.seen.add(run.id)
            if empty or enqueued_ms is None:
                to_add -= self._add_again(connection, turn, run, to_add)
                if to_add <= 0:
                    return False
            elif to_count > 0:
                has_turn = turn.backlog.waiting <= 0 or last_ms > enqueued_ms
                if self._is_worth_counting(run, counts[run.id], has_turn):
                    to_count -= run.item_count
                    if self._is_stalled(run, complete_run(connection, self._streams, run)):
                        turn.stalled.append(unfinished)
            turn.after_id = run.id
        return True

    def _add_again(self, connection: Connection, turn: _Round, run: Run, limit: int) -> int:
        """Add the next open items of a run again, unless somebody is enqueuing it; `limit` when there may be more."""
        if not ledger.lock_enqueue(connection, run.id, wait=False):
            return 0
        try:
            last_seq = turn.added_to.pop(run.id, None)
            if last_seq is None:
                if complete_run(connection, self._streams, run) == 0:
                    return 0
                self._streams.queues.set_open_count(run.queue, run.id, 0)
            page = ledger.open_items(connection, run, -1 if last_seq is None else last_seq, limit)
            self._count_added(run, add_entries(self._streams, run, iter(page)), "lost")
            if len(page) == limit:
                turn.added_to[run.id] = page[-1].seq
            else:
                ledger.mark_enqueued(connection, run.id)
            return len(page)
        finally:
            ledger.unlock_enqueue(connection, run.id)

    def _is_worth_counting(self, run: Run, count: int | None, has_turn: bool) -> bool:
        """Whether to ask the ledger for a run's open items, by what its count in Redis does."""
        now = monotonic()
        watches = self._watches[run.queue]
        watch = watches.get(run.id)
        if watch is None or watch.count != count:
            open_count = watch.open_count if watch else None
            watches[run.id] = _Watch(count, now, now, self.interval_seconds, open_count)
        elif not has_turn:
            # Its last entry was not read yet: it waits behind others.
            watch.fewer_at = now
        elif now >= watch.look_at:
            return True
        return count is None or count <= 0

    def _is_stalled(self, run: Run, open_count: int) -> bool:
        """Note how many items the ledger says are open; True when they have not become fewer for too long."""
        now = monotonic()
        watch = self._watches[run.queue][run.id]
        if open_count == 0:
            return False
        if watch.open_count is not None and open_count < watch.open_count:
            watch.fewer_at, watch.pause = now, self.interval_seconds
        watch.count = watch.open_count = open_count
        stalls_at = watch.fewer_at + self._rule.stall_seconds
        watch.look_at = now + watch.pause if now >= stalls_at else min(now + watch.pause, stalls_at)
        watch.pause = min(2 * watch.pause, self._rule.longest_pause_seconds)
        return now >= stalls_at

    def _act_on_losses(self, connection: Connection, queue: str) -> bool:
        """Go on with a scan, or add what it did not see of its next run; True until all is done."""
        check = self._loss_checks[queue]
        if not check.scan.step(CHUNKS_A_STEP):
            return True
        unfinished = check.runs[0]
        added, last_seq = add_missing(connection, self._streams, check.scan, unfinished, check.after_seq)
        self._count_added(unfinished.run, added, "stalled")
        check.added += added
        if last_seq is not None:
            check.after_seq = last_seq
            return True
        if check.added:
            note_added(connection, self._streams, unfinished.run)
            self._watches[queue].pop(unfinished.run.id, None)
        check.runs.pop(0)
        check.after_seq, check.added = -1, 0
        if not check.runs:
            del self._loss_checks[queue]
        return bool(check.runs)

    def _count_added(self, run: Run, added: int, reason: str) -> None:
        if added:
            self._metrics.reconciled.labels(run.queue).inc(added)
            log.warning("items_added_again", run=run.id, queue=run.queue, count=added, reason=reason)

    def _forget_ended(self, connection: Connection, queue: str, seen: set[int]) -> None:
        """At the end of a round: drop what is kept of runs that have ended; that of runs just enqueued stays."""
        watches = self._watches[queue]
        ended = watches.keys() - seen
        for run_id in ended:
            del watches[run_id]
        if ended or self._steps % FORGET_EVERY == 0:
            counted = self._streams.inspector.read_open_counts(queue).keys()
            for run_id in counted - ledger.open_run_ids(connection, queue, list(counted)):
                self._streams.queues.set_open_count(queue, run_id, 0)


def add_missing(
    connection: Connection, streams: Streams, scan: QueueScan, unfinished: Unfinished, after_seq: int
) -> tuple[int, int | None]:
    """Add those of the next open items of a run that a scan saw nowhere; returns their number and the last seq.

    The last seq is None at the end of the run. Nothing is added to a run that is being enqueued, or was since the
    scan began, by whoever retried, replayed or healed it.
    """
    run = unfinished.run
    if not ledger.lock_enqueue(connection, run.id, wait=False):
        return 0, None
    try:
        now = ledger.unfinished_run(connection, run.id)
        if now is None or now.enqueued_ms != unfinished.enqueued_ms:
            return 0, None
        page = ledger.open_items(connection, run, after_seq, ADD_LIMIT)
        added = add_entries(streams, run, (item for item in page if not scan.holds(run.id, item.seq)))
    finally:
        ledger.unlock_enqueue(connection, run.id)
    return added, page[-1].seq if len(page) == ADD_LIMIT else None


def note_added(connection: Connection, streams: Streams, run: Run) -> None:
    """After the last of `add_missing`: the count follows the ledger, and the run's turn is yet to come."""
    complete_run(connection, streams, run)
    ledger.mark_enqueued(connection, run.id)
