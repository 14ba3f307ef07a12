"""What a job is: one class, found by its name."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import isfinite
from typing import Any, ClassVar, Generic, Literal

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypeVar

from streamworkers.database import Connection
from streamworkers.engine.limits import Limit
from streamworkers.engine.outcome import Completed, Event, Item, Outcome
from streamworkers.engine.redis.inspector import Inspector
from streamworkers.engine.redis.lanes import Priority, choose_priority, name_lane
from streamworkers.engine.redis.rate_limiter import RateLimiter


class JobParameters(BaseModel):
    """Parameters of a job: subclass it and add typed fields. Unknown names and wrong types are rejected at enqueue."""

    model_config = ConfigDict(extra="forbid", frozen=True)


P = TypeVar("P", bound=JobParameters)
V = TypeVar("V", default=Any)


@dataclass(frozen=True, slots=True)
class JobCounter:
    """A job's own counter for Prometheus, `streamworkers_…_total`; its labels take few values."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobHistogram:
    """A job's own histogram for Prometheus, `streamworkers_…`: its name ends with the unit, its buckets rise."""

    name: str
    documentation: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...]


def require_tallies(counters: Sequence[JobCounter], tallies: Mapping[tuple[str, ...], int]) -> None:
    """Raise ValueError for a count that the job's counters do not have: its supervisor counts it with all others."""
    labels = {counter.name: len(counter.labels) for counter in counters}
    for key, count in tallies.items():
        parts: Any = key  # what user code counted under, of any type
        texts = isinstance(parts, tuple) and bool(parts) and all(isinstance(part, str) for part in parts)
        if not texts or labels.get(key[0]) != len(key) - 1:
            raise ValueError(f"the tally {key!r:.200} is not the name of a counter of the job with its label values")
        if type(count) is not int or count < 0:
            raise ValueError(f"the tally {key!r:.200} is {count!r:.200}, not a number of 0 or more")


def require_observations(
    histograms: Sequence[JobHistogram], observations: Sequence[tuple[tuple[str, ...], float]]
) -> None:
    """Raise ValueError for a value that the job's histograms do not have."""
    labels = {histogram.name: len(histogram.labels) for histogram in histograms}
    for key, given in observations:
        value: Any = given  # what user code measured, of any type
        if not key or not all(isinstance(part, str) for part in key) or labels.get(key[0]) != len(key) - 1:
            raise ValueError(f"the observation {key!r:.200} is not the name of a histogram of the job with its labels")
        if not isinstance(value, int | float) or not isfinite(value):
            raise ValueError(f"the observation {key!r:.200} is {value!r:.200}, not a finite number")


@dataclass(frozen=True, slots=True)
class Origin:
    """Why a run exists: a person, a tick of a schedule, or an event.

    `external_id` is the job id under which another program asked for it and follows its status.
    """

    trigger: Literal["manual", "schedule", "event"] = "manual"
    schedule_id: int | None = None
    schedule: str | None = None
    scheduled_for: datetime | None = None
    external_id: str | None = None
    requested_by: str | None = None


MANUAL = Origin()
ItemKind = Literal["symbol", "part", "id"]
AfterWhen = Literal["completed", "ended"]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run before anything is written. Without symbols it has all parts of a job that has parts.

    `symbols` are the keys of its items, whatever the job's `item_kind`; `universe` is where they come from, if they do.
    With several `timeframes` each symbol is an item in each of them, and the run itself has none. `note` says why a
    prepared run has no items. A run that `goes_first` uses the job's `first_queue`. A run that starts later, not before
    `start_at` and not before the runs `after` have ended as `after_when` says, can only be submitted. So can one with a
    `webhook`, the `url` and the `secrets` of a call at its end, unless a schedule makes it.
    Runs of priority `high` come before `normal` ones, and these before `low` ones; without a `priority` a run of more
    than 10,000 items is low.
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
    universe: str | None = None
    traceparent: str | None = None
    note: str | None = None
    goes_first: bool = False
    start_at: datetime | None = None
    after: tuple[int, ...] = ()
    after_when: AfterWhen | None = None
    priority: Priority | None = None
    webhook: Mapping[str, Any] | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the items; for a job about symbols, the symbols."""
        return self.symbols

    def with_keys(self, keys: Iterable[str]) -> "RunRequest":
        """Return the request with other items: for a `prepare` that chooses them."""
        return replace(self, symbols=tuple(keys))

    def nothing_to_do(self, note: str) -> "RunRequest":
        """Return the request without items: for a `prepare` that finds no work. The run is completed with that note."""
        return replace(self, symbols=(), note=note)

    @property
    def must_be_submitted(self) -> bool:
        """True if it names a time or runs to wait for, or a webhook."""
        return bool(self.after) or any(each is not None for each in (self.start_at, self.after_when, self.webhook))

    @property
    def item_count(self) -> int:
        """The number of items of the run."""
        return len(self.symbols) * max(1, len(self.timeframes))

    def items(self) -> Iterator[tuple[str, str | None]]:
        """Yield symbol and timeframe of every item; the timeframes of a symbol are adjacent."""
        timeframes = self.timeframes or (self.timeframe,)
        return ((symbol, timeframe) for symbol in self.symbols for timeframe in timeframes)

    def moment(self) -> datetime:
        """Return the time as of which the run sees data: its tick, else now."""
        return self.origin.scheduled_for or datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Context(Generic[P]):
    """What a handler may use while it executes.

    `connection` is for reading. `rate_limiter` holds for the whole fleet; `inspector` reads the state of the queues.
    `tallies` counts for the job's `counters`: the key is the counter's name and its label values. `observations` are
    values for its `histograms`, each with such a key.
    """

    run_id: int
    timeframe: str | None
    as_of: datetime | None
    parameters: P
    connection: Connection
    rate_limiter: RateLimiter
    inspector: Inspector
    is_cancelled: Callable[[], bool]
    tallies: Counter[tuple[str, ...]] = field(default_factory=Counter)
    observations: list[tuple[tuple[str, ...], float]] = field(default_factory=list)

    @property
    def cancelled(self) -> bool:
        """True once the run was cancelled; the results of the call are not saved then."""
        return self.is_cancelled()


class Job(ABC, Generic[P, V]):
    """A kind of work, with parameters of type `P` and values of type `V` from `execute` to `save`.

    One instance lives in each worker process. `batch_size` is the largest number of items of one call to `execute`;
    `timeout_seconds` the longest time that a call may take before the supervisor kills the process; `max_attempts` the
    number of attempts after which a failing item is dead. `item_kind` says what the key of an item is: a symbol, or an
    `id` of anything else; a job with `parts` has one item for each of them. A job that mostly waits for other systems
    can set `target_batch_seconds`, how long a batch may take, in place of the setting of that name. `preload` names
    modules that are imported only when the job works: the process that workers are forked from imports them once.
    `first_queue` is a second queue, which workers of `queue` read before it: for runs whose `prepare` says so.
    A job that `keeps_keys_together` gets the items of a key, one for each timeframe, in one call if it can.
    `notifies_failure` says whether people are notified when a run of it fails. A job that `needs_bars` can do nothing
    about a symbol of which none are stored: commands warn of such a symbol when it is named. `limits` hold for the
    whole fleet; a name that several jobs use is one limit. `required_settings` names the environment variables that
    the job cannot work without: a worker that lacks one ends the run at once, with its name.
    """

    name: ClassVar[str]
    queue: ClassVar[str] = "analysis"
    first_queue: ClassVar[str | None] = None
    batch_size: ClassVar[int] = 50
    timeout_seconds: ClassVar[float] = 60.0
    max_attempts: ClassVar[int] = 3
    parameters: ClassVar[type[JobParameters]] = JobParameters
    item_kind: ClassVar[ItemKind] = "symbol"
    parts: ClassVar[tuple[str, ...]] = ()
    target_batch_seconds: ClassVar[float | None] = None
    counters: ClassVar[tuple[JobCounter, ...]] = ()
    histograms: ClassVar[tuple[JobHistogram, ...]] = ()
    preload: ClassVar[tuple[str, ...]] = ()
    keeps_keys_together: ClassVar[bool] = False
    notifies_failure: ClassVar[bool] = True
    needs_bars: ClassVar[bool] = False
    limits: ClassVar[tuple[Limit, ...]] = ()
    required_settings: ClassVar[tuple[str, ...]] = ()

    @property
    def queues(self) -> tuple[str, ...]:
        """All queues of the job's runs."""
        return (self.queue,) if self.first_queue is None else (self.first_queue, self.queue)

    def lane_of(self, request: RunRequest) -> str:
        """Return the lane of a prepared run: that of its priority, in the job's queue."""
        queue = self.first_queue if request.goes_first and self.first_queue is not None else self.queue
        return name_lane(queue, choose_priority(request.priority, request.item_count))

    def prepare(self, connection: Connection, request: RunRequest) -> RunRequest:
        """Complete a request, for example with definitions that all its items share, or with the items themselves.

        Called once for a run, by the process that enqueues it, or by a supervisor or scheduler if it was submitted.
        Raise BadInputError for a request that breaks a rule; return `request.nothing_to_do(…)` if there is no work.
        """
        del connection
        return request

    @abstractmethod
    def execute(self, items: Sequence[Item], context: Context[P]) -> Iterable[Outcome[V]]:
        """Do the work of all items, which are of one run, and return an outcome for each. Writes nothing.

        An exception with several items means that each is executed again on its own; with one item it fails that item.
        """

    def save(self, connection: Connection, completed: Sequence[Completed[V]]) -> Iterable[Event]:
        """Write the values of these items and return events to publish.

        Runs in the transaction that closes the items, so it takes effect exactly once or not at all. It gets only
        items that this worker was the first to close.
        """
        del connection, completed
        return ()
