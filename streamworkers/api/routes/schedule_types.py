"""Schedules in the bodies of requests and answers."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from streamworkers.api.routes.types import WebhookBody
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.problems import ScheduleProblem
from streamworkers.schedules.store import Schedule


class ScheduleBody(msgspec.Struct, forbid_unknown_fields=True):
    """A schedule as users write it; docs/guides/scheduling.md explains the fields. What is left out has its default."""

    name: str
    job: str
    target: dict[str, Any] | None = None
    timeframe: str | None = None
    parameters: dict[str, Any] | None = None
    cron: str | None = None
    on_event: str | None = None
    timezone: str | None = None
    calendar: str | None = None
    ends_at: str | None = None
    enabled: bool | None = None
    catch_up: str | None = None
    misfire_grace_seconds: int | None = None
    max_instances: int | None = None
    coalesce: bool | None = None
    after: str | None = None
    min_coverage: float | None = None
    after_timeout_seconds: int | None = None
    after_timeout_action: str | None = None
    jitter_seconds: int | None = None
    max_run_seconds: int | None = None
    done_by: str | None = None
    priority: str | None = None
    webhook: WebhookBody | None = None
    user_id: str | None = None


class SchedulePatch(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is to be another; null is the default of a field. Parameters are changed one by one, null removes one."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    job: str | msgspec.UnsetType = msgspec.UNSET
    target: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    timeframe: str | msgspec.UnsetType | None = msgspec.UNSET
    parameters: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    cron: str | msgspec.UnsetType | None = msgspec.UNSET
    on_event: str | msgspec.UnsetType | None = msgspec.UNSET
    timezone: str | msgspec.UnsetType | None = msgspec.UNSET
    calendar: str | msgspec.UnsetType | None = msgspec.UNSET
    ends_at: str | msgspec.UnsetType | None = msgspec.UNSET
    enabled: bool | msgspec.UnsetType | None = msgspec.UNSET
    catch_up: str | msgspec.UnsetType | None = msgspec.UNSET
    misfire_grace_seconds: int | msgspec.UnsetType | None = msgspec.UNSET
    max_instances: int | msgspec.UnsetType | None = msgspec.UNSET
    coalesce: bool | msgspec.UnsetType | None = msgspec.UNSET
    after: str | msgspec.UnsetType | None = msgspec.UNSET
    min_coverage: float | msgspec.UnsetType | None = msgspec.UNSET
    after_timeout_seconds: int | msgspec.UnsetType | None = msgspec.UNSET
    after_timeout_action: str | msgspec.UnsetType | None = msgspec.UNSET
    jitter_seconds: int | msgspec.UnsetType | None = msgspec.UNSET
    max_run_seconds: int | msgspec.UnsetType | None = msgspec.UNSET
    done_by: str | msgspec.UnsetType | None = msgspec.UNSET
    priority: str | msgspec.UnsetType | None = msgspec.UNSET
    webhook: WebhookBody | msgspec.UnsetType | None = msgspec.UNSET
    user_id: str | msgspec.UnsetType | None = msgspec.UNSET


class TriggerBody(msgspec.Struct, forbid_unknown_fields=True):
    """What one run is about, where that is not what the schedule is about; parameters are added to the schedule's."""

    symbols: Annotated[list[str], msgspec.Meta(min_length=1, max_length=10_000)] | None = None
    universe: str | None = None
    timeframe: str | None = None
    parameters: dict[str, Any] | None = None


class PreviewBody(msgspec.Struct, forbid_unknown_fields=True):
    """When a schedule would tick: its cron, time zone, calendar and end; how many ticks, and from when on."""

    cron: str
    timezone: str | None = None
    calendar: str | None = None
    ends_at: str | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    start: Annotated[datetime, msgspec.Meta(tz=True)] | None = msgspec.field(name="from", default=None)


class ScheduleView(msgspec.Struct):
    """A schedule, with its next tick and its newest one; `problem` says why it cannot start runs, or waits in vain.

    Of the URL of its webhook only the host is shown. `warnings`, of one schedule, are about symbols of which no bars
    are stored, if the job needs bars.
    """

    id: int
    version: int
    name: str
    job: str | None
    target: dict[str, Any] | None
    timeframe: str | None
    parameters: dict[str, Any] | None
    cron: str | None
    on_event: str | None
    timezone: str | None
    calendar: str | None
    ends_at: datetime | None
    enabled: bool | None
    catch_up: str | None
    misfire_grace_seconds: int | None
    max_instances: int | None
    coalesce: bool | None
    after: str | None
    min_coverage: float | None
    after_timeout_seconds: int | None
    after_timeout_action: str | None
    jitter_seconds: int | None
    max_run_seconds: int | None
    done_by: str | None
    priority: str | None
    webhook: WebhookBody | None
    user_id: str | None
    next_run_at: datetime | None
    problem: str | None
    last_tick: datetime | None
    last_state: str | None
    last_run: int | None
    last_run_status: str | None
    last_success: datetime | None
    waiting_ticks: int
    warnings: list[str] = []


class ScheduleList(msgspec.Struct):
    """The schedules that the caller may see, by name."""

    schedules: list[ScheduleView]


class TickList(msgspec.Struct):
    """The next ticks of a schedule; fewer than were asked for if its calendar ends there."""

    ticks: list[datetime]


class DecidedTick(msgspec.Struct):
    """A tick, its outcome with the reason, and its run."""

    scheduled_for: datetime
    state: str
    run_id: int | None
    status: str | None
    seconds: float | None
    reason: str | None
    detail: dict[str, Any] | None


class DecidedTicks(msgspec.Struct):
    """The newest ticks of a schedule and their outcomes, the newest first."""

    ticks: list[DecidedTick]


class Removed(msgspec.Struct):
    """What was removed for good."""

    name: str
    removed: bool


class Triggered(msgspec.Struct):
    """The run that a schedule was triggered for; `job_id` is the schedule's name."""

    success: bool
    message: str
    job_id: str
    id: int
    run_id: UUID


def show_schedule_row(schedule: Schedule, last: dict[str, Any], problem: ScheduleProblem | None) -> dict[str, Any]:
    """Return the fields of a ScheduleView."""
    definition = schedule.definition
    fields: dict[str, Any] = dict.fromkeys(ScheduleDefinition.model_fields)
    if definition is not None:
        fields = definition.show()
    return {
        "id": schedule.id,
        "version": schedule.version,
        **fields,
        "name": schedule.name,
        "next_run_at": schedule.next_run_at,
        "problem": problem.text if problem is not None else None,
        "last_tick": last.get("scheduled_for"),
        "last_state": last.get("state"),
        "last_run": last.get("run_id"),
        "last_run_status": last.get("status"),
        "last_success": last.get("last_success"),
        "waiting_ticks": last.get("waiting") or 0,
    }
