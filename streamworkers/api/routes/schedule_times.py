"""Routes about the ticks of schedules: those to come, those of a schedule to be, and the outcomes of those before."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.operation import Operation
from streamworkers.api.problem import InvalidInput
from streamworkers.api.routes.schedule_types import DecidedTicks, PreviewBody, TickList
from streamworkers.api.routes.schedules import find_visible_schedule
from streamworkers.schedules import reports
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.timing import Timing


class NextQuery(msgspec.Struct, forbid_unknown_fields=True):
    """How many of the next ticks, and from when on."""

    n: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    start: Annotated[datetime, msgspec.Meta(tz=True)] | None = msgspec.field(name="from", default=None)


class TicksQuery(msgspec.Struct, forbid_unknown_fields=True):
    """How many of the newest ticks."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


def _next_ticks(call: ApiCall) -> ApiAnswer:
    """List the next ticks of a schedule, in its time zone."""
    schedule = find_visible_schedule(call, call.path["schedule"])
    timing = schedule.require_definition().timing
    if timing is None:
        raise InvalidInput(f"schedule {schedule.name!r} has no cron: an event starts it")
    return _answer_ticks(timing, call.query)


def _preview_ticks(call: ApiCall) -> ApiAnswer:
    """List when a schedule with this cron would tick, by the evaluation that starts runs. Nothing is changed."""
    body: PreviewBody = call.body
    given = {"cron": body.cron, "timezone": body.timezone, "calendar": body.calendar, "ends_at": body.ends_at}
    fields = {name: value for name, value in given.items() if value is not None}
    timing = ScheduleDefinition.parse({"name": "preview", "job": "preview", **fields}).timing
    assert timing is not None
    return _answer_ticks(timing, body)


def _list_decided(call: ApiCall) -> ApiAnswer:
    """List the newest ticks of a schedule and their outcomes."""
    schedule = find_visible_schedule(call, call.path["schedule"])
    names: Sequence[str] = ("scheduled_for", "state", "run_id", "status", "seconds", "reason", "detail")
    rows: list[dict[str, Any]] = reports.ticks_of(call.connection, schedule.id, call.query.limit)
    return ApiAnswer({"ticks": [{name: row[name] for name in names} for row in rows]})


def _answer_ticks(timing: Timing, wanted: NextQuery | PreviewBody) -> ApiAnswer:
    ticks = timing.list_ticks(wanted.start or datetime.now(UTC), wanted.n)
    return ApiAnswer({"ticks": [tick.moment.astimezone(timing.zone) for tick in ticks]})


SCHEDULE_TIME_OPERATIONS = (
    Operation(
        *("GET", "/schedules/{schedule}/next", "List the next ticks", _next_ticks, TickList),
        query=NextQuery,
        object_type="schedule",
        problems=(404,),
    ),
    Operation(
        *("POST", "/schedules/preview", "List when a schedule would tick", _preview_ticks, TickList),
        body=PreviewBody,
        only_reads=True,
        object_type="schedule",
        problems=(400, 409),
        example={"cron": "session_close+10m", "calendar": "XNYS", "n": 5},
    ),
    Operation(
        *("GET", "/schedules/{schedule}/ticks", "List ticks and their outcomes", _list_decided, DecidedTicks),
        query=TicksQuery,
        object_type="schedule",
        problems=(404,),
    ),
)
