"""Routes about schedules, and those of the replaced systems about their jobs, which are schedules here."""

from functools import cache
from typing import Any

import msgspec

from streamworkers.actor import LOCAL
from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.conditions import require_version, tag_answer
from streamworkers.api.operation import Operation
from streamworkers.api.problem import Conflict, Hidden, InvalidInput, NotFound, Problem
from streamworkers.api.routes.schedule_types import (
    Removed,
    ScheduleBody,
    ScheduleList,
    SchedulePatch,
    ScheduleView,
    TriggerBody,
    Triggered,
    show_schedule_row,
)
from streamworkers.api.routes.webhook_variables import require_usable_variables
from streamworkers.engine.ledger.job_types import needs_bars
from streamworkers.engine.registry import Registry, installed_jobs
from streamworkers.errors import BadInputError
from streamworkers.market.bars.unknown_symbols import describe_without_bars
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.schedules import reports, run_factory, store
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.problems import find_problems, require_target
from streamworkers.schedules.run_factory import AS_SCHEDULED, Changes
from streamworkers.schedules.store import Schedule
from streamworkers.schedules.webhooks import keep_shown_webhook


def find_visible_schedule(call: ApiCall, text: str, *, lock: bool = False) -> Schedule:
    """Return the schedule with this name or number if the caller may see it. Raises NotFound."""
    every = store.list_schedules(call.connection)
    found = next((each for each in every if text in (each.name, str(each.id))), None)
    if found is None:
        raise NotFound("schedule", text)
    if not _may_see(call, found):
        raise Hidden("schedule", text)
    return store.lock_schedule(call.connection, found.name) if lock else found


def list_visible(call: ApiCall) -> list[tuple[Schedule, dict[str, Any]]]:
    """Return the schedules that the caller may see, each with its newest tick."""
    last = reports.last_runs(call.connection)
    every = store.list_schedules(call.connection)
    return [(each, last.get(each.id, {})) for each in every if _may_see(call, each)]


def _may_see(call: ApiCall, schedule: Schedule) -> bool:
    owner = schedule.definition.user_id if schedule.definition is not None else None
    return call.caller.is_admin or owner in (None, LOCAL.user, call.caller.user)


def _show_schedules(call: ApiCall) -> ApiAnswer:
    """List schedules, yours and those of nobody, each with its next and its newest tick."""
    problems = find_problems(call.connection, _jobs())
    rows = [show_schedule_row(each, last, problems.get(each.name)) for each, last in list_visible(call)]
    return ApiAnswer({"schedules": rows})


def _show_schedule(call: ApiCall) -> ApiAnswer:
    """Show a schedule, by its name or its number; its version is the ETag."""
    return _answer(call, find_visible_schedule(call, call.path["schedule"]))


def _create_schedule(call: ApiCall) -> ApiAnswer:
    """Add a schedule; it is yours unless an admin names another user."""
    definition = _read_definition(call, None)
    definition.require_ticks(store.database_clock(call.connection))
    try:
        store.save_schedule(call.connection, definition, actor=call.caller.actor)
    except BadInputError as error:
        if "already" in str(error):
            raise Conflict(str(error)) from None
        raise
    answer = _answer(call, store.require_schedule(call.connection, definition.name))
    answer.status, answer.headers["Location"] = 201, f"/api/v1/schedules/{definition.name}"
    return answer


def _replace_schedule(call: ApiCall) -> ApiAnswer:
    """Replace a schedule of the version that If-Match names: what the body leaves out has its default."""
    store.lock_edits(call.connection)
    before = find_visible_schedule(call, call.path["schedule"], lock=True)
    require_version(call, before.version)
    definition = _read_definition(call, before)
    store.save_schedule(call.connection, definition, old_name=before.name, actor=call.caller.actor)
    return _answer(call, store.require_schedule(call.connection, definition.name))


def _change_schedule(call: ApiCall) -> ApiAnswer:
    """Change fields of a schedule of the version that If-Match names: those that the body names, by RFC 7396."""
    store.lock_edits(call.connection)
    before = find_visible_schedule(call, call.path["schedule"], lock=True)
    require_version(call, before.version)
    kept = before.require_definition().model_dump(mode="json")
    given = keep_shown_webhook(msgspec.to_builtins(call.body), kept)
    if isinstance(given.get("parameters"), dict):
        merged = kept["parameters"] | given["parameters"]
        given["parameters"] = {name: value for name, value in merged.items() if value is not None}
    fields = {name: value for name, value in (kept | given).items() if value is not None}
    definition = _check_definition(call, fields, before)
    store.save_schedule(call.connection, definition, old_name=before.name, actor=call.caller.actor)
    return _answer(call, store.require_schedule(call.connection, definition.name))


def _remove_schedule(call: ApiCall) -> ApiAnswer:
    """Remove a schedule of the version that If-Match names; its runs stay."""
    store.lock_edits(call.connection)
    before = find_visible_schedule(call, call.path["schedule"], lock=True)
    require_version(call, before.version)
    try:
        store.remove_schedule(call.connection, before.name, call.caller.actor)
    except BadInputError as error:
        raise Conflict(str(error)) from None
    return ApiAnswer({"name": before.name, "removed": True})


def trigger_schedule(call: ApiCall, schedule: Schedule, changes: Changes = AS_SCHEDULED) -> ApiAnswer:
    """Start a run of a schedule now, paused or not: it is submitted, as any run. Raises Conflict."""
    try:
        run = run_factory.submit_trigger(call.connection, schedule.name, call.caller.actor, changes)
    except BadInputError as error:
        if "max_instances" in str(error):
            raise Conflict(str(error)) from None
        raise
    message = f"schedule {schedule.name} triggered: run {run.id}"
    body = {"success": True, "message": message, "job_id": schedule.name, "id": run.id, "run_id": run.run_id}
    return ApiAnswer(body, 202)


def _trigger(call: ApiCall) -> ApiAnswer:
    """Start a run of a schedule now, paused or not, about what the body names. 409 while it has its most open runs."""
    body: TriggerBody = call.body
    if body.symbols is not None and body.universe is not None:
        raise InvalidInput("name either symbols or a universe")
    changes = Changes(
        None if body.symbols is None else tuple(body.symbols),
        body.universe,
        None if body.timeframe is None else timeframe_named(body.timeframe).name,
        parameters=body.parameters or {},
    )
    return trigger_schedule(call, find_visible_schedule(call, call.path["schedule"]), changes)


def _answer(call: ApiCall, schedule: Schedule) -> ApiAnswer:
    last = reports.last_runs(call.connection).get(schedule.id, {})
    problem = find_problems(call.connection, _jobs()).get(schedule.name)
    body = show_schedule_row(schedule, last, problem) | {"warnings": _warnings(call, schedule)}
    return tag_answer(call, ApiAnswer(body), schedule.version)


def _warnings(call: ApiCall, schedule: Schedule) -> list[str]:
    symbols = schedule.definition.symbols if schedule.definition is not None else ()
    if schedule.definition is None or not symbols or not needs_bars(call.connection, schedule.definition.job):
        return []
    text = describe_without_bars(call.connection, symbols)
    return [] if text is None else [text]


def _read_definition(call: ApiCall, before: Schedule | None) -> ScheduleDefinition:
    given = {name: value for name, value in msgspec.to_builtins(call.body).items() if value is not None}
    kept = before.definition.model_dump(mode="json") if before is not None and before.definition is not None else None
    return _check_definition(call, keep_shown_webhook(given, kept), before)


def _check_definition(call: ApiCall, given: dict[str, Any], before: Schedule | None) -> ScheduleDefinition:
    stored = before.definition if before is not None else None
    owner = stored.user_id if stored is not None else None
    if before is None and not call.caller.is_admin:
        owner = call.caller.user
    if given.setdefault("user_id", owner) != owner and not call.caller.is_admin:
        raise Problem(403, "forbidden", "only an admin gives a schedule to another user")
    definition = ScheduleDefinition.parse(given)
    definition.require_sound(_jobs())
    require_target(call.connection, definition, stored)
    require_usable_variables(call, definition.webhook, stored.webhook if stored is not None else None)
    return definition


@cache
def _jobs() -> Registry:
    """The jobs of this installation, loaded when a schedule is first written."""
    return installed_jobs()


_BODY = {"name": "evening", "job": "analysis", "target": {"universe": "sp500"}, "cron": "10 18 * * mon-fri"}
SCHEDULE_OPERATIONS = (
    Operation("GET", "/schedules", "List schedules", _show_schedules, ScheduleList, object_type="schedule"),
    Operation(
        *("POST", "/schedules", "Add a schedule", _create_schedule, ScheduleView),
        scope="schedule",
        body=ScheduleBody,
        status=201,
        action="schedule.create",
        object_type="schedule",
        problems=(400, 409),
        example=_BODY,
    ),
    Operation(
        *("GET", "/schedules/{schedule}", "Show a schedule", _show_schedule, ScheduleView),
        is_tagged=True,
        object_type="schedule",
        problems=(404,),
    ),
    Operation(
        *("PUT", "/schedules/{schedule}", "Replace a schedule", _replace_schedule, ScheduleView),
        scope="schedule",
        body=ScheduleBody,
        action="schedule.change",
        object_type="schedule",
        problems=(404, 412, 428),
        example=_BODY,
    ),
    Operation(
        *("PATCH", "/schedules/{schedule}", "Change fields of a schedule", _change_schedule, ScheduleView),
        scope="schedule",
        body=SchedulePatch,
        action="schedule.change",
        object_type="schedule",
        problems=(404, 412, 428),
        example={"cron": "30 18 * * mon-fri", "jitter_seconds": None},
    ),
    Operation(
        *("DELETE", "/schedules/{schedule}", "Remove a schedule", _remove_schedule, Removed),
        scope="schedule",
        action="schedule.remove",
        object_type="schedule",
        problems=(404, 409, 412, 428),
    ),
    Operation(
        *("POST", "/schedules/{schedule}/trigger", "Start a run of a schedule", _trigger, Triggered),
        scope="schedule",
        body=TriggerBody,
        status=202,
        action="schedule.trigger",
        object_type="schedule",
        problems=(400, 404, 409),
        example={"symbols": ["AAPL", "MSFT"], "timeframe": "hour"},
    ),
)
