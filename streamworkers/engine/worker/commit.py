"""The end of batches: commit under the fence, remove the entries, complete the runs."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import Context as ContextVars
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias, TypeVar

import psycopg

from streamworkers.database import Connection, lend
from streamworkers.engine import ledger
from streamworkers.engine.completion import complete_runs
from streamworkers.engine.ledger import Run
from streamworkers.engine.outcome import Completed, Event
from streamworkers.engine.protocol import BatchReport, Reporter
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.redis.queue import NO_RUN, Delay, Delivery, Finished, FinishedBatch
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.worker.call_hooks import CallHooks
from streamworkers.engine.worker.call_log import WatchedList, logging_call
from streamworkers.engine.worker.decide import Decisions
from streamworkers.engine.worker.session import SaveError, call_user_code, require_open_transaction
from streamworkers.engine.worker.unfinished import CommittedBatch, ExecutedBatch, Unfinished
from streamworkers.errors import RedisUnavailableError
from streamworkers.faults import is_transient
from streamworkers.logger import get_logger

T = TypeVar("T")
Save: TypeAlias = Callable[[Connection, Sequence[Completed]], Iterable[Event]]
log = get_logger()


@dataclass(frozen=True, slots=True)
class BatchCommitter:
    """Carries decisions out for one consumer.

    A commit is one transaction of one run; only batches without anything to save share one. `finish` ends all since the
    last time in one step, so that small runs share its cost. `hold` waits while Redis cannot be used. `ending_children`
    ends processes that user code of a run leaves behind. `hooks` note commits.
    """

    streams: Streams
    consumer: str
    reporter: Reporter
    hold: Callable[[Exception], None]
    ending_children: Callable[[Run], AbstractContextManager[None]] = lambda _: nullcontext()
    unfinished: Unfinished = field(default_factory=Unfinished)
    hooks: CallHooks = field(default_factory=CallHooks)

    def commit(
        self,
        connection: Connection,
        run: Run,
        save: Save,
        decisions: Decisions,
        started_at: datetime,
        report: BatchReport,
    ) -> set[int]:
        """Close the items and save their results in one transaction; returns the seqs that this call moved.

        Raises SaveError for a failure of the job's `save`, else what PostgreSQL raises. Nothing has changed then, or,
        if the connection was lost at the commit, perhaps everything: checking the items again tells which.
        """
        completions, failures, stops = decisions.completions(), decisions.failures(), decisions.stops()
        is_saved = False
        try:
            with connection.transaction():
                if stops:
                    ledger.lock_run(connection, run.id)
                with _charge_data():
                    closed = ledger.complete_items(connection, run, self.consumer, started_at, completions)
                mine = [outcome for entry, outcome in decisions.completed if entry.seq in closed]
                if mine:
                    self.reporter.save_started()
                    with self.ending_children(run), self.hooks.phase("save"):
                        report.events = _save(connection, run, save, mine, self.hooks.context)
                self.reporter.committing(run, [update.seq for update in (*completions, *failures, *stops)])
                moved = ledger.fail_items(connection, run, self.consumer, started_at, failures) if failures else set()
                moved |= ledger.stop_run(connection, run, self.consumer, started_at, stops) if stops else set()
                is_saved = bool(mine)
                self._commit_lazily_if_possible(connection, decisions, report)
        except psycopg.Error as error:
            # What is checked only at the commit, such as a deferred trigger, is a part of what `save` did.
            if is_saved and not connection.broken and not is_transient(error):
                raise SaveError(error) from error
            raise
        return closed | moved

    def commit_executed(self, connection: Connection, batches: Sequence[ExecutedBatch]) -> None:
        """Close the items of batches without anything to save, in one transaction. Raises what PostgreSQL raises."""
        for batch in batches:
            self.reporter.committing(batch.call.run, batch.decisions.seqs())
        completions = [
            ledger.Completions(batch.call.run, batch.started_at, batch.decisions.completions()) for batch in batches
        ]
        with connection.transaction():
            closed = ledger.complete_items_of_runs(connection, self.consumer, completions)
        for batch in batches:
            self.add_committed(batch.call.run, batch.decisions, closed[batch.call.run.id], batch.report)

    def _commit_lazily_if_possible(self, connection: Connection, decisions: Decisions, report: BatchReport) -> None:
        """Leave the wait for the disk to `finish`, for this commit and others; what is published must not be lost."""
        if not decisions.only_complete or report.events:
            return
        if self.unfinished.more_follow or self.unfinished.is_lazy:
            ledger.commit_lazily(connection)
            self.unfinished.is_lazy = True

    def add_committed(self, run: Run, decisions: Decisions, moved: set[int], report: BatchReport) -> None:
        """Count a committed batch, and keep it for `finish`."""
        done = [entry.entry_id for entry in decisions.leaving()]
        delays = []
        for retry in decisions.retries:
            if retry.error is not None and retry.entry.seq not in moved:
                done.append(retry.entry.entry_id)
                continue
            delays.append(Delay(retry.entry.entry_id, round(retry.delay_seconds * 1000), retry.next_entry.pack()))
        report.completed = sum(entry.seq in moved for entry, _ in decisions.completed)
        report.failed = sum(entry.seq in moved for entry, _ in (*decisions.dead, *decisions.stopping))
        report.snoozed = sum(retry.error is None for retry in decisions.retries)
        report.retried = len(delays) - report.snoozed
        has_stopped = any(entry.seq in moved for entry, _ in decisions.stopping)
        report.dropped = len(decisions.stopping) - 1 if has_stopped else 0
        report.fenced += len(done) - report.completed - report.failed - report.dropped
        leaving = FinishedBatch(run.id, done, delays)
        self.unfinished.add(CommittedBatch(run, decisions.seqs(), leaving, report, has_stopped))
        self.hooks.note_commit(run, decisions, moved)

    def finish(self, connection: Connection, delivery: Sequence[Delivery] = ()) -> None:
        """Remove or delay the entries of all committed batches, report these, and complete runs that they end.

        `delivery` is what was read last; if the batches hold all of it, Redis has less to do.
        """
        if self.unfinished.is_lazy:
            ledger.wait_for_commits(connection)
        batches = self.unfinished.take_committed()
        for queue in dict.fromkeys(batch.run.queue for batch in batches):
            of_queue = [batch for batch in batches if batch.run.queue == queue]
            self._finish_batches(connection, queue, of_queue, [each.entry_id for each in delivery])

    def _finish_batches(
        self, connection: Connection, queue: str, batches: Sequence[CommittedBatch], delivered: Sequence[str]
    ) -> None:
        leaving = [batch.leaving for batch in batches]
        is_all = len(delivered) == sum(len(each.done) + len(each.delays) for each in leaving)
        finished = self._retry(lambda: self.streams.queues.finish(queue, leaving, delivered if is_all else ()))
        for batch in batches:
            self.reporter.finished(batch.run, batch.seqs, batch.report)
        runs = [
            batch.run
            for batch, each in zip(batches, finished, strict=True)
            if batch.has_stopped_run or _may_be_last(each)
        ]
        self._complete(connection, runs)

    def keep_owned(self, run: Run, decisions: Decisions, report: BatchReport) -> Decisions:
        """Leave out the failures of entries that were requeued: their new owner may succeed."""
        if decisions.only_complete:
            return decisions
        owned = self._retry(lambda: self.streams.queues.find_owned(run.queue, self.consumer))
        dead = [(entry, outcome) for entry, outcome in decisions.dead if entry.entry_id in owned]
        retries = [retry for retry in decisions.retries if retry.entry.entry_id in owned]
        stopping = [(entry, outcome) for entry, outcome in decisions.stopping if entry.entry_id in owned]
        kept = Decisions(decisions.completed, dead, retries, stopping)
        report.fenced = len(list(decisions.entries())) - len(list(kept.entries()))
        return kept

    def drop(self, connection: Connection, run: Run, entries: Sequence[Entry]) -> None:
        """Remove entries whose items are closed already."""
        finished = self._finish(run, [entry.entry_id for entry in entries], ())
        self.reporter.finished(run, [entry.seq for entry in entries], BatchReport(dropped=len(entries)))
        self._complete(connection, [run] if _may_be_last(finished) else [])

    def defer(self, run: Run, entries: Sequence[Entry], seconds: float) -> None:
        """Delay entries, for a worker that can execute them."""
        delays = [Delay(entry.entry_id, round(seconds * 1000), entry.pack()) for entry in entries]
        self._finish(run, (), delays)
        self.reporter.finished(run, [entry.seq for entry in entries], BatchReport(snoozed=len(delays)))

    def delay(self, run: Run, delays: Sequence[tuple[Entry, float]], limits: Sequence[str]) -> None:
        """Delay entries by so many seconds each because of limits of their job, one name for each entry."""
        words = [
            Delay(entry.entry_id, round(seconds * 1000), entry._replace(left_ms=0).pack()) for entry, seconds in delays
        ]
        self._finish(run, (), words)
        counts = Counter(limits)
        log.debug("items_limited", run=run.id, job=run.job, limits=dict(counts))
        self.reporter.finished(run, [entry.seq for entry, _ in delays], BatchReport(limited=list(counts.items())))

    def defer_unread(self, delivery: Delivery, seconds: float) -> None:
        """Delay an entry that this release cannot read, unchanged, for a worker that can."""
        delay = Delay(delivery.entry_id, round(seconds * 1000), delivery.packed)
        batch = FinishedBatch(NO_RUN, (), [delay])
        self._retry(lambda: self.streams.queues.finish(delivery.queue, [batch]))

    def reject(self, connection: Connection, deliveries: Sequence[Delivery], reason: str) -> None:
        """Keep entries of one queue that belong to no item in the ledger, and remove them from the queue.

        If the process dies in between, they are kept twice.
        """
        queue, entry_ids = deliveries[0].queue, [delivery.entry_id for delivery in deliveries]
        log.warning("entries_rejected", queue=queue, entries=entry_ids, reason=reason)
        ledger.keep_rejected(connection, queue, deliveries, reason)
        self._retry(lambda: self.streams.queues.discard(queue, entry_ids))
        self.reporter.rejected(queue, len(entry_ids))

    def _complete(self, connection: Connection, runs: Sequence[Run]) -> None:
        if runs:
            self._retry(lambda: complete_runs(connection, self.streams, list({run.id: run for run in runs}.values())))

    def _finish(self, run: Run, done: Sequence[str], delays: Sequence[Delay]) -> Finished:
        batch = FinishedBatch(run.id, done, delays)
        return self._retry(lambda: self.streams.queues.finish(run.queue, [batch]))[0]

    def _retry(self, action: Callable[[], T]) -> T:
        while True:
            try:
                return action()
            except RedisUnavailableError as error:
                self.hold(error)


def _may_be_last(finished: Finished) -> bool:
    """True if the count in Redis says that the ledger should be asked whether the run is done.

    The count is a hint: entries that were added twice make it too low, a lost Redis forgets it. It is corrected
    whenever the ledger disagrees, and the reconciler completes runs that it misses.
    """
    return finished.open_left is not None and finished.open_left <= 0


def _save(
    connection: Connection, run: Run, save: Save, completed: Sequence[Completed], context: ContextVars | None
) -> int:
    """Call the job's `save` in a context and add its events to the outbox; returns their number. Raises SaveError."""

    def call() -> list[Event]:
        with logging_call(run.id, run.job, [outcome.item for outcome in completed]):
            return list(save(lend(connection), WatchedList(completed, lambda outcome: outcome.item)))

    try:
        events = call_user_code(connection, call, in_save=True, context=context)
        # A transaction that cannot be committed would be rolled back without an error.
        require_open_transaction(connection)
    except SystemExit:
        raise
    except BaseException as error:
        raise SaveError(error) from error
    if events:
        with _charge_data():
            ledger.add_events(connection, events)
    return len(events)


@contextmanager
def _charge_data() -> Iterator[None]:
    """Raise SaveError for a value of user code that JSON or PostgreSQL cannot hold."""
    try:
        yield
    except (TypeError, ValueError, RecursionError, psycopg.DataError) as error:
        raise SaveError(error) from error
