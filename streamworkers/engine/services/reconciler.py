"""Makes Redis agree with the ledger: adds what was lost, completes what was done.

One rule repairs a FLUSHALL, a lost second of the append-only file, a failover and a crash in the middle of an enqueue:
if a queue is empty and the ledger still holds open items of its runs, those items are added again. A run whose enqueue
never finished is added again even while the queue is busy. What a busy queue lost is found by `loss_check`. A small run
that waits in a queue, and whose enqueue did not record it, is recorded. Flags of paused queues follow the ledger too.

An item added twice costs time, never a second effect.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic

from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.completion import complete_in_ledger, complete_run
from streamworkers.engine.enqueue import add_entries
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.ledger import Run, UnfinishedRun
from streamworkers.engine.ledger.pauses import read_pauses
from streamworkers.engine.redis.inspector import Backlog
from streamworkers.engine.redis.lanes import list_queues_of, queue_of
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.services import loss_check
from streamworkers.engine.services.loss_check import (
    LossCheck,
    StallDetector,
    StallRule,
    add_missing,
    record_added,
)
from streamworkers.engine.services.queue_scan import QueueScan, split_for_scans
from streamworkers.logger import get_logger

log = get_logger()
RUN_LIMIT = 200
COUNT_LIMIT = 1_000_000
CHUNKS_A_STEP = 50
FORGET_EVERY = 12
_STALE_SECONDS = 30.0


@dataclass(slots=True)
class _Pass:
    """One pass over the unfinished runs of a queue, by id, in as many steps as it takes."""

    before: datetime
    backlog: Backlog | None = None
    after_id: int = 0
    added_to: dict[int, int] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    stalled: list[UnfinishedRun] = field(default_factory=list)


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
        self._detectors = {queue: StallDetector(interval_seconds, self._rule) for queue in queues}
        self._passes: dict[str, _Pass] = {}
        self._loss_checks: dict[str, LossCheck] = {}
        self._steps = 0
        self._stepped_at = monotonic()

    def run_once(self) -> float | None:
        """Do a step for each queue; returns 0 while there is more. While all runs are done it hardly asks Redis."""
        if monotonic() - self._stepped_at > _STALE_SECONDS + 2 * self.interval_seconds:
            # Another process held the lease meanwhile: what this one had begun to find out is out of date.
            self._passes.clear()
            self._loss_checks.clear()
        more = False
        with self._pool.connection() as connection:
            # First of all: what is added again to a paused queue must not be begun.
            self._streams.queues.set_pauses(list_queues_of(self._queues), read_pauses(connection))
            for queue in self._queues:
                step = self._continue_loss_check if queue in self._loss_checks else self._continue_pass
                more = step(connection, queue) or more
        self._steps += 1
        self._stepped_at = monotonic()
        return 0.0 if more else None

    def _continue_pass(self, connection: Connection, queue: str) -> bool:
        """Examine the next runs of a queue; True if there is more to do."""
        current = self._passes.get(queue)
        if current is None:
            current = self._passes[queue] = _Pass(ledger.read_moment_before(connection, self._quiet_seconds))
        runs = ledger.read_unfinished_runs(connection, queue, current.before, current.after_id, RUN_LIMIT)
        if runs:
            # A run of this pass had all its entries in the queue before this: open and in an empty queue, it is lost.
            current.backlog = current.backlog or self._streams.inspector.read_backlog(queue)
            if not self._examine(connection, current, runs) or len(runs) == RUN_LIMIT:
                return True
        del self._passes[queue]
        self._forget_ended(connection, queue, current.seen)
        if stalled := next(split_for_scans(current.stalled), None):
            scan = QueueScan(self._streams, queue, [run for run, _ in stalled], self._rule.entry_max_bytes)
            self._loss_checks[queue] = LossCheck(scan, stalled)
        return bool(stalled)

    def _examine(self, connection: Connection, current: _Pass, runs: Sequence[UnfinishedRun]) -> bool:
        """Repair or watch each of these runs; False if the step has done its share before the last one."""
        assert current.backlog is not None
        queue, backlog = runs[0].run.queue, current.backlog
        counts = self._streams.inspector.read_open_counts_of(queue, [run.id for run, _ in runs])
        last_ms = self._streams.inspector.read_last_delivered_ms(queue) or 0
        detector = self._detectors[queue]
        to_add, to_count = loss_check.ADD_LIMIT, COUNT_LIMIT
        waiting = {run.id for run, _ in runs if run.is_unrecorded and counts[run.id] and backlog.total > 0}
        if waiting:
            ledger.mark_waiting(connection, waiting)
        for unfinished in runs:
            run, enqueued_ms = unfinished
            current.seen.add(run.id)
            if backlog.total == 0 or (enqueued_ms is None and run.id not in waiting):
                to_add -= self._add_again(connection, current, run, to_add)
                if to_add <= 0:
                    return False
            elif to_count > 0:
                has_turn = backlog.waiting <= 0 or (enqueued_ms is not None and last_ms > enqueued_ms)
                if detector.is_worth_counting(run, counts[run.id], has_turn):
                    to_count -= run.item_count
                    if detector.is_stalled(run, complete_run(connection, self._streams, run)):
                        current.stalled.append(unfinished)
            current.after_id = run.id
        return True

    def _add_again(self, connection: Connection, current: _Pass, run: Run, limit: int) -> int:
        """Add the next open items of a run again, unless it is being enqueued; returns `limit` if there may be more."""
        if run.id not in current.added_to:
            with ledger.enqueue_lock(connection, run.id, wait=False) as is_free:
                pass
            # Not within the lock, whose transaction would keep the row of the run from everybody else. Redis must not
            # have a count of its items before it has them.
            if not is_free:
                return 0
            if complete_in_ledger(connection, [run])[run.id] == 0:
                self._streams.queues.set_open_count(run.queue, run.id, 0)
                return 0
        if run.is_small:
            limit = run.item_count + 1  # in one step, as by an enqueue
        with ledger.enqueue_lock(connection, run.id, wait=False) as is_free:
            if not is_free:
                return 0
            last_seq = current.added_to.pop(run.id, None)
            if last_seq is None:
                self._streams.queues.set_open_count(run.queue, run.id, 0)
            page = ledger.read_open_items(connection, run, -1 if last_seq is None else last_seq, limit)
            self._count_added(run, add_entries(self._streams, run, iter(page)), "lost")
            if len(page) == limit:
                current.added_to[run.id] = page[-1].seq
            else:
                ledger.mark_enqueued(connection, run.id)
            return len(page)

    def _continue_loss_check(self, connection: Connection, queue: str) -> bool:
        """Continue the scan, or add what it did not see of its next run; True until all is done."""
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
            record_added(connection, self._streams, unfinished.run)
            self._detectors[queue].forget(unfinished.run.id)
        check.runs.pop(0)
        check.after_seq, check.added = -1, 0
        if not check.runs:
            del self._loss_checks[queue]
        return bool(check.runs)

    def _count_added(self, run: Run, added: int, reason: str) -> None:
        if added:
            self._metrics.reconciled.labels(queue_of(run.queue)).inc(added)
            log.warning("items_added_again", run=run.id, queue=run.queue, count=added, reason=reason)

    def _forget_ended(self, connection: Connection, queue: str, seen: set[int]) -> None:
        """At the end of a pass: drop what is kept of runs that have ended, but not of runs just enqueued."""
        has_ended = self._detectors[queue].forget_all_but(seen)
        if has_ended or self._steps % FORGET_EVERY == 0:
            counted = self._streams.inspector.read_open_counts(queue).keys()
            for run_id in counted - ledger.find_open_runs(connection, queue, list(counted)):
                self._streams.queues.set_open_count(queue, run_id, 0)
