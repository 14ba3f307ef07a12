"""Records what a job does under an executor: its calls, outcomes, exceptions and events."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from streamworkers.database import Connection
from streamworkers.engine.job import Context, Job
from streamworkers.engine.outcome import Completed, Event, Item, Outcome
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.worker.executor import Executor
from streamworkers.engine.worker.unfinished import Call


@dataclass(slots=True)
class JobRecord:
    """What a job did while `is_recording`; outcomes and exceptions are by the items' seq."""

    is_recording: bool = False
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    exceptions: dict[int, BaseException] = field(default_factory=dict)
    calls: list[list[str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    tallies: Counter[tuple[str, ...]] = field(default_factory=Counter)
    observations: list[tuple[tuple[str, ...], float]] = field(default_factory=list)

    def note_error(self, items: Sequence[Item], error: BaseException) -> None:
        """Keep what was raised about one item; of several, each is tried again."""
        if self.is_recording and len(items) == 1:
            self.exceptions[items[0].seq] = error


@dataclass(frozen=True, slots=True)
class RecordingExecutor(Executor):
    """An executor that records the outcomes of its calls."""

    record: JobRecord = field(kw_only=True)

    def _call_handler(self, call: Call, batch: Sequence[Entry]) -> Mapping[int, Outcome] | None:
        found = Executor._call_handler(self, call, batch)
        if found is not None:
            self.record.outcomes.update(found)
            self.record.tallies.update(call.context.tallies)
            self.record.observations += call.context.observations
        return found


@contextmanager
def recording(job: Job[Any], record: JobRecord) -> Iterator[None]:
    """Record the calls of a job, what they raise, and the events of its `save`."""
    execute, save = job.execute, job.save

    def record_execute(items: Sequence[Item], context: Context[Any]) -> Iterable[Outcome]:
        if record.is_recording:
            record.calls.append([item.key for item in items])
        try:
            yield from execute(items, context)
        except Exception as error:
            record.note_error(items, error)
            raise

    def record_save(connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        try:
            events = list(save(connection, completed))
        except Exception as error:
            record.note_error([outcome.item for outcome in completed], error)
            raise
        if record.is_recording:
            record.events += events
        return events

    job.__dict__["execute"] = record_execute
    if type(job).save is not Job.save:
        job.__dict__["save"] = record_save
    try:
        yield
    finally:
        job.__dict__.pop("execute")
        job.__dict__.pop("save", None)
