"""`streamworkers schedules`."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from streamworkers.cli.as_of import as_of_option
from streamworkers.cli.schedule_files import export_yaml, import_yaml, install_defaults, warn
from streamworkers.cli.schedule_options import collect_fields, definition_options
from streamworkers.cli.schedule_rows import format_local_time, list_with_last, to_json
from streamworkers.cli.session import (
    F,
    Session,
    json_option,
    limit_option,
    messages,
    parse_parameters,
    parse_since,
    print_json,
    print_table,
    timeout_option,
)
from streamworkers.cli.unknown_symbols import warn_of_unknown_symbols
from streamworkers.cli.waiting import summarize_run, wait_for_run, warn_without_workers
from streamworkers.database import Connection
from streamworkers.engine.registry import installed_jobs
from streamworkers.errors import BadInputError
from streamworkers.market.bars.as_of import parse_as_of
from streamworkers.market.universes.store import resolve
from streamworkers.schedules import reports, run_factory, store
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.run_factory import Changes
from streamworkers.schedules.yaml_file import OLD_FIELDS

name_argument: Callable[[F], F] = click.argument("name")
_CLEARABLE = ("target", "timeframe", "cron", "on_event", "calendar", "after", "user_id", "parameters")


@click.group()
def schedules() -> None:
    """Schedules: what starts runs, and when."""


@schedules.command("list")
@json_option
def list_schedules(as_json: bool) -> None:
    """List all schedules with their next and last ticks."""
    with Session.open().database() as connection:
        rows = [to_json(schedule, row) for schedule, row in list_with_last(connection)]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["when"] = row["cron"] or f"on {row['on_event']}"
        row["next"] = format_local_time(row["next_run_at"], row["timezone"]) if row["enabled"] else "paused"
        row["last"] = " ".join(str(word) for word in (row["last_state"], row["last_run_status"]) if word)
    columns = {
        "name": "name",
        "job": "job",
        "when": "when",
        "calendar": "calendar",
        "next": "next",
        "last": "last",
    }
    print_table(rows, columns, "no schedules yet: streamworkers schedules install-defaults")
    for row in rows:
        if row["problem"]:
            warn(f"{row['name']}: {row['problem']}")


@schedules.command()
@name_argument
@json_option
def show(name: str, as_json: bool) -> None:
    """Show all fields of a schedule."""
    with Session.open().database() as connection:
        store.require_schedule(connection, name)
        row = next(to_json(schedule, last) for schedule, last in list_with_last(connection) if schedule.name == name)
    if as_json:
        print_json(row)
        return
    fields = [{"field": field, "value": value} for field, value in row.items() if value is not None]
    print_table(fields, {"field": "field", "value": "value"}, "")


@schedules.command(short_help="Add a schedule.")
@name_argument
@definition_options
@click.option("--paused", is_flag=True, help="Add it paused: nothing starts until `resume`.")
@json_option
def add(name: str, paused: bool, as_json: bool, **options: Any) -> None:
    """Add a schedule NAME with --job, --cron or --on-event, and --universe or --symbols if the job needs symbols."""
    fields = collect_fields(options)
    if "job" not in fields:
        raise BadInputError("name the job: --job")
    definition = ScheduleDefinition.parse({"name": name, **fields, "enabled": not paused})
    registry = installed_jobs()
    definition.require_sound(registry)
    with Session.open().database() as connection:
        store.save_schedule(connection, definition)
        warn_of_unknown_symbols(connection, registry[definition.job], definition.symbols)
        _answer(connection, name, "added", as_json)


@schedules.command(short_help="Change fields of a schedule.")
@name_argument
@click.option("--name", "new_name", help="Rename the schedule.")
@definition_options
@click.option(
    "--clear",
    "cleared",
    multiple=True,
    type=click.Choice([*_CLEARABLE, "task_params"]),
    metavar="FIELD",
    help=f"Clear a field: {', '.join(_CLEARABLE)}.",
)
@json_option
def edit(name: str, new_name: str | None, cleared: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Change the given fields of schedule NAME; --param changes one parameter and keeps the others."""
    cleared = tuple(_rename_old_field(field) for field in cleared)
    fields = collect_fields(options)
    registry = installed_jobs()
    with Session.open().database() as connection, connection.transaction():
        store.lock_edits(connection)
        before = store.lock_schedule(connection, name).require_definition()
        kept = {field: value for field, value in before.model_dump().items() if field not in cleared}
        if "parameters" in fields:
            fields["parameters"] = kept.get("parameters", {}) | fields["parameters"]
        definition = ScheduleDefinition.parse(kept | fields | ({"name": new_name} if new_name else {}))
        definition.require_sound(registry)
        store.save_schedule(connection, definition, old_name=name)
        warn_of_unknown_symbols(connection, registry[definition.job], definition.symbols)
        _answer(connection, definition.name, "changed", as_json)


@schedules.command(short_help="Remove a schedule, not its runs.")
@name_argument
@json_option
def remove(name: str, as_json: bool) -> None:
    """Remove a schedule and its recorded ticks; its runs stay."""
    with Session.open().database() as connection:
        store.require_schedule(connection, name)
        store.remove_schedule(connection, name)
    _done({"name": name, "removed": True}, f"schedule {name} removed", as_json)


@schedules.command(short_help="Pause a schedule until `resume`.")
@name_argument
@json_option
def pause(name: str, as_json: bool) -> None:
    """Pause a schedule until `resume`; its ticks meanwhile are not made up for."""
    _set_enabled(name, enabled=False, as_json=as_json)


@schedules.command(short_help="Resume a paused schedule.")
@name_argument
@json_option
def resume(name: str, as_json: bool) -> None:
    """Resume a paused schedule; the next tick from now on starts."""
    _set_enabled(name, enabled=True, as_json=as_json)


@schedules.command(short_help="Start a run of a schedule now.")
@name_argument
@as_of_option
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="A parameter, for this run only.")
@click.option("--wait", is_flag=True, help="Wait for the run and show its progress and summary.")
@timeout_option
@json_option
def trigger(
    name: str, as_of: str | None, parameters: tuple[str, ...], wait: bool, timeout: float | None, as_json: bool
) -> int:
    """Start a run of schedule NAME now, paused or not."""
    if timeout is not None and not wait:
        raise BadInputError("--timeout is the time to --wait: name both")
    session = Session.open()
    with session.database() as connection, session.streams() as streams:
        definition = store.require_schedule(connection, name).require_definition()
        symbols, _ = run_factory.find_symbols(connection, resolve, definition, run_factory.AS_SCHEDULED)
        moment = parse_as_of(connection, session.settings.calendar, symbols, as_of) if as_of else None
        changes = Changes(as_of=moment, parameters=parse_parameters(parameters))
        run = run_factory.trigger(connection, streams, installed_jobs(), name, changes)
        if wait:
            return wait_for_run(connection, run, timeout=timeout, as_json=as_json, streams=streams)
        warn_without_workers(streams, run.queue)
        if as_json:
            print_json(summarize_run(connection, run))
        else:
            click.echo(f"run {run.id}: {run.item_count} items of {run.job} in queue {run.queue}")
            click.echo(f"watch it: streamworkers runs watch {run.id}")
    return 0


@schedules.command("next", short_help="Show the next ticks of a schedule.")
@name_argument
@click.option("--count", type=click.IntRange(1, 1000), default=10, show_default=True, help="The number of ticks.")
@click.option("--from", "start", help="Start at this date or ISO time.  [default: now]")
@json_option
def next_ticks(name: str, count: int, start: str | None, as_json: bool) -> None:
    """Show the next ticks of schedule NAME, in its time zone and in UTC."""
    with Session.open().database() as connection:
        definition = store.require_schedule(connection, name).require_definition()
    if definition.timing is None:
        raise BadInputError(f"schedule {name!r} has no cron: it is started by {definition.on_event}")
    moment = parse_since(start) if start is not None else datetime.now(UTC)
    zone = definition.timing.zone
    rows = [
        {
            "local": tick.moment.astimezone(zone).isoformat(),
            "utc": tick.moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "session": tick.session.isoformat(),
        }
        for tick in definition.timing.list_ticks(moment, count)
    ]
    if as_json:
        print_json(rows)
        return
    print_table(rows, {"local": definition.timezone, "utc": "UTC"}, "no more ticks")
    if not definition.enabled:
        messages.print(f"schedule {name} is paused", markup=False)
    if len(rows) < count:
        messages.print(f"the calendar {definition.calendar} ends there", markup=False)


@schedules.command(short_help="Show the ticks of a schedule and their outcomes.")
@name_argument
@limit_option
@json_option
def history(name: str, limit: int, as_json: bool) -> None:
    """Show the newest ticks of a schedule and their outcomes."""
    with Session.open().database() as connection:
        schedule = store.require_schedule(connection, name)
        rows = reports.ticks_of(connection, schedule.id, limit)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        missing = (row["detail"] or {}).get("missing", [])
        row["why"] = " ".join(filter(None, (row["reason"], f"missing: {', '.join(missing[:10])}" if missing else "")))
        row["seconds"] = None if row["seconds"] is None else f"{row['seconds']:,.2f}"
    columns = {"scheduled_for": "tick", "state": "state", "run_id": "run", "status": "status", "seconds": "seconds"}
    print_table(rows, {**columns, "why": "why"}, "no ticks yet")


schedules.add_command(export_yaml)
schedules.add_command(import_yaml)
schedules.add_command(install_defaults)


def _rename_old_field(field: str) -> str:
    new = OLD_FIELDS.get(field, field)
    if new != field:
        warn(f"the field {field} is now named {new}; the next release does not accept the old name")
    return new


def _set_enabled(name: str, *, enabled: bool, as_json: bool) -> None:
    with Session.open().database() as connection:
        store.require_schedule(connection, name)
        store.set_enabled(connection, name, enabled)
        _answer(connection, name, "resumed" if enabled else "paused", as_json)


def _answer(connection: Connection, name: str, verb: str, as_json: bool) -> None:
    schedule = store.require_schedule(connection, name)
    row = to_json(schedule, {})
    following = format_local_time(row["next_run_at"], row["timezone"]) if row["enabled"] else ""
    _done(row, f"schedule {name} {verb}" + (f"; its next tick is {following}" if following else ""), as_json)
    if row["problem"]:
        warn(f"{name}: {row['problem']}")


def _done(row: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        print_json(row)
    else:
        click.echo(text)
