"""A run of a job in this process, without any service: `prepare`, then `execute` in batches, as the engine does."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from streamworkers.engine.job import Context, Job, RunRequest
from streamworkers.engine.ledger import Run
from streamworkers.engine.ledger.json_text import dump_bounded
from streamworkers.engine.outcome import Completed, Failed, Outcome
from streamworkers.engine.preparation import check_request, require_prepared
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.worker.decide import Decisions, RetryRule, decide
from streamworkers.engine.worker.handler import execute_batch, fail_entry, split_batches
from streamworkers.engine.worker.unfinished import Call
from streamworkers.errors import StopRunError
from streamworkers.testing.given_rows import NotGiven, NotGivenError
from streamworkers.testing.tried import HarnessRun, TriedItem, TriedState

_RUN_ID = 1
_SERVICES = "run it with real services: JobHarness(…, installation=sw_installation)"


class InlineRun:
    """One run: what its calls made of each item."""

    def __init__(self, job: Job[Any], connection: Any, request: RunRequest) -> None:
        self._job = job
        checked = check_request(job, request)
        self.request = require_prepared(job, checked, job.prepare(connection, checked))
        self._tried: dict[int, TriedItem[Any]] = {}
        self._exceptions: dict[int, BaseException] = {}
        self._calls: list[list[str]] = []
        self._tallies: Counter[tuple[str, ...]] = Counter()
        self._observations: list[tuple[tuple[str, ...], float]] = []
        self._has_stopped = False
        self._max_attempts = self.request.max_attempts or job.max_attempts
        self._call = _make_call(job, connection, self.request)

    def execute(self, attempts: int) -> HarnessRun[Any]:
        """Execute all items, and again those that failed until they had so many attempts; returns what they did."""
        entries = [
            Entry(_RUN_ID, seq, self._job.name, key, timeframe or "", 0)
            for seq, (key, timeframe) in enumerate(self.request.items())
        ]
        for _ in range(attempts):
            entries = [again for batch in self._split(entries) for again in self._execute_batch(batch)]
        items = [self._tried[seq] for seq in sorted(self._tried)]
        return HarnessRun(self.request, items, self._calls, self._tallies, self._observations)

    def _split(self, entries: Sequence[Entry]) -> Iterable[Sequence[Entry]]:
        return split_batches(entries, self._job.batch_size, self._job.keeps_keys_together)

    def _execute_batch(self, batch: Sequence[Entry]) -> list[Entry]:
        """Execute a batch, or its items one by one if it raises; returns the entries to execute again."""
        if self._has_stopped:
            self._tried |= {entry.seq: _try(entry, "cancelled", None) for entry in batch}
            return []
        outcomes = self._call_handler(batch)
        if outcomes is None:
            return [again for entry in batch for again in self._execute_batch([entry])]
        rule = RetryRule(self._max_attempts, 0.0, 0.0)
        decisions = decide(batch, outcomes, rule, datetime.now(UTC), random.Random(1))  # noqa: S311  # of no delay
        self._note(outcomes, decisions)
        return [retry.next_entry for retry in decisions.retries if retry.error is not None]

    def _call_handler(self, batch: Sequence[Entry]) -> dict[int, Outcome] | None:
        """Return outcomes by seq; None if the call raised for several items."""
        context = self._call.context
        context.tallies.clear()
        context.observations.clear()
        self._calls.append([entry.symbol for entry in batch])
        try:
            found = execute_batch(self._call, batch)
            _require_json(found.values())
        except NotGivenError:
            raise
        except Exception as error:  # noqa: BLE001  # not our code: its errors fail its items
            if len(batch) > 1 and not isinstance(error, StopRunError):
                return None
            self._exceptions[batch[0].seq] = error
            return {batch[0].seq: fail_entry(batch[0], error)}
        self._tallies.update(context.tallies)
        self._observations += context.observations
        return found

    def _note(self, outcomes: dict[int, Outcome], decisions: Decisions) -> None:
        """Note what happened to the items of a batch."""
        for entry, completed in decisions.completed:
            self._tried[entry.seq] = _try(entry, "completed", completed)
        for entry, failed in decisions.dead:
            self._tried[entry.seq] = _try(entry, "dead", failed, self._exceptions.get(entry.seq))
        for entry, _, _, error, stack in decisions.retries:
            if error is None:
                self._tried[entry.seq] = _try(entry, "snoozed", outcomes[entry.seq])
            else:
                failed = Failed(entry.item, error, stack=stack)
                self._tried[entry.seq] = _try(entry, "retrying", failed, self._exceptions.get(entry.seq))
        for place, (entry, failed) in enumerate(decisions.stopping):
            state: TriedState = "cancelled" if place or self._has_stopped else "dead"
            self._tried[entry.seq] = _try(entry, state, failed, self._exceptions.get(entry.seq))
            self._has_stopped = True


def _try(
    entry: Entry, state: TriedState, outcome: Outcome | None, exception: BaseException | None = None
) -> TriedItem[Any]:
    return TriedItem(entry.symbol, entry.timeframe or None, state, entry.attempt, outcome, exception)


def _require_json(outcomes: Iterable[Outcome]) -> None:
    """Raise TypeError or ValueError for a result that the ledger could not keep."""
    results = [outcome.result for outcome in outcomes if isinstance(outcome, Completed)]
    for result in results:
        dump_bounded("the result", 1, result)


def _make_call(job: Job[Any], connection: Any, request: RunRequest) -> Call:
    parameters = job.parameters.model_validate(request.parameters or {})
    limiter: Any = NotGiven("context.rate_limiter", _SERVICES)
    inspector: Any = NotGiven("context.inspector", _SERVICES)
    context: Context[Any] = Context(
        _RUN_ID, request.timeframe, request.as_of, parameters, connection, limiter, inspector, lambda: False
    )
    run = Run(
        _RUN_ID,
        job.name,
        job.lane_of(request),
        "RUNNING",
        request.timeframe,
        request.as_of,
        request.parameters or {},
        datetime.now(UTC).date(),
        request.max_attempts or job.max_attempts,
        request.item_count,
        is_enqueued=True,
    )
    return Call(run, job, context, connection)
