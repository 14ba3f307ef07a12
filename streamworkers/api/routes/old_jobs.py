"""The paths of the replaced systems about jobs, which are schedules here: state, history, trigger, pause, resume."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.operation import Operation
from streamworkers.api.problem import Problem
from streamworkers.api.routes.schedule_types import Triggered
from streamworkers.api.routes.schedules import find_visible_schedule, trigger_schedule
from streamworkers.engine.ledger.run_pages import list_executions
from streamworkers.schedules import store
from streamworkers.schedules.reports import list_schedule_states


class OldJobView(msgspec.Struct):
    """A schedule as the replaced systems showed a job."""

    job_id: str
    name: str
    job: str | None
    enabled: bool
    paused: bool
    trigger: str | None
    next_run_time: datetime | None
    last_run_time: datetime | None
    last_run_status: str | None
    last_success: datetime | None


class OldJobStatus(msgspec.Struct):
    """All jobs, and how many of them are paused."""

    timestamp: datetime
    total: int
    paused: int
    jobs: list[OldJobView]


class ExecutionView(msgspec.Struct):
    """An ended run, with the columns of the view `job_executions`."""

    id: int
    job_name: str
    started_at: datetime | None
    completed_at: datetime | None
    duration_seconds: float | None
    success: bool
    result: dict[str, Any]
    error: str | None


class ExecutionList(msgspec.Struct):
    """Ended runs, the newest first."""

    count: int
    executions: list[ExecutionView]


class Switched(msgspec.Struct):
    """A schedule that was paused or resumed; `job_id` is its name."""

    success: bool
    message: str
    job_id: str


class HistoryQuery(msgspec.Struct, forbid_unknown_fields=True):
    """How many ended runs, and of which job: a job's or a schedule's name."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    job_name: str | None = None


def _job_status(call: ApiCall) -> ApiAnswer:
    """Show all jobs of the replaced systems: schedules, with their next and newest ticks."""
    jobs = [
        {
            "job_id": row["name"],
            "name": row["name"],
            "job": row["job"],
            "enabled": row["enabled"],
            "paused": not row["enabled"],
            "trigger": row["trigger"],
            "next_run_time": row["next_run_at"] if row["enabled"] else None,
            "last_run_time": row["scheduled_for"],
            "last_run_status": row["status"],
            "last_success": row["last_success"],
        }
        for row in list_schedule_states(call.connection, call.caller.viewer)
    ]
    paused = sum(not job["enabled"] for job in jobs)
    return ApiAnswer({"timestamp": datetime.now(UTC), "total": len(jobs), "paused": paused, "jobs": jobs})


def _job_history(call: ApiCall) -> ApiAnswer:
    """List ended runs, the newest first, with the columns of the replaced systems."""
    rows = list_executions(call.connection, call.caller.viewer, call.query.job_name, call.query.limit)
    return ApiAnswer({"count": len(rows), "executions": rows})


def _trigger_job(call: ApiCall) -> ApiAnswer:
    """Start a run of a schedule now, paused or not."""
    return trigger_schedule(call, find_visible_schedule(call, call.path["job_id"]))


def _pause_job(call: ApiCall) -> ApiAnswer:
    """Pause a schedule: its ticks meanwhile are not made up for."""
    return _switch(call, enabled=False)


def _resume_job(call: ApiCall) -> ApiAnswer:
    """Resume a schedule: the next tick from now on starts."""
    return _switch(call, enabled=True)


def _switch(call: ApiCall, *, enabled: bool) -> ApiAnswer:
    name = find_visible_schedule(call, call.path["job_id"]).name
    store.set_enabled(call.connection, name, enabled, call.caller.actor)
    message = f"schedule {name} {'resumed' if enabled else 'paused'}"
    return ApiAnswer({"success": True, "message": message, "job_id": name})


def _run_report(_: ApiCall) -> ApiAnswer:
    """Answered 501: reports do not exist yet."""
    raise Problem(501, "not-there-yet", "reports do not exist yet")


def _run_screener(_: ApiCall) -> ApiAnswer:
    """Answered 501: screeners do not exist yet."""
    raise Problem(501, "not-there-yet", "screeners do not exist yet")


OLD_JOB_OPERATIONS = (
    Operation("GET", "/jobs/status", "Show all jobs", _job_status, OldJobStatus, object_type="schedule"),
    Operation(
        *("GET", "/jobs/history", "List ended runs", _job_history, ExecutionList),
        query=HistoryQuery,
        object_type="run",
    ),
    Operation(
        *("POST", "/jobs/trigger/{job_id}", "Start a job now", _trigger_job, Triggered),
        scope="schedule",
        status=202,
        action="schedule.trigger",
        object_type="schedule",
        problems=(400, 404, 409),
    ),
    Operation(
        *("POST", "/jobs/pause/{job_id}", "Pause a job", _pause_job, Switched),
        scope="schedule",
        action="schedule.pause",
        object_type="schedule",
        problems=(400, 404),
    ),
    Operation(
        *("POST", "/jobs/resume/{job_id}", "Resume a job", _resume_job, Switched),
        scope="schedule",
        action="schedule.resume",
        object_type="schedule",
        problems=(400, 404),
    ),
    Operation(
        *("POST", "/reports/run", "Run a report", _run_report, Switched),
        scope="run",
        action="report.run",
        object_type="report",
        problems=(501,),
    ),
    Operation(
        *("POST", "/screeners/run", "Run a screener", _run_screener, Switched),
        scope="run",
        action="screener.run",
        object_type="screener",
        problems=(501,),
    ),
)
