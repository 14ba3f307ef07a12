"""Takes delivered entries from check to commit: which are worth executing, in which batches, and by whom."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
import structlog

from streamworkers.config import Settings
from streamworkers.database import Connection, is_passing
from streamworkers.engine.host.report import BatchReport
from streamworkers.engine.job import Context, Job, JobParameters
from streamworkers.engine.ledger import runs as ledger
from streamworkers.engine.ledger.runs import ItemUpdate, Run
from streamworkers.engine.outcome import Completed, Event, Failed, Outcome, checked, printable
from streamworkers.engine.redis.entry import NewerEntryError, unpack_entry
from streamworkers.engine.redis.queue import Delivery
from streamworkers.engine.registry import Registry
from streamworkers.engine.worker.commit import BatchCommitter
from streamworkers.engine.worker.decide import Decisions, RetryRule, Task, decide
from streamworkers.errors import BadInputError, PermanentError, RedisUnavailableError

log = structlog.get_logger()
_RUN_CACHE_SIZE = 64
_CANCELLED_CHECK_SECONDS = 1.0
_OTHER_RELEASE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Call:
    """Everything that stays the same for the batches of one run."""

    run: Run
    job: Job[Any]
    context: Context[Any]

    @property
    def connection(self) -> Connection:
        """The connection of this worker, the handler's too."""
        return self.context.connection


@dataclass(frozen=True, slots=True)
class Executor:
    """Executes entries for one consumer. Errors that pass (`is_passing`) leave it with the batch unfinished."""

    settings: Settings
    registry: Registry
    committer: BatchCommitter
    rng: random.Random
    _runs: dict[int, Run] = field(default_factory=dict)
    _parameters: dict[int, JobParameters] = field(default_factory=dict)

    def execute(self, connection: Connection, deliveries: Sequence[Delivery], should_stop: Callable[[], bool]) -> None:
        """Work through what was delivered; what is left when `should_stop` says so stays pending.

        May be called again with the same deliveries after an error that passes: items that were closed meanwhile
        are seen to be closed, and nothing happens to them twice.
        """
        by_id = {delivery.entry_id: delivery for delivery in deliveries}
        for (queue, run_id), tasks in self._by_run(connection, deliveries).items():
            run = self._run(connection, run_id)
            strangers = [task for task in tasks if run is None or run.queue != queue or run.job != task.entry.job]
            if strangers:
                reason = f"there is no run {run_id} of job {strangers[0].entry.job!r} in queue {queue!r}"
                self.committer.reject(connection, [by_id[task.entry_id] for task in strangers], reason)
            if run is not None:
                ours = [task for task in tasks if task not in strangers] if strangers else tasks
                self._execute_run(connection, run, ours, should_stop)

    def _by_run(self, connection: Connection, deliveries: Sequence[Delivery]) -> Mapping[tuple[str, int], list[Task]]:
        """Tasks by queue and run; what is no entry of ours, or of a newer release, goes where it belongs."""
        groups: dict[tuple[str, int], list[Task]] = {}
        for delivery in deliveries:
            try:
                entry = unpack_entry(delivery.packed, self.settings.entry_max_bytes)
            except NewerEntryError as error:
                log.warning("entry_deferred", queue=delivery.queue, entry=delivery.entry_id, reason=str(error))
                self.committer.defer_unread(delivery, _OTHER_RELEASE_SECONDS)
            except BadInputError as error:
                self.committer.reject(connection, [delivery], str(error))
            else:
                groups.setdefault((delivery.queue, entry.run_id), []).append(Task(delivery.entry_id, entry))
        return groups

    def _run(self, connection: Connection, run_id: int) -> Run | None:
        run = self._runs.get(run_id)
        if run is None and (run := ledger.load_run(connection, run_id)) is not None:
            if run.status == "PENDING":
                ledger.mark_running(connection, run_id)
            if len(self._runs) >= _RUN_CACHE_SIZE:
                oldest = next(iter(self._runs))
                del self._runs[oldest]
                self._parameters.pop(oldest, None)
            self._runs[run_id] = run
        return run

    def _execute_run(
        self, connection: Connection, run: Run, tasks: Sequence[Task], should_stop: Callable[[], bool]
    ) -> None:
        worth = self._check(connection, run, tasks)
        if not worth:
            return
        if run.job not in self.registry:
            self._defer(run, worth, f"no installed package has job {run.job!r}")
            return
        job = self.registry[run.job]
        call: _Call | None = None
        for batch in batches(worth, job.batch_size):
            if should_stop():
                return
            call = call or self._call(connection, run, job, batch)
            if call is not None:
                self._execute_batch(call, batch)

    def _call(self, connection: Connection, run: Run, job: Job[Any], batch: Sequence[Task]) -> _Call | None:
        """What the run's handler is called with; None when its parameters are of another release.

        Their validators are the job's code, so the process may die of them as it may of the handler.
        """
        parameters = self._parameters.get(run.id)
        if parameters is None:
            entry_ids = [task.entry_id for task in batch]
            self.committer.reporter.call_started(run.queue, None, entry_ids, job.timeout_seconds)
            try:
                parameters = job.parameters.model_validate(run.parameters)
            except Exception as error:  # noqa: BLE001  # not our code
                self._defer(run, batch, describe(error))
                return None
            self._parameters[run.id] = parameters
        cancelled = _cancelled_check(connection, run.id)
        context = Context(run.id, run.timeframe, run.as_of, parameters, connection, self.committer.streams, cancelled)
        return _Call(run, job, context)

    def _defer(self, run: Run, tasks: Sequence[Task], reason: str) -> None:
        log.warning("run_deferred", run=run.id, job=run.job, reason=reason)
        self.committer.defer(run, tasks, _OTHER_RELEASE_SECONDS)

    def _check(self, connection: Connection, run: Run, tasks: Sequence[Task]) -> list[Task]:
        """The tasks worth executing. Those of closed items leave the queue; those out of attempts are dead.

        An attempt of which a worker died is recorded here, by the first who can.
        """
        symbols = ledger.open_symbols(connection, run, [task.entry.seq for task in tasks])
        worth, gone, exhausted = [], [], Decisions()
        for task in tasks:
            # Each is taken once: of an item that was added twice, the second entry is of no use.
            if symbols.get(task.entry.seq) != (task.entry.symbol, task.entry.generation):
                gone.append(task.entry_id)
                continue
            del symbols[task.entry.seq]
            if task.entry.attempt > run.max_attempts:
                last = Task(task.entry_id, task.entry._replace(attempt=run.max_attempts))
                exhausted.dead.append((last, task.entry.reason))
            else:
                worth.append(task)
        crashed = [
            ItemUpdate(entry.seq, entry.generation, entry.attempt - 1, "retrying", error=entry.reason)
            for entry in (task.entry for task in worth)
            if entry.left_ms and entry.attempt > 1
        ]
        if crashed:
            ledger.fail_items(connection, run, None, None, crashed, unless_recorded=True)
        if gone:
            self.committer.drop(connection, run, gone)
        if exhausted.dead:
            self.committer.commit(connection, run, _save_nothing, exhausted, datetime.now(UTC), BatchReport())
        return worth

    def _execute_batch(self, call: _Call, batch: Sequence[Task]) -> None:
        started_at, started = datetime.now(UTC), time.monotonic()
        call.context.tallies.clear()
        outcomes = self._call_handler(call, batch)
        if outcomes is None:
            for task in batch:
                self._execute_batch(call, [task])
            return
        report = BatchReport(
            seconds=time.monotonic() - started,
            wait_seconds=max(0.0, started_at.timestamp() - batch[0].entry.enqueued_ms / 1000),
            requeue_seconds=_requeue_seconds(batch, started_at),
            tallies=[(list(name), count) for name, count in call.context.tallies.items()],
        )
        self._commit(call, batch, outcomes, started_at, report)

    def _call_handler(self, call: _Call, batch: Sequence[Task]) -> Mapping[int, Outcome] | None:
        """Outcomes by seq; None when the call raised and each item shall be tried by itself."""
        entry_ids = [task.entry_id for task in batch]
        self.committer.reporter.call_started(call.run.queue, call.job.name, entry_ids, call.job.timeout_seconds)
        try:
            outcomes = call.job.execute([task.item for task in batch], call.context)
            return {outcome.item.seq: checked(outcome) for outcome in outcomes}
        except Exception as error:  # not our code: whatever it raises fails its items, not the worker
            # A lost connection of the handler's own, to wherever, is its failure; one of ours is not.
            if call.connection.closed:
                raise _lost(error) from error
            if is_passing(error) and getattr(error, "sqlstate", None):
                raise
            if len(batch) > 1:
                log.info("batch_split", job=call.job.name, run=call.run.id, items=len(batch), error=describe(error))
                return None
            permanent = isinstance(error, PermanentError)
            return {batch[0].entry.seq: Failed(batch[0].item, describe(error), permanent)}

    def _commit(
        self,
        call: _Call,
        batch: Sequence[Task],
        outcomes: Mapping[int, Outcome],
        started_at: datetime,
        report: BatchReport,
    ) -> None:
        """Settle a batch; when saving it fails, each item by itself, so that only the guilty one fails."""
        rule = RetryRule(call.run.max_attempts, self.settings.retry_base_seconds, self.settings.retry_cap_seconds)
        decisions = decide(batch, outcomes, rule, datetime.now(UTC), self.rng)
        for retry in decisions.retries:
            entry = retry.task.entry
            log.info(
                "item_retried",
                run=entry.run_id,
                symbol=entry.symbol,
                attempt=entry.attempt,
                in_seconds=round(retry.delay_seconds, 2),
                error=retry.error,
            )
        try:
            self.committer.commit(call.connection, call.run, call.job.save, decisions, started_at, report)
        except Exception as error:  # save() is not our code either
            if call.connection.closed:
                raise _lost(error) from error
            if must_wait(error) or not decisions.completed:
                raise
            if len(batch) == 1:
                failed = Failed(batch[0].item, describe(error), isinstance(error, PermanentError))
                self._commit(call, batch, {batch[0].entry.seq: failed}, started_at, report)
                return
            log.info("save_split", job=call.job.name, run=call.run.id, items=len(batch), error=describe(error))
            for task in batch:
                one = BatchReport(seconds=report.seconds / len(batch), wait_seconds=report.wait_seconds)
                self._commit(call, [task], outcomes, started_at, one)


def batches(tasks: Sequence[Task], size: int) -> Iterator[Sequence[Task]]:
    """Batches of at most `size`; a task that asks for it, because an earlier call did not come back, is alone."""
    together = [task for task in tasks if not task.entry.isolated]
    for start in range(0, len(together), size):
        yield together[start : start + size]
    for task in tasks:
        if task.entry.isolated:
            yield [task]


def _requeue_seconds(batch: Sequence[Task], started_at: datetime) -> float:
    """The longest time that an entry of the batch lay idle between two workers; 0 when none changed hands."""
    left_ms = min((task.entry.left_ms for task in batch if task.entry.left_ms), default=0)
    return max(0.0, started_at.timestamp() - left_ms / 1000) if left_ms else 0.0


def must_wait(error: BaseException) -> bool:
    """True when a service is away or overloaded, so that the same work can succeed later as it is."""
    return isinstance(error, RedisUnavailableError) or is_passing(error)


def describe(error: BaseException) -> str:
    """An exception in one line: its type and message."""
    text = printable(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _save_nothing(_connection: Connection, _completed: Sequence[Completed]) -> tuple[Event, ...]:
    return ()


def _lost(error: BaseException) -> psycopg.OperationalError:
    """The error to raise when our connection is gone, whatever the handler made of it: one that means waiting."""
    return psycopg.OperationalError(f"connection lost: {describe(error)}")


def _cancelled_check(connection: Connection, run_id: int) -> Callable[[], bool]:
    """A function that says whether the run was cancelled and asks the ledger at most once a second."""
    cancelled, asked_at = False, float("-inf")

    def is_cancelled() -> bool:
        nonlocal cancelled, asked_at
        if not cancelled and time.monotonic() - asked_at >= _CANCELLED_CHECK_SECONDS:
            run = ledger.load_run(connection, run_id)
            cancelled, asked_at = run is None or run.status == "CANCELLED", time.monotonic()
        return cancelled

    return is_cancelled
