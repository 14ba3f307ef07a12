"""What a job is: one class, found by its name."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from streamworkers.database import Connection
from streamworkers.engine.outcome import Completed, Event, Outcome
from streamworkers.engine.redis.entry import Item
from streamworkers.engine.redis.streams import Streams


class JobParameters(BaseModel):
    """Parameters of a job: subclass it and add typed fields. Unknown names and wrong types are rejected at enqueue."""

    model_config = ConfigDict(extra="forbid", frozen=True)


P = TypeVar("P", bound=JobParameters)


@dataclass(frozen=True, slots=True)
class JobCounter:
    """A counter of a job's own for Prometheus, `streamworkers_…_total`; its labels take few values."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """Why there is a run: a person, a tick of a schedule, or an event.

    `external_id` is the job id of who asked for it, under which its status is shown.
    """

    trigger: Literal["manual", "schedule", "event"] = "manual"
    schedule_id: int | None = None
    schedule: str | None = None
    scheduled_for: datetime | None = None
    external_id: str | None = None
    requested_by: str | None = None


MANUAL = Origin()


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run as it is asked for, before anything is written. No symbols are all parts of a job that has parts.

    With several `timeframes` each symbol is an item in each of them, and the run itself has none.
    """

    job: str
    symbols: tuple[str, ...]
    target: str
    timeframe: str | None = None
    as_of: datetime | None = None
    parameters: dict[str, Any] | None = None
    max_attempts: int | None = None
    idempotency_key: str | None = None
    origin: Origin = MANUAL
    timeframes: tuple[str, ...] = ()

    @property
    def item_count(self) -> int:
        """How many items the run will have."""
        return len(self.symbols) * max(1, len(self.timeframes))

    def items(self) -> Iterator[tuple[str, str | None]]:
        """Symbol and timeframe of every item; all timeframes of a symbol follow each other."""
        timeframes = self.timeframes or (self.timeframe,)
        return ((symbol, timeframe) for symbol in self.symbols for timeframe in timeframes)

    def moment(self) -> datetime:
        """When the run should have been: its tick, else now. What it may see is what was there then."""
        return self.origin.scheduled_for or datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Context(Generic[P]):
    """What a handler may use while it executes: its run, its parameters, a connection to read with, and the queues.

    `tallies` counts what the job's `counters` name, by the name and its labels.
    """

    run_id: int
    timeframe: str | None
    as_of: datetime | None
    parameters: P
    connection: Connection
    streams: Streams
    is_cancelled: Callable[[], bool]
    tallies: Counter[tuple[str, ...]] = field(default_factory=Counter)

    @property
    def cancelled(self) -> bool:
        """True once somebody cancelled the run; the results of such a call are not saved anyway."""
        return self.is_cancelled()


class Job(ABC, Generic[P]):
    """A kind of work. One instance lives in each worker process.

    `batch_size` is the most items of one call to `execute`; `timeout_seconds` the longest that a call may take before
    the supervisor kills the process; `max_attempts` counts the deliveries after which a failing item is dead.
    A job that is not about symbols names its `parts`: each is an item in the place of a symbol. One that mostly waits
    for others says by `target_batch_seconds` how long a batch may take, in the place of the setting of that name.
    """

    name: ClassVar[str]
    queue: ClassVar[str] = "analysis"
    batch_size: ClassVar[int] = 50
    timeout_seconds: ClassVar[float] = 60.0
    max_attempts: ClassVar[int] = 3
    parameters: ClassVar[type[JobParameters]] = JobParameters
    parts: ClassVar[tuple[str, ...]] = ()
    target_batch_seconds: ClassVar[float | None] = None
    counters: ClassVar[tuple[JobCounter, ...]] = ()

    def prepare(self, connection: Connection, request: RunRequest) -> RunRequest:
        """Complete a request when it is enqueued, for example with definitions that all its items shall share."""
        del connection
        return request

    @abstractmethod
    def execute(self, items: Sequence[Item], context: Context[P]) -> Iterable[Outcome]:
        """Do the work of all items, which are of one run, and say how each ended. Writes nothing.

        An exception with several items means that each is executed again by itself; with one it fails that item.
        """

    def save(self, connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        """Write what these items achieved and return events to publish.

        Runs in the transaction that closes the items, so it takes effect exactly once or not at all. It gets only
        items that this worker was the first to close.
        """
        del connection, completed
        return ()
