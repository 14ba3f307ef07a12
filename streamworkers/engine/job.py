"""What a job is: one class, found by its name."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from streamworkers.database import Connection
from streamworkers.engine.item import Item
from streamworkers.engine.outcome import Completed, Event, Outcome


class JobParameters(BaseModel):
    """Parameters of a job: subclass it and add typed fields. Unknown names and wrong types are refused at enqueue."""

    model_config = ConfigDict(extra="forbid", frozen=True)


P = TypeVar("P", bound=JobParameters)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run as it is asked for, before anything is written."""

    job: str
    symbols: tuple[str, ...]
    target: str
    timeframe: str | None = None
    as_of: datetime | None = None
    parameters: dict[str, Any] | None = None
    max_attempts: int | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Context(Generic[P]):
    """What a handler may use while it executes: its run, its parameters, and a connection to read with."""

    run_id: int
    timeframe: str | None
    as_of: datetime | None
    parameters: P
    connection: Connection
    is_cancelled: Callable[[], bool]

    @property
    def cancelled(self) -> bool:
        """True once somebody cancelled the run; the results of such a call are not saved anyway."""
        return self.is_cancelled()


class Job(ABC, Generic[P]):
    """A kind of work. One instance lives in each worker process.

    `batch_size` is the most items of one call to `execute`; `timeout_seconds` the longest that a call may take before
    the supervisor kills the process; `max_attempts` counts the deliveries after which a failing item is dead.
    """

    name: ClassVar[str]
    queue: ClassVar[str] = "analysis"
    batch_size: ClassVar[int] = 50
    timeout_seconds: ClassVar[float] = 60.0
    max_attempts: ClassVar[int] = 3
    parameters: ClassVar[type[JobParameters]] = JobParameters

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
