"""The end of a batch: commit under the fence, take the entries out, complete the run."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias, TypeVar

import structlog

from streamworkers.database import Connection
from streamworkers.engine.completion import complete_run
from streamworkers.engine.host.report import BatchReport, Reporter
from streamworkers.engine.ledger import rejected as rejected
from streamworkers.engine.ledger import runs as ledger
from streamworkers.engine.ledger.runs import Run
from streamworkers.engine.outcome import Completed, Event
from streamworkers.engine.redis.queue import NO_RUN, Delay, Delivery, Finished
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.worker.decide import Decisions, Task
from streamworkers.errors import RedisUnavailableError

T = TypeVar("T")
Save: TypeAlias = Callable[[Connection, Sequence[Completed]], Iterable[Event]]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class BatchCommitter:
    """Carries decisions out for one consumer. `hold` waits while Redis is away."""

    streams: Streams
    consumer: str
    reporter: Reporter
    hold: Callable[[Exception], None]

    def commit(
        self,
        connection: Connection,
        run: Run,
        save: Save,
        decisions: Decisions,
        started_at: datetime,
        report: BatchReport,
    ) -> None:
        """Close the items and save their results in one transaction, then finish their entries.

        Raises whatever the job's `save` or PostgreSQL raises, in which case nothing has changed, or, when the
        connection was lost at the commit, perhaps everything: checking the items again tells.
        """
        if decisions.dead or decisions.retries:
            decisions, report.fenced = self._still_ours(run, decisions)
        completions, failures = decisions.completions(), decisions.failures()
        self.reporter.committing(run, [update.seq for update in (*completions, *failures)])
        with connection.transaction():
            closed = (
                ledger.complete_items(connection, run, self.consumer, started_at, completions) if completions else set()
            )
            mine = [outcome for task, outcome in decisions.completed if task.entry.seq in closed]
            if mine:
                events = list(save(connection, mine))
                if events:
                    ledger.add_events(connection, events)
                    report.events = len(events)
            moved = ledger.fail_items(connection, run, self.consumer, started_at, failures) if failures else set()
        finished = self._finish_decided(run, decisions, closed | moved, report)
        self.reporter.finished(run, report)
        self._complete_if_last(connection, run, finished)

    def drop(self, connection: Connection, run: Run, entry_ids: Sequence[str]) -> None:
        """Take out entries whose items are closed already."""
        finished = self._finish(run, entry_ids, ())
        self.reporter.finished(run, BatchReport(dropped=len(entry_ids)))
        self._complete_if_last(connection, run, finished)

    def defer(self, run: Run, tasks: Sequence[Task], seconds: float) -> None:
        """Delay entries, for a worker that can execute them."""
        delays = [Delay(task.entry_id, round(seconds * 1000), task.entry.pack()) for task in tasks]
        self._finish(run, (), delays)
        self.reporter.finished(run, BatchReport(snoozed=len(delays)))

    def _still_ours(self, run: Run, decisions: Decisions) -> tuple[Decisions, int]:
        """Without the failures of entries that were taken over: their new owner may succeed. And their number."""
        owned = self._with_backoff(lambda: self.streams.queues.find_owned(run.queue, self.consumer))
        dead = [(task, error) for task, error in decisions.dead if task.entry_id in owned]
        retries = [retry for retry in decisions.retries if retry.task.entry_id in owned]
        lost = len(decisions.dead) + len(decisions.retries) - len(dead) - len(retries)
        return Decisions(decisions.completed, dead, retries), lost

    def defer_unread(self, delivery: Delivery, seconds: float) -> None:
        """Delay an entry that this release cannot read, untouched, for a worker that can."""
        delay = Delay(delivery.entry_id, round(seconds * 1000), delivery.packed)
        self._with_backoff(lambda: self.streams.queues.finish(delivery.queue, self.consumer, NO_RUN, (), [delay]))

    def reject(self, connection: Connection, deliveries: Sequence[Delivery], reason: str) -> None:
        """Keep entries of one queue that are no items of ours in the ledger, and take them out of the queue.

        Should the process die in between, they are kept twice.
        """
        queue, entry_ids = deliveries[0].queue, [delivery.entry_id for delivery in deliveries]
        log.warning("entries_rejected", queue=queue, entries=entry_ids, reason=reason)
        rejected.keep_rejected(connection, queue, deliveries, reason)
        self._with_backoff(lambda: self.streams.queues.discard(queue, self.consumer, entry_ids))
        self.reporter.rejected(queue, len(entry_ids))

    def _complete_if_last(self, connection: Connection, run: Run, finished: Finished) -> None:
        """Ask the ledger whether the run is done when the count in Redis says that it may be.

        The count is a hint: entries that were added twice make it too low, a lost Redis forgets it. So it is set
        right whenever the ledger disagrees, and the reconciler asks for runs that it misses.
        """
        if finished.open_left is None or finished.open_left > 0:
            return
        self._with_backoff(lambda: complete_run(connection, self.streams, run))

    def _finish_decided(self, run: Run, decisions: Decisions, owned: set[int], report: BatchReport) -> Finished:
        done = [task.entry_id for task, _ in (*decisions.completed, *decisions.dead)]
        delays = []
        for retry in decisions.retries:
            seq = retry.task.entry.seq
            if retry.error is not None and seq not in owned:
                done.append(retry.task.entry_id)
                continue
            delays.append(Delay(retry.task.entry_id, round(retry.delay_seconds * 1000), retry.entry.pack()))
        report.completed = sum(task.entry.seq in owned for task, _ in decisions.completed)
        report.failed = sum(task.entry.seq in owned for task, _ in decisions.dead)
        report.snoozed = sum(retry.error is None for retry in decisions.retries)
        report.retried = len(delays) - report.snoozed
        report.fenced += len(done) - report.completed - report.failed
        return self._finish(run, done, delays)

    def _finish(self, run: Run, done: Sequence[str], delays: Sequence[Delay]) -> Finished:
        return self._with_backoff(lambda: self.streams.queues.finish(run.queue, self.consumer, run.id, done, delays))

    def _with_backoff(self, action: Callable[[], T]) -> T:
        while True:
            try:
                return action()
            except RedisUnavailableError as error:
                self.hold(error)
