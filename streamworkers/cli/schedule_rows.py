"""Schedules as rows of tables and JSON."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from streamworkers.database import Connection
from streamworkers.engine.registry import installed_jobs
from streamworkers.errors import UsageError
from streamworkers.schedules import reports, store
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.problems import ScheduleProblem, find_problems
from streamworkers.schedules.store import Schedule
from streamworkers.schedules.timing import zone_named


def list_rows(connection: Connection) -> list[dict[str, Any]]:
    """Every schedule with its newest tick, and with what is wrong with it."""
    last, problems = reports.last_runs(connection), find_problems(connection, installed_jobs())
    every = store.list_schedules(connection)
    return [to_json(schedule, last.get(schedule.id, {}), problems.get(schedule.name)) for schedule in every]


def to_json(schedule: Schedule, last: dict[str, Any], problem: ScheduleProblem | None = None) -> dict[str, Any]:
    """A schedule and its newest tick. The next tick is computed if the row was written by hand and not planned yet."""
    definition = schedule.definition
    fields: dict[str, Any] = dict.fromkeys(ScheduleDefinition.model_fields)
    fields |= {"name": schedule.name, "timezone": "UTC", "enabled": False}
    if definition is not None:
        fields = definition.show()
    return {
        "id": schedule.id,
        **fields,
        "next_run_at": schedule.next_run_at or _compute_first_tick(definition),
        "has_ended": schedule.next_run_at is None and _has_ended(definition),
        "problem": problem.text if problem is not None else None,
        "last_tick": last.get("scheduled_for"),
        "last_state": last.get("state"),
        "last_run": last.get("run_id"),
        "last_run_status": last.get("status"),
        "last_success": last.get("last_success"),
        "waiting_ticks": last.get("waiting"),
    }


def _compute_first_tick(definition: ScheduleDefinition | None) -> datetime | None:
    try:
        if definition is None or definition.timing is None or not definition.enabled:
            return None
        tick = next(definition.timing.after(datetime.now(UTC)), None)
    except UsageError:
        return None
    return None if tick is None else tick.moment


def _has_ended(definition: ScheduleDefinition | None) -> bool:
    now = datetime.now(UTC)
    try:
        timing = None if definition is None else definition.timing
        return timing is not None and timing.ends_by_itself(now) and next(timing.after(now), None) is None
    except UsageError:
        return False


def format_local_time(moment: datetime | None, timezone: str) -> str:
    """A moment in a time zone, for people, or in UTC if it is not one; empty for None."""
    try:
        zone = zone_named(timezone)
    except UsageError:
        zone = ZoneInfo("UTC")
    return "" if moment is None else moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %Z")
