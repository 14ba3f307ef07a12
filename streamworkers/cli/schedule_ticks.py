"""`streamworkers schedules next` and `history`: ticks to come and ticks that were decided, of one schedule or all."""

from datetime import UTC, datetime
from typing import Any

import click

from streamworkers.cli.checked_text import check_since
from streamworkers.cli.schedule_files import warn
from streamworkers.cli.schedule_rows import format_local_time
from streamworkers.cli.session import Session, json_option, limit_option, messages, parse_since, print_json, print_table
from streamworkers.database import Connection
from streamworkers.errors import BadInputError, UsageError
from streamworkers.schedules import reports, store, timings
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.maintenance import MaintenanceWindow, find_open, find_skipping, windows_of
from streamworkers.schedules.maintenance_store import read_maintenance_windows
from streamworkers.schedules.reports import TICK_STATES, TickFilter
from streamworkers.schedules.upcoming import UpcomingTick, list_upcoming

_USUAL_COUNT = 10
_MOST_TICKS = 1000
_WINDOW = {"window": "in a window"}


@click.command("next", short_help="Show the next ticks of a schedule, or of all.")
@click.argument("name", required=False)
@click.option(
    "--count",
    type=click.IntRange(1, _MOST_TICKS),
    help=f"The most ticks to show.  [default: {_USUAL_COUNT}; with --until {_MOST_TICKS}]",
)
@click.option(
    "--from", "start", callback=check_since, help="Start at this date or ISO time, in New York.  [default: now]"
)
@click.option("--until", callback=check_since, help="Show only ticks before this date or ISO time, in New York.")
@json_option
def next_ticks(name: str | None, count: int | None, start: str | None, until: str | None, as_json: bool) -> None:
    """Show the next ticks of schedule NAME, or of all schedules that are not paused, in their time zones and in UTC."""
    with Session.open().database() as connection:
        definitions = [_require_ticking(connection, name)] if name is not None else _find_ticking(connection)
        windows = _read_windows_by_name(connection)
    most = count or (_USUAL_COUNT if until is None else _MOST_TICKS)
    since = parse_since(start) if start is not None else datetime.now(UTC)
    before = parse_since(until) if until is not None else None
    upcoming = list_upcoming(definitions, since, before, most)
    rows = [_describe(each, windows.get(each.definition.name, [])) for each in upcoming]
    if as_json:
        print_json(rows)
    elif name is not None:
        columns = {"local": definitions[0].timezone, "utc": "UTC"}
        print_table(rows, {**columns, **_WINDOW} if any(row["window"] for row in rows) else columns, "no more ticks")
    else:
        for row, (definition, tick) in zip(rows, upcoming, strict=True):
            row["time"] = format_local_time(tick.moment, definition.timezone)
        columns = {"time": "time", "utc": "UTC", "schedule": "schedule", "job": "job", "after": "after"}
        print_table(rows, {**columns, **_WINDOW} if any(row["window"] for row in rows) else columns, "no more ticks")
    if name is not None:
        _explain(definitions[0], len(rows), most, before)
    elif len(rows) == most and count is None and until is not None:
        messages.print(f"these are the first {most} ticks: --from starts later", markup=False)


def _require_ticking(connection: Connection, name: str) -> ScheduleDefinition:
    definition = store.require_schedule(connection, name).require_definition()
    if definition.timing is None:
        raise BadInputError(f"schedule {name!r} has no cron: it is started by {definition.on_event}")
    return definition


def _find_ticking(connection: Connection) -> list[ScheduleDefinition]:
    """The schedules that tick; says which are paused, which only an event starts, and which are invalid."""
    paused, by_event, found = [], [], []
    for schedule in store.list_schedules(connection):
        try:
            definition = schedule.require_definition()
            if definition.timing is None:
                by_event.append(schedule.name)
            elif not definition.enabled:
                paused.append(schedule.name)
            else:
                found.append(definition)
        except UsageError as error:
            warn(f"{schedule.name}: {error}")
    for names, what in ((paused, "paused"), (by_event, "started by an event")):
        if names:
            messages.print(f"not shown, because {what}: {', '.join(names)}", markup=False, soft_wrap=True)
    return found


def _read_windows_by_name(connection: Connection) -> dict[str, list[MaintenanceWindow]]:
    """The maintenance windows that are open or to come, by the names of their schedules."""
    every = read_maintenance_windows(connection, store.database_clock(connection))
    return {each.name: windows_of(every, each.id) for each in store.list_schedules(connection)} if every else {}


def _describe(upcoming: UpcomingTick, windows: list[MaintenanceWindow]) -> dict[str, Any]:
    definition, tick = upcoming
    assert definition.timing is not None
    window = find_skipping(windows, tick.moment) or find_open(windows, tick.moment)
    return {
        "schedule": definition.name,
        "job": definition.job,
        "local": tick.moment.astimezone(definition.timing.zone).isoformat(),
        "timezone": definition.timezone,
        "utc": tick.moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "session": tick.session.isoformat(),
        "after": definition.after,
        "window": window and f"{'skipped' if window.mode == 'skip' else 'waits'}: {window.describe()}",
    }


def _explain(definition: ScheduleDefinition, shown: int, most: int, before: datetime | None) -> None:
    if not definition.enabled:
        messages.print(f"schedule {definition.name} is paused", markup=False)
    timing, is_short = definition.timing, shown < most and before is None
    if timing is not None and is_short and timing.ends_by_itself(datetime.now(UTC)):
        messages.print(f"schedule {definition.name} ends there", markup=False)
    elif is_short:
        messages.print(f"the calendar {definition.calendar} ends there", markup=False)


@click.command(short_help="Show decided ticks, of a schedule or of all.")
@click.argument("name", required=False)
@click.option(
    "--state", "states", multiple=True, type=click.Choice(TICK_STATES), help="Only ticks in this state; repeatable."
)
@click.option("--since", callback=check_since, help="Only ticks due since this date or ISO time, in New York.")
@click.option("--until", callback=check_since, help="Only ticks due before this date or ISO time, in New York.")
@limit_option
@json_option
def history(
    name: str | None, states: tuple[str, ...], since: str | None, until: str | None, limit: int, as_json: bool
) -> None:
    """Show the newest ticks of schedule NAME, or of all, removed ones too, and their outcomes, the newest first."""
    first, last = (parse_since(text) if text is not None else None for text in (since, until))
    with Session.open().database() as connection:
        schedule_id = timings.require_id(connection, name) if name is not None else None
        wanted = TickFilter(schedule_id, states, first, last)
        rows = reports.find_ticks(connection, wanted, limit)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        missing = (row["detail"] or {}).get("missing", [])
        row["why"] = " ".join(filter(None, (row["reason"], f"missing: {', '.join(missing[:10])}" if missing else "")))
        row["seconds"] = None if row["seconds"] is None else f"{row['seconds']:,.2f}"
        row["tick"] = format_local_time(row["scheduled_for"], row["timezone"])
    columns = {"tick": "tick", "state": "state", "run_id": "run", "status": "status", "seconds": "seconds"}
    names = {"schedule": "schedule"} if name is None else {}
    print_table(rows, {**names, **columns, "why": "why"}, "no ticks yet" if name and not states else "no such ticks")
