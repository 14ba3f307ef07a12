"""What a client reads: the state of a run, its items, and the jobs that can be submitted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

RunStatus = Literal["PENDING", "RUNNING", "COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED"]
EventKind = Literal["submitted", "prepared", "running", "progress", "ended", "reopened", "resync"]
ItemStatus = Literal["pending", "retrying", "completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Submitted:
    """The run of a request, whether this call made it, and what may be wrong with the request."""

    id: int
    run_id: str
    is_new: bool
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RunState:
    """A run when it was read; its counts are there when it has ended, `reason` if it ended without items.

    A run that `is_waiting` starts not before `start_at`, and not before the runs `after` ended as `after_when` says.
    `last_event` is the number of its newest event: who has read it follows the run behind that. `webhook` says where
    the run calls at its end (`url`, of which only the host is shown), and how the newest call stands (`state`,
    `attempts`, `reason`, `id`, `sent_at`).
    """

    id: int
    run_id: str
    job: str
    status: RunStatus
    item_count: int
    completed_count: int | None
    failed_count: int | None
    cancelled_count: int | None
    key: str | None
    user: str | None
    created_at: datetime
    prepared_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    reason: str | None
    target: str
    timeframe: str | None
    as_of: datetime | None
    parameters: dict[str, Any]
    last_event: int
    start_at: datetime | None = None
    is_waiting: bool = False
    after: Sequence[int] = ()
    after_when: Literal["completed", "ended"] | None = None
    webhook: dict[str, Any] | None = None

    @property
    def is_open(self) -> bool:
        """True until the run has ended."""
        return self.status in ("PENDING", "RUNNING")

    @property
    def succeeded(self) -> bool:
        """True if all of its items are completed."""
        return self.status == "COMPLETED"


@dataclass(frozen=True, slots=True)
class RunEvent:
    """What happened to a run; `seq` is its number in the run, and what `data` holds depends on the kind.

    `resync` stands for events that are not kept any more, and has the state of the run.
    """

    run_id: int
    seq: int
    kind: EventKind
    data: dict[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class EventPage:
    """The next events of a run; `is_over` if it has ended and there are no more."""

    events: list[RunEvent]
    is_over: bool


@dataclass(frozen=True, slots=True)
class RunItem:
    """An item of a run in the ledger; `history` has its earlier attempts."""

    run_id: int
    seq: int
    key: str
    timeframe: str | None
    status: ItemStatus
    attempt: int
    worker: str | None
    started_at: datetime | None
    finished_at: datetime | None
    result: Any
    error: str | None
    history: list[dict[str, Any]] | None


@dataclass(frozen=True, slots=True)
class SubmittableJob:
    """A job that processes of the pool have installed; over HTTP, in its newest release alone."""

    name: str
    queue: str
    max_attempts: int
    item_kind: Literal["symbol", "part", "id"]
    parameters_schema: dict[str, Any]
