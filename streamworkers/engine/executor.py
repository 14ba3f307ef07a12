"""Takes delivered entries from check to settlement: which are worth executing, in which batches, and by whom."""

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
from streamworkers.engine import ledger
from streamworkers.engine.decide import Decisions, RetryRule, Task, decide
from streamworkers.engine.item import unpack_entry
from streamworkers.engine.job import Context, Job, JobParameters
from streamworkers.engine.ledger import Run
from streamworkers.engine.outcome import Failed, Outcome, checked, printable
from streamworkers.engine.registry import Registry
from streamworkers.engine.report import BatchReport
from streamworkers.engine.settle import Settler
from streamworkers.engine.stream import Delivery, RedisUnavailableError
from streamworkers.errors import BadInputError, PermanentError

log = structlog.get_logger()
_RUN_CACHE_SIZE = 64
_CANCELLED_CHECK_SECONDS = 1.0
_UNKNOWN_JOB_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Call:
    """Everything that stays the same for the batches of one run."""

    connection: Connection
    run: Run
    job: Job[Any]
    context: Context[Any]


@dataclass(frozen=True, slots=True)
class Executor:
    """Executes entries for one consumer. Errors that pass (`is_passing`) leave it with the batch unfinished."""

    settings: Settings
    registry: Registry
    settler: Settler
    rng: random.Random
    _runs: dict[int, tuple[Run, JobParameters]] = field(default_factory=dict)

    def execute(self, connection: Connection, deliveries: Sequence[Delivery], should_stop: Callable[[], bool]) -> None:
        """Work through what was delivered; what is left when `should_stop` says so stays pending.

        May be called again with the same deliveries after an error that passes: items that were closed meanwhile
        are seen to be closed, and nothing happens to them twice.
        """
        for (queue, run_id), tasks in self._by_run(deliveries).items():
            known = self._run(connection, run_id)
            if known is None or known[0].queue != queue:
                log.warning("entries_refused", queue=queue, run=run_id, count=len(tasks), reason="no such run")
                self.settler.discard(queue, [task.entry_id for task in tasks])
                continue
            run, parameters = known
            if parameters is None:
                if run.is_open:
                    self.settler.put_off(run, tasks, _UNKNOWN_JOB_SECONDS)
                else:
                    self.settler.discard(queue, [task.entry_id for task in tasks])
                continue
            context = Context(
                run.id, run.timeframe, run.as_of, parameters, connection, _cancelled_check(connection, run.id)
            )
            call = _Call(connection, run, self.registry[run.job], context)
            for batch in batches(self._check(call, tasks), call.job.batch_size):
                if should_stop():
                    return
                self._execute_batch(call, batch)

    def _by_run(self, deliveries: Sequence[Delivery]) -> Mapping[tuple[str, int], list[Task]]:
        groups: dict[tuple[str, int], list[Task]] = {}
        for delivery in deliveries:
            try:
                entry = unpack_entry(delivery.packed, self.settings.entry_max_bytes)
            except BadInputError as error:
                log.warning("entry_refused", queue=delivery.queue, entry=delivery.entry_id, reason=str(error))
                self.settler.discard(delivery.queue, [delivery.entry_id])
                continue
            groups.setdefault((delivery.queue, entry.run_id), []).append(Task(delivery.entry_id, entry))
        return groups

    def _run(self, connection: Connection, run_id: int) -> tuple[Run, JobParameters | None] | None:
        """The run and its parameters; None for these when this process, of another release, cannot execute it."""
        known = self._runs.get(run_id)
        if known is not None:
            return known
        run = ledger.load_run(connection, run_id)
        if run is None:
            return None
        try:
            parameters = self.registry[run.job].parameters.model_validate(run.parameters)
        except Exception as error:  # noqa: BLE001  # validators of parameters are not our code
            log.warning("run_put_off", run=run_id, job=run.job, reason=describe(error))
            return run, None
        if run.status == "PENDING":
            ledger.mark_running(connection, run_id)
        if len(self._runs) >= _RUN_CACHE_SIZE:
            self._runs.pop(next(iter(self._runs)))
        self._runs[run_id] = run, parameters
        return run, parameters

    def _check(self, call: _Call, tasks: Sequence[Task]) -> list[Task]:
        """The tasks worth executing. Those of closed items leave the queue; those out of attempts are dead."""
        run = call.run
        symbols = ledger.open_symbols(call.connection, run, [task.entry.seq for task in tasks])
        worth, gone, exhausted = [], [], Decisions()
        for task in tasks:
            # Each is taken once: of an item that was added twice, the second entry is of no use.
            if symbols.get(task.entry.seq) != task.entry.symbol:
                gone.append(task.entry_id)
                continue
            del symbols[task.entry.seq]
            if task.entry.attempt > run.max_attempts:
                last = Task(task.entry_id, task.entry._replace(attempt=run.max_attempts))
                exhausted.dead.append((last, task.entry.reason))
            else:
                worth.append(task)
        if gone:
            self.settler.drop(call.connection, run, gone)
        if exhausted.dead:
            self.settler.settle(call.connection, run, call.job, exhausted, datetime.now(UTC), BatchReport())
        return worth

    def _execute_batch(self, call: _Call, batch: Sequence[Task]) -> None:
        started_at, started = datetime.now(UTC), time.monotonic()
        outcomes = self._call_handler(call, batch)
        if outcomes is None:
            for task in batch:
                self._execute_batch(call, [task])
            return
        report = BatchReport(
            seconds=time.monotonic() - started,
            wait_seconds=max(0.0, started_at.timestamp() - batch[0].entry.enqueued_ms / 1000),
        )
        self._settle(call, batch, outcomes, started_at, report)

    def _call_handler(self, call: _Call, batch: Sequence[Task]) -> Mapping[int, Outcome] | None:
        """Outcomes by seq; None when the call raised and each item shall be tried by itself."""
        entry_ids = [task.entry_id for task in batch]
        self.settler.reporter.call_started(call.run.queue, entry_ids, call.job.timeout_seconds)
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

    def _settle(
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
            self.settler.settle(call.connection, call.run, call.job, decisions, started_at, report)
        except Exception as error:  # save() is not our code either
            if call.connection.closed:
                raise _lost(error) from error
            if must_wait(error) or not decisions.completed:
                raise
            if len(batch) == 1:
                failed = Failed(batch[0].item, describe(error), isinstance(error, PermanentError))
                self._settle(call, batch, {batch[0].entry.seq: failed}, started_at, report)
                return
            log.info("save_split", job=call.job.name, run=call.run.id, items=len(batch), error=describe(error))
            for task in batch:
                one = BatchReport(seconds=report.seconds / len(batch), wait_seconds=report.wait_seconds)
                self._settle(call, [task], outcomes, started_at, one)


def batches(tasks: Sequence[Task], size: int) -> Iterator[Sequence[Task]]:
    """Batches of at most `size`; a task that asks for it, because an earlier call did not come back, is alone."""
    together = [task for task in tasks if not task.entry.alone]
    for start in range(0, len(together), size):
        yield together[start : start + size]
    for task in tasks:
        if task.entry.alone:
            yield [task]


def must_wait(error: BaseException) -> bool:
    """True when a service is away or overloaded, so that the same work can succeed later as it is."""
    return isinstance(error, RedisUnavailableError) or is_passing(error)


def describe(error: BaseException) -> str:
    """An exception in one line: its type and message."""
    text = printable(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


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
