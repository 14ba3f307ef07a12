"""Executes delivered entries: decode, keep the open ones, call the handler, decide, commit under the fence, finish."""

import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg

from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger import ItemUpdate, Run
from streamworkers.engine.outcome import Completed, Event, Failed, Outcome
from streamworkers.engine.protocol import BatchReport
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.redis.queue import Delivery
from streamworkers.engine.redis.slot_book import SlotBook
from streamworkers.engine.registry import Registry
from streamworkers.engine.worker.commit import BatchCommitter, Save
from streamworkers.engine.worker.decide import Decisions, RetryRule, decide
from streamworkers.engine.worker.delivered import DeliveredEntries
from streamworkers.engine.worker.failure_log import FailureLog
from streamworkers.engine.worker.handler import execute_batch, fail_entry, find_requeue_seconds, has_own_save
from streamworkers.engine.worker.limit_gate import LimitGate
from streamworkers.engine.worker.pace import Pacer
from streamworkers.engine.worker.preparing import CallPreparer, ShouldStop
from streamworkers.engine.worker.session import (
    SaveError,
    call_user_code,
    is_outage,
    outage_of,
    own_connection,
    reset_lent_session,
    reset_session,
    restore_connection,
)
from streamworkers.engine.worker.undecided import UndecidedItems
from streamworkers.engine.worker.unfinished import Call, ExecutedBatch
from streamworkers.errors import StopRunError
from streamworkers.faults import describe
from streamworkers.logger import get_logger

log = get_logger()


@dataclass(frozen=True, slots=True)
class Executor:
    """Executes entries for one consumer. A fault of a store (`find_fault`) leaves it with the batch unfinished.

    `undecided` knows the items that this happened to before.
    """

    settings: Settings
    registry: Registry
    committer: BatchCommitter
    rng: random.Random
    undecided: UndecidedItems = field(default_factory=UndecidedItems)
    _delivered: DeliveredEntries = field(init=False)
    _preparer: CallPreparer = field(init=False)
    _gate: LimitGate = field(init=False)
    _failures: FailureLog = field(default_factory=FailureLog)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_delivered", DeliveredEntries(self.settings, self.committer))
        preparer = CallPreparer(self.registry, self.committer, self._delivered.parameters)
        object.__setattr__(self, "_preparer", preparer)
        pacer = Pacer(SlotBook(self.committer.streams.client), self.committer.streams.places)
        parameters = self._delivered.parameters
        gate = LimitGate(self.settings, self.registry, self.committer, parameters, pacer, self.rng)
        object.__setattr__(self, "_gate", gate)

    def execute(self, connection: Connection, deliveries: Sequence[Delivery], should_stop: ShouldStop) -> None:
        """Execute what was delivered; what is left when `should_stop` becomes true stays pending.

        May be called again with the same deliveries after a transient error: items that were closed meanwhile are
        found closed, and nothing happens to them twice.
        """
        with own_connection(connection):
            self.committer.unfinished.forget()
            try:
                self._execute_delivered(connection, deliveries, should_stop)
            except Exception:
                self.committer.hooks.abandon(connection)
                raise
        self.undecided.clear()

    def _execute_delivered(
        self, connection: Connection, deliveries: Sequence[Delivery], should_stop: ShouldStop
    ) -> None:
        open_runs = self._keep_open(connection, self._delivered.decode(connection, deliveries))
        try:
            self._execute_runs(connection, open_runs, should_stop)
        except Exception:
            # What is done is not to be executed again because of a service that the rest needs.
            with suppress(Exception):
                restore_connection(connection)
                reset_lent_session(connection)
                self._commit_executed(connection)
            raise
        self._commit_executed(connection)
        self.committer.finish(connection, deliveries)
        self.committer.hooks.flush(connection)

    def _execute_runs(
        self, connection: Connection, open_runs: Sequence[tuple[Run, Sequence[Entry]]], should_stop: ShouldStop
    ) -> None:
        unfinished = self.committer.unfinished
        for number, (run, entries) in enumerate(open_runs, 1):
            isolated = self.undecided.isolate(entries)
            for call, batch, is_last in self._preparer.prepare(connection, run, isolated, should_stop):
                if unfinished.is_due(run.job, batch) or call.job.limits:
                    self._finish(connection)
                unfinished.more_follow = not is_last or number < len(open_runs)
                if call.job.limits:
                    self._execute_limited(call, batch, should_stop)
                else:
                    self._execute_batch(call, batch)
            # Nothing that a run's handler did to the session reaches the next run.
            reset_lent_session(connection)

    def _execute_limited(self, call: Call, batch: Sequence[Entry], should_stop: ShouldStop) -> None:
        """Do it for what the limits of the job let through; a part is finished before it gives its places back."""
        limited, failures = self._gate.find_limits(call, batch)
        if failed := [entry for entry in batch if entry.seq in failures]:
            self._commit_batch(call, failed, failures, datetime.now(UTC), BatchReport())
        for part in self._gate.admit(call, limited, should_stop):
            entries = [each.entry for each in part]
            if not self._execute_once(call, entries):
                for entry in entries:
                    self._execute_limited(call, [entry._replace(isolated=True)], should_stop)
            self._finish(call.connection)

    def _execute_batch(self, call: Call, batch: Sequence[Entry]) -> None:
        """Call the handler and commit; if it raises for several items, repeat each on its own."""
        if not self._execute_once(call, batch):
            for entry in batch:
                self._execute_batch(call, [entry])

    def _execute_once(self, call: Call, batch: Sequence[Entry]) -> bool:
        """Call the handler and commit; False if the call raised for several items."""
        try:
            return self._try_batch(call, batch)
        except Exception as error:
            if (reason := self._note_undecided(call, batch, error)) is None:
                raise
            self._fail_undecided(call, batch[0], reason)
            return True

    def _note_undecided(self, call: Call, batch: Sequence[Entry], error: Exception) -> str | None:
        """Note an execution or a commit that ended without a decision; returns why the item has to fail now, if so."""
        is_lost = call.connection.closed
        self.undecided.note(call.run.queue, batch, describe(error.__cause__ or error), is_lost=is_lost)
        return None if is_lost or not isinstance(error, psycopg.Error) else self.undecided.find_reason(batch)

    def _fail_undecided(self, call: Call, entry: Entry, reason: str) -> None:
        """End an attempt at which a store seems away each time, if both take its end: it is the item that fails then.

        Raises what they raise. They are away or full then, and the item pays for nothing.
        """
        self.committer.streams.probe_write()
        failed = {entry.seq: Failed(entry.item, reason)}
        self._commit_batch(call, [entry], failed, datetime.now(UTC), BatchReport())
        self.committer.hooks.leave()

    def _try_batch(self, call: Call, batch: Sequence[Entry]) -> bool:
        """Call the handler and commit; False if the call raised for several items."""
        # Where the connection is lost each time, nothing could be committed after the call.
        hooks, reason = self.committer.hooks, self.undecided.find_reason_of_losses(batch)
        if reason:
            self._fail_undecided(call, batch[0], reason)
            return True
        hooks.start(call.connection, call.run, batch)
        started_at, started = datetime.now(UTC), time.monotonic()
        call.context.tallies.clear()
        call.context.observations.clear()
        outcomes = self._call_handler(call, batch)
        if outcomes is None:
            hooks.split(call.connection)
            return False
        report = BatchReport(
            seconds=time.monotonic() - started,
            wait_seconds=max(0.0, started_at.timestamp() - batch[0].enqueued_ms / 1000),
            requeue_seconds=find_requeue_seconds(batch, started_at),
            tallies=[(list(name), count) for name, count in call.context.tallies.items()],
            observations=[(list(name), value) for name, value in call.context.observations],
        )
        self.committer.unfinished.note_pace(call.job.name, len(batch), report.seconds)
        decisions = self._decide(call, batch, outcomes)
        if has_own_save(call.job) or not decisions.only_complete:
            self._commit_batch(call, batch, outcomes, started_at, report)
        else:
            executed = ExecutedBatch(call, batch, outcomes, decisions, started_at, report)
            self.committer.unfinished.add(executed)
        hooks.leave()
        return True

    def _decide(self, call: Call, batch: Sequence[Entry], outcomes: Mapping[int, Outcome]) -> Decisions:
        rule = RetryRule(call.run.max_attempts, self.settings.retry_base_seconds, self.settings.retry_cap_seconds)
        return decide(batch, outcomes, rule, datetime.now(UTC), self.rng)

    def _commit_batch(
        self,
        call: Call,
        batch: Sequence[Entry],
        outcomes: Mapping[int, Outcome],
        started_at: datetime,
        report: BatchReport,
    ) -> None:
        """Decide and commit; if saving raises for several items, commit each on its own."""
        decisions = self._decide(call, batch, outcomes)
        try:
            self._commit(call.connection, call.run, call.job.save, decisions, started_at, report)
        except SaveError as failure:
            error = failure.cause
            restore_connection(call.connection)
            if is_outage(call.connection, error):
                raise outage_of(error) from error
            if len(batch) == 1:
                failed = fail_entry(batch[0], error)
                self._commit_batch(call, batch, {batch[0].seq: failed}, started_at, report)
                return
            log.info("save_split", job=call.job.name, run=call.run.id, items=len(batch), error=describe(error))
            for entry in batch:
                one = BatchReport(seconds=report.seconds / len(batch), wait_seconds=report.wait_seconds)
                self._commit_batch(call, [entry], outcomes, started_at, one)

    def _commit(
        self,
        connection: Connection,
        run: Run,
        save: Save,
        decisions: Decisions,
        started_at: datetime,
        report: BatchReport,
    ) -> None:
        decisions = self.committer.keep_owned(run, decisions, report)
        try:
            moved = self.committer.commit(connection, run, save, decisions, started_at, report)
        except psycopg.Error:
            if connection.closed:
                raise
            # The handler may have changed the session in which our own statements run.
            restore_connection(connection)
            reset_session(connection)
            moved = self.committer.commit(connection, run, save, decisions, started_at, report)
        self.committer.hooks.run_in_call(lambda: self._failures.add(decisions))
        self.committer.add_committed(run, decisions, moved, report)
        self.undecided.decided(entry.entry_id for entry in decisions.entries())
        if not decisions.only_complete:
            # While a failed entry is in the stream, the death of this process would execute that attempt again.
            self._finish(connection)

    def _finish(self, connection: Connection) -> None:
        """Finish what is committed, of other runs too, in a session as the handler found it."""
        reset_lent_session(connection)
        self._commit_executed(connection)
        self.committer.finish(connection)
        self.committer.hooks.flush(connection)

    def _commit_executed(self, connection: Connection) -> None:
        """Commit the batches without anything to save, in one transaction, or each on its own if that fails."""
        batches = self.committer.unfinished.take_executed()
        if not batches:
            return
        try:
            self.committer.commit_executed(connection, batches)
        except (psycopg.Error, TypeError, ValueError, RecursionError) as error:
            log.info("commit_split", batches=len(batches), error=describe(error))
            restore_connection(connection)
            for each in batches:
                self._commit_again(each)
        else:
            self.undecided.decided(entry.entry_id for batch in batches for entry in batch.entries)

    def _commit_again(self, batch: ExecutedBatch) -> None:
        try:
            self._commit_batch(batch.call, batch.entries, batch.outcomes, batch.started_at, batch.report)
        except Exception as error:
            if (reason := self._note_undecided(batch.call, batch.entries, error)) is None:
                raise
            self._fail_undecided(batch.call, batch.entries[0], reason)

    def _keep_open(
        self, connection: Connection, found: Sequence[tuple[Run, Sequence[Entry]]]
    ) -> list[tuple[Run, list[Entry]]]:
        """Return the entries to execute, by run. Those of closed items are removed; those out of attempts are dead."""
        wanted = [(run, [entry.seq for entry in entries]) for run, entries in found if entries]
        if not wanted:
            return []
        symbols = ledger.read_open_of_runs(connection, wanted)
        kept = [
            (run, self._keep_open_of(connection, run, entries, symbols[run.id])) for run, entries in found if entries
        ]
        return [(run, entries) for run, entries in kept if entries]

    def _keep_open_of(
        self, connection: Connection, run: Run, entries: Sequence[Entry], symbols: dict[int, tuple[str, int]]
    ) -> list[Entry]:
        """Do it for one run. An attempt that ended with its worker's death is recorded here, by the first consumer."""
        open_entries, closed, exhausted = [], [], Decisions()
        for entry in entries:
            if symbols.get(entry.seq) != (entry.symbol, entry.generation):
                closed.append(entry)
                continue
            del symbols[entry.seq]  # of an item that was added twice, the second entry is dropped
            if entry.attempt > run.max_attempts:
                exhausted.dead.append((entry._replace(attempt=run.max_attempts), Failed(entry.item, entry.reason)))
            else:
                open_entries.append(entry)
        crashed = [
            ItemUpdate(entry.seq, entry.generation, entry.attempt - 1, "retrying", error=entry.reason)
            for entry in open_entries
            if entry.left_ms and entry.attempt > 1
        ]
        if crashed:
            recorded = ledger.fail_items(connection, run, None, None, crashed, unless_recorded=True)
            self.committer.hooks.note_crash(run, open_entries, recorded)
        if closed:
            self.committer.drop(connection, run, closed)
            self._gate.forget(connection, run, closed)
        if exhausted.dead:
            self._commit(connection, run, _save_nothing, exhausted, datetime.now(UTC), BatchReport())
        return open_entries

    def _call_handler(self, call: Call, batch: Sequence[Entry]) -> Mapping[int, Outcome] | None:
        """Return outcomes by seq; None if the call raised for several items."""
        entry_ids = [entry.entry_id for entry in batch]
        self.committer.reporter.call_started(call.run.queue, call.job.name, entry_ids, call.job.timeout_seconds)
        try:
            hooks = self.committer.hooks
            with self.committer.ending_children(call.run), hooks.phase("execute"):
                found = call_user_code(call.connection, lambda: execute_batch(call, batch), context=hooks.context)
            restore_connection(call.connection)
            return found
        except SystemExit:
            raise
        except BaseException as error:  # not our code: its errors fail its items, not the worker
            restore_connection(call.connection)
            if is_outage(call.connection, error):
                raise outage_of(error) from error
            if len(batch) > 1 and not isinstance(error, StopRunError):
                log.info("batch_split", job=call.job.name, run=call.run.id, items=len(batch), error=describe(error))
                return None
            return {batch[0].seq: fail_entry(batch[0], error)}


def _save_nothing(_connection: Connection, _completed: Sequence[Completed]) -> tuple[Event, ...]:
    return ()
