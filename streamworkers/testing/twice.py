"""A run with real services whose items are executed twice at the same time, as by two workers.

The second worker executes first, and stands still before its commit. The first one executes and commits everything, as
happens when the other one's lease has expired. Then the second commits: the fence rejects it, so nothing may change.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NoReturn

from streamworkers.database import Connection
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import Job, RunRequest
from streamworkers.engine.ledger import Run
from streamworkers.engine.outcome import Completed, Failed, Outcome
from streamworkers.engine.protocol import BatchReport
from streamworkers.engine.redis.entry import unpack_entry
from streamworkers.engine.redis.heartbeats import UndecidedItem
from streamworkers.engine.redis.places import HeldPlace
from streamworkers.engine.redis.queue import Delivery
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.worker.commit import BatchCommitter
from streamworkers.engine.worker.executor import Executor
from streamworkers.engine.worker.unfinished import ExecutedBatch
from streamworkers.faults import Fault
from streamworkers.testing.installation import Installation
from streamworkers.testing.recording import JobRecord, RecordingExecutor, recording
from streamworkers.testing.table_digests import TableDigest, name_changes, read_digests
from streamworkers.testing.tried import HarnessRun, TriedItem, TriedState

_CONSUMER = "harness"
_READ = 1000
_STATES: Mapping[str, TriedState] = {
    "completed": "completed",
    "failed": "dead",
    "retrying": "retrying",
    "cancelled": "cancelled",
    "pending": "snoozed",
}
_ITEMS = """
    SELECT seq, symbol, timeframe, status, attempt, error FROM run_items WHERE run_day = %s AND run_id = %s ORDER BY seq
"""


def run_twice(
    installation: Installation, job: Job[Any], request: RunRequest, attempts: int, written: Sequence[str]
) -> HarnessRun[Any]:
    """Enqueue a run, and execute all its items twice; returns what the first worker did.

    Raises AssertionError if `execute` writes into a table that is not in `written`, or if the second changes anything.
    """
    settings, registry = installation.settings(), Registry([job])
    with ExitStack() as stack:
        own, other, watching = (stack.enter_context(installation.connect()) for _ in range(3))
        streams = open_streams(installation.redis_url, installation.key_prefix)
        stack.callback(streams.close)
        run, _ = enqueue(own, streams, registry, request)
        record = JobRecord()
        stack.enter_context(recording(job, record))
        for attempt in range(1, attempts + 1):
            deliveries = _read_all(streams, run, attempt)
            jitter = random.Random(attempt)  # noqa: S311
            committer = BatchCommitter(streams, _CONSUMER, _SilentReporter(), _give_up)
            first = RecordingExecutor(settings, registry, committer, jitter, record=record)
            race = _Race(job.name, first, own, deliveries, watching, written)
            overtaken = _OvertakenCommitter(streams, _CONSUMER, _SilentReporter(), _give_up, overtake=race.overtake)
            Executor(settings, registry, overtaken, jitter).execute(other, deliveries, _never)
            race.require_unchanged()
        items = [_summarise(record, *row) for row in own.execute(_ITEMS, (run.run_day, run.id))]
        prepared = RunRequest(
            job.name,
            tuple(dict.fromkeys(item.key for item in items)),
            request.target,
            run.timeframe,
            run.as_of,
            run.parameters,
            run.max_attempts,
            origin=request.origin,
            timeframes=request.timeframes,
        )
        return HarnessRun(prepared, items, record.calls, record.tallies, record.observations, record.events)


class _Race:
    """The first worker overtakes the second one, and the tables are watched."""

    def __init__(
        self,
        job: str,
        first: RecordingExecutor,
        connection: Connection,
        deliveries: Sequence[Delivery],
        watching: Connection,
        written: Sequence[str],
    ) -> None:
        self._job, self._first, self._connection, self._deliveries = job, first, connection, deliveries
        self._watching, self._written = watching, written
        self._before = self._read()
        self._after: dict[str, TableDigest] | None = None

    def overtake(self) -> None:
        """Do all the work of the first worker, while the second one has executed and not committed; once."""
        if self._after is not None:
            return
        self._after = executed = self._read()
        if changes := name_changes(self._before, executed):
            raise AssertionError(
                f"execute of job {self._job!r} has changed {changes}: it may be called again for the same items, so"
                " only save writes, whose transaction closes them"
            )
        self._first.record.is_recording = True
        self._first.execute(self._connection, self._deliveries, _never)
        self._first.record.is_recording = False
        self._after = self._read()

    def require_unchanged(self) -> None:
        """Raise AssertionError if anything has changed after the first worker's commit."""
        if self._after is not None and (changes := name_changes(self._after, self._read())):
            raise AssertionError(
                f"executing the items of job {self._job!r} a second time has changed {changes}, although save was"
                " called once: what is not written by save on its own connection is written again"
            )

    def _read(self) -> dict[str, TableDigest]:
        return read_digests(self._watching, self._written)


@dataclass(frozen=True, slots=True)
class _OvertakenCommitter(BatchCommitter):
    """A committer that is overtaken before its first commit, where it holds no lock yet."""

    overtake: Callable[[], None] = field(kw_only=True)

    def commit(self, *words: Any) -> set[int]:
        """Close the items, if another worker has left any open."""
        self.overtake()
        return BatchCommitter.commit(self, *words)

    def commit_executed(self, connection: Connection, batches: Sequence[ExecutedBatch]) -> None:
        """Close items of batches without anything to save, if another worker has left any open."""
        self.overtake()
        BatchCommitter.commit_executed(self, connection, batches)


class _SilentReporter:
    """A worker's reports, without a supervisor."""

    def holding(self, fault: Fault, undecided: Sequence[UndecidedItem] = ()) -> None: ...

    def call_started(self, queue: str, job: str | None, entry_ids: Sequence[str], timeout_seconds: float) -> None: ...

    def save_started(self) -> None: ...

    def places_held(self, places: Sequence[HeldPlace]) -> None: ...

    def committing(self, run: Run, seqs: Sequence[int]) -> None: ...

    def finished(self, run: Run, seqs: Sequence[int], report: BatchReport) -> None: ...

    def rejected(self, queue: str, count: int) -> None: ...


def _give_up(error: Exception) -> NoReturn:
    raise error


def _never() -> bool:
    return False


def _read_all(streams: Streams, run: Run, attempt: int) -> list[Delivery]:
    """Read all entries of the run that are due; those of a further attempt become due now, snoozed ones do not."""
    raw, delayed = streams.client.raw, streams.keys.delayed(run.queue)
    if attempt > 1:
        packed: Any = raw.zrange(delayed, 0, -1)
        due = {each: 0 for each in packed if _is_of(run, each) and unpack_entry(each, len(each)).attempt == attempt}
        if due:
            raw.zadd(delayed, due)
            while streams.queues.promote(run.queue, _READ)[0]:
                continue
    deliveries: list[Delivery] = []
    while found := streams.queues.read([run.queue], _CONSUMER, _READ, 1):
        deliveries += [each for each in found if _is_of(run, each.packed)]
    return deliveries


def _is_of(run: Run, packed: bytes) -> bool:
    """False for what an earlier run has left in the queue."""
    return unpack_entry(packed, len(packed)).run_id == run.id


def _summarise(
    record: JobRecord, seq: int, key: str, timeframe: str | None, status: str, attempt: int, error: str | None
) -> TriedItem[Any]:
    outcome: Outcome | None = record.outcomes.get(seq)
    if status not in ("completed", "pending") and outcome is not None:
        failed = outcome if isinstance(outcome, Failed) else Failed(outcome.item, "")
        outcome = failed._replace(error=error or "")
    exception = None if isinstance(outcome, Completed) else record.exceptions.get(seq)
    return TriedItem(key, timeframe, _STATES[status], attempt, outcome, exception)
