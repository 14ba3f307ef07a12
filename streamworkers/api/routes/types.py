"""What the bodies of answers hold: the types of the OpenAPI document. A test compares real answers with them."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from streamworkers.engine.redis.lanes import Priority


class Done(msgspec.Struct):
    """What was done, in a sentence."""

    message: str


class WebhookBody(msgspec.Struct, forbid_unknown_fields=True):
    """What is called once the run has ended: a URL or env:NAME, and the variables with the secrets that sign it."""

    url: str
    secrets: list[str]


class RunWebhook(msgspec.Struct):
    """Who is called once a run has ended, of its URL the host; and how the newest call stands.

    `state` is `waiting` until the run has ended, then that of the delivery, and `removed` when its record is. `id` is
    what the call has as its `webhook-id`.
    """

    url: str
    state: str
    attempts: int
    reason: str | None
    id: UUID | None
    sent_at: datetime | None


class RunView(msgspec.Struct):
    """A run; `id` and `run_id` both name it. `user` is null for a run of nobody.

    A run that `is_waiting` starts not before `start_at`, and not before the runs `after` ended as `after_when` says.
    `priority` is null until a submitted run that names none is prepared.
    """

    id: int
    run_id: UUID
    job: str
    queue: str
    priority: Priority | None
    status: str
    target: str
    timeframe: str | None
    as_of: datetime | None
    parameters: dict[str, Any]
    item_count: int
    completed_count: int | None
    failed_count: int | None
    cancelled_count: int | None
    stale_count: int | None
    max_attempts: int
    trigger: str
    schedule: str | None
    scheduled_for: datetime | None
    user: str | None
    key: str | None
    created_at: datetime
    prepared_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    reason: str | None
    last_event: int
    start_at: datetime | None
    is_waiting: bool
    after: list[int]
    after_when: Literal["completed", "ended"] | None
    webhook: RunWebhook | None


class ItemView(msgspec.Struct):
    """An item of a run, with what its handler returned as a result, and its earlier attempts."""

    seq: int
    symbol: str
    timeframe: str | None
    status: str
    attempt: int
    generation: int
    worker: str | None
    error: str | None
    started_at: datetime | None
    finished_at: datetime | None
    result: Any
    history: list[dict[str, Any]] | None


class ItemPage(msgspec.Struct):
    """Items by seq; `next` is the value of `after` for the next page, or null at the end."""

    items: list[ItemView]
    next: int | None


class EventView(msgspec.Struct):
    """What happened to a run: `id` is its number and that of the event; what `data` holds depends on the kind."""

    id: str
    run_id: int
    seq: int
    kind: Literal["submitted", "prepared", "running", "progress", "ended", "reopened", "resync"]
    data: dict[str, Any]
    at: datetime


class EventPageView(msgspec.Struct):
    """Events of a run; `next` is the value of `after` for the next page. The last one `is_over`: the run has ended."""

    events: list[EventView]
    next: str
    is_over: bool


class StartedRun(msgspec.Struct):
    """A run that was submitted; `is_new` is false if its key found an earlier one.

    `warnings` say what is no error: symbols of which no bars are stored, if the job needs bars.
    """

    id: int
    run_id: UUID
    is_new: bool
    warnings: list[str]


class StartedRuns(msgspec.Struct):
    """Runs that were submitted together, in the order of the requests."""

    runs: list[StartedRun]


class RunPage(msgspec.Struct):
    """A page of runs; `next` is the cursor of the next page, or null at the end.

    It shows what was there at `as_of`; for pages of a walk (`order=asc`), that is when the walk began.
    """

    items: list[RunView]
    next: str | None
    as_of: datetime


class ErrorView(msgspec.Struct):
    """An error of a run: how many items have it, and the newest of them."""

    error: str
    items: int
    item: str
    symbol: str
    status: str
    attempt: int


class LedgerView(msgspec.Struct):
    """The ledger of a run: the run, its items by state, and its distinct errors, the most frequent first."""

    run: RunView
    items: dict[str, int]
    errors: list[ErrorView]


class Reopened(msgspec.Struct):
    """How many items of a run were reopened or cancelled."""

    id: int
    items: int


class RetriedWebhook(msgspec.Struct):
    """A run whose webhook is called again, and the id of the call, which it had before."""

    id: int
    webhook_id: UUID


class JobView(msgspec.Struct):
    """A job that processes of the pool have installed, with the JSON Schema of its parameters."""

    name: str
    queue: str
    max_attempts: int
    item_kind: str
    parameters: dict[str, Any]


class JobList(msgspec.Struct):
    """The installed jobs, by name."""

    jobs: list[JobView]
