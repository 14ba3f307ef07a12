"""Calls a handler with a batch, and accepts only outcomes that belong to it."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from streamworkers.engine.job import Job, require_observations, require_tallies
from streamworkers.engine.outcome import Failed, Outcome, require_outcome
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.worker.call_log import WatchedList, logging_call
from streamworkers.engine.worker.unfinished import Call
from streamworkers.errors import PermanentError, StopRunError
from streamworkers.faults import describe, describe_stack
from streamworkers.required_settings import require_settings


def split_batches(entries: Sequence[Entry], size: int, keeps_keys_together: bool = False) -> Iterator[Sequence[Entry]]:
    """Yield batches of at most `size`; an isolated entry is a batch of its own.

    If they are to stay together, neighbours of one key are in one batch, unless there are more of them than `size`.
    """
    together = [entry for entry in entries if not entry.isolated]
    start = 0
    while start < len(together):
        end = start + size
        if keeps_keys_together and end < len(together):
            while end > start and together[end].symbol == together[end - 1].symbol:
                end -= 1
        end = end if end > start else start + size
        yield together[start:end]
        start = end
    for entry in entries:
        if entry.isolated:
            yield [entry]


def fail_entry(entry: Entry, error: BaseException) -> Failed:
    """Return the failure of an entry by what its handler, or `save`, has raised."""
    stops = isinstance(error, StopRunError)
    return Failed(entry.item, describe(error), isinstance(error, PermanentError), describe_stack(error), stops)


def execute_batch(call: Call, batch: Sequence[Entry]) -> dict[int, Outcome]:
    """Call the handler; returns outcomes by seq. Raises for a missing setting, a wrong outcome or tally, too."""
    require_settings(call.job.name, call.job.required_settings)
    items = WatchedList((entry.item for entry in batch), lambda item: item)
    with logging_call(call.run.id, call.run.job, items):
        outcomes = call.job.execute(items, call.context)
        try:
            found = _require_outcomes(batch, outcomes)
        finally:
            if isinstance(outcomes, Generator):
                outcomes.close()  # whatever it does at its end, it does now
    require_tallies(call.job.counters, call.context.tallies)
    require_observations(call.job.histograms, call.context.observations)
    return found


def _require_outcomes(batch: Sequence[Entry], outcomes: Iterable[Outcome]) -> dict[int, Outcome]:
    """Return outcomes by seq. Raises TypeError for one that is none, is repeated, or of an item not in the call."""
    expected = {entry.seq: entry.run_id for entry in batch}
    found: dict[int, Outcome] = {}
    for outcome in outcomes:
        valid = require_outcome(outcome)
        if expected.get(valid.item.seq) != valid.item.run_id:
            raise TypeError(f"the outcome {outcome!r:.500} is of an item that is not in this call")
        if valid.item.seq in found:
            raise TypeError(f"the handler returned two outcomes of {valid.item.symbol}")
        found[valid.item.seq] = valid
    return found


def has_own_save(job: Job[Any]) -> bool:
    """True if a job saves anything."""
    return getattr(job.save, "__func__", None) is not Job.save


def find_requeue_seconds(batch: Sequence[Entry], started_at: datetime) -> float:
    """Return the longest time between two workers of an entry of the batch; 0 if none was requeued."""
    left_ms = min((entry.left_ms for entry in batch if entry.left_ms), default=0)
    return max(0.0, started_at.timestamp() - left_ms / 1000) if left_ms else 0.0
