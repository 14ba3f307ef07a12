"""`streamworkers schedules`."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import click

from streamworkers.cli.schedule_audit import audit
from streamworkers.cli.schedule_backfill import backfill, missing
from streamworkers.cli.schedule_changes import print_planned_change
from streamworkers.cli.schedule_files import export_yaml, import_yaml, install_defaults, warn
from streamworkers.cli.schedule_once import at
from streamworkers.cli.schedule_options import collect_fields, definition_options
from streamworkers.cli.schedule_rows import format_local_time, list_rows
from streamworkers.cli.schedule_ticks import history, next_ticks
from streamworkers.cli.schedule_trigger import trigger
from streamworkers.cli.schedule_windows import windows
from streamworkers.cli.session import F, Session, json_option, print_json, print_table
from streamworkers.cli.unknown_symbols import warn_of_unknown_symbols
from streamworkers.database import Connection
from streamworkers.engine.registry import installed_jobs
from streamworkers.errors import BadInputError
from streamworkers.schedules import store
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.due_report import DueTicks, count_due_ticks, describe_due_ticks
from streamworkers.schedules.pausing import find_paused_with_all, pause_all, resume_all
from streamworkers.schedules.problems import require_target
from streamworkers.schedules.yaml_file import OLD_FIELDS

name_argument: Callable[[F], F] = click.argument("name")
_CLEARABLE = (
    "target",
    "timeframe",
    "cron",
    "on_event",
    "calendar",
    "after",
    "user_id",
    "parameters",
    "max_run_seconds",
    "done_by",
    "priority",
    "webhook",
    "ends_at",
)


@click.group()
def schedules() -> None:
    """Schedules: what starts runs, and when."""


@schedules.command("list")
@json_option
def list_schedules(as_json: bool) -> None:
    """List all schedules with their next and last ticks."""
    with Session.open().database() as connection:
        rows = list_rows(connection)
        with_all = find_paused_with_all(connection)
    for row in rows:
        row["paused_with_all"] = row["name"] in with_all
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["when"] = row["cron"] or f"on {row['on_event']}"
        paused = "paused with all" if row["paused_with_all"] else "paused"
        following = format_local_time(row["next_run_at"], row["timezone"]) if row["enabled"] else paused
        row["next"] = "ended" if row["has_ended"] else following
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
        row = next(row for row in list_rows(connection) if row["name"] == name)
    if as_json:
        print_json(row)
        return
    fields = [
        {"field": field, "value": format_local_time(value, row["timezone"]) if isinstance(value, datetime) else value}
        for field, value in row.items()
        if value is not None
    ]
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
    definition.require_ticks(datetime.now(UTC))
    with Session.open().database() as connection:
        require_target(connection, definition, None)
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
    metavar="FIELD",
    help=f"Clear a field: {', '.join(_CLEARABLE)}.",
)
@click.option("--dry-run", is_flag=True, help="Show ticks before and after, and what is due; change nothing.")
@json_option
def edit(
    name: str, new_name: str | None, cleared: tuple[str, ...], dry_run: bool, as_json: bool, **options: Any
) -> None:
    """Change the given fields of schedule NAME; --param changes one parameter and keeps the others."""
    cleared = tuple(_rename_old_field(field) for field in cleared)
    fields = collect_fields(options)
    registry = installed_jobs()
    with Session.open().database() as connection, connection.transaction(force_rollback=dry_run):
        store.lock_edits(connection)
        schedule = store.lock_schedule(connection, name)
        before = schedule.require_definition()
        kept = {field: value for field, value in before.model_dump().items() if field not in cleared}
        if "parameters" in fields:
            fields["parameters"] = kept.get("parameters", {}) | fields["parameters"]
        definition = ScheduleDefinition.parse(kept | fields | ({"name": new_name} if new_name else {}))
        definition.require_sound(registry)
        require_target(connection, definition, before)
        store.save_schedule(connection, definition, old_name=name)
        warn_of_unknown_symbols(connection, registry[definition.job], definition.symbols)
        due = count_due_ticks(connection, schedule)
        if dry_run:
            print_planned_change(before, definition, store.database_clock(connection), due, as_json)
        else:
            _answer(connection, definition.name, "changed", as_json, due=due)


@schedules.command(short_help="Remove a schedule, not its ticks and runs.")
@name_argument
@json_option
def remove(name: str, as_json: bool) -> None:
    """Remove a schedule; its ticks and runs stay until the retention deletes them."""
    with Session.open().database() as connection, connection.transaction():
        schedule = store.require_schedule(connection, name)
        store.remove_schedule(connection, name)
        due = count_due_ticks(connection, schedule)
    text = describe_due_ticks(due)
    _done(
        {"name": name, "removed": True, "due_ticks": due}, f"schedule {name} removed" + (text and f"; {text}"), as_json
    )


@schedules.command(short_help="Pause a schedule, or all, until `resume`.")
@click.argument("name", required=False)
@click.option("--all", "of_all", is_flag=True, help="Pause every schedule that is not paused yet.")
@json_option
def pause(name: str | None, of_all: bool, as_json: bool) -> None:
    """Pause a schedule, or all, until `resume`; it has no ticks meanwhile, and those that are due now are skipped."""
    if _require_one(name, of_all) is not None:
        _set_enabled(name or "", enabled=False, as_json=as_json)
        return
    with Session.open().database() as connection:
        paused = pause_all(connection)
    _done({"paused": paused}, f"{len(paused)} schedules paused", as_json)


@schedules.command(short_help="Resume a paused schedule, or all.")
@click.argument("name", required=False)
@click.option("--all", "of_all", is_flag=True, help="Resume every schedule that `pause --all` paused.")
@json_option
def resume(name: str | None, of_all: bool, as_json: bool) -> None:
    """Resume a paused schedule, or all that `pause --all` paused; the next tick from now on starts.

    A schedule that was paused by its name, before or after `pause --all`, stays paused until it is resumed by its name.
    """
    if _require_one(name, of_all) is not None:
        _set_enabled(name or "", enabled=True, as_json=as_json)
        return
    with Session.open().database() as connection:
        resumed, still_paused = resume_all(connection)
    _done({"resumed": resumed, "paused": still_paused}, f"{len(resumed)} schedules resumed", as_json)
    if still_paused:
        warn(f"still paused, because each was paused by its name: {', '.join(still_paused)}")


def _require_one(name: str | None, of_all: bool) -> str | None:
    """The name, or None for all. Raises BadInputError unless exactly one of both is given."""
    if (name is None) != of_all:
        raise BadInputError("name one schedule, or give --all")
    return name


schedules.add_command(trigger)
schedules.add_command(at)
schedules.add_command(windows)
schedules.add_command(next_ticks)
schedules.add_command(history)
schedules.add_command(audit)
schedules.add_command(backfill)
schedules.add_command(missing)
schedules.add_command(export_yaml)
schedules.add_command(import_yaml)
schedules.add_command(install_defaults)


def _rename_old_field(field: str) -> str:
    new = OLD_FIELDS.get(field, field)
    if new not in _CLEARABLE:
        raise BadInputError(f"--clear {field!r}: it is not {', '.join(_CLEARABLE[:-1])} or {_CLEARABLE[-1]}")
    if new != field:
        warn(f"the field {field} is now named {new}; the next release does not accept the old name")
    return new


def _set_enabled(name: str, *, enabled: bool, as_json: bool) -> None:
    with Session.open().database() as connection, connection.transaction():
        schedule = store.require_schedule(connection, name)
        before = {row["name"]: row["problem"] for row in list_rows(connection)}
        store.set_enabled(connection, name, enabled)
        due = count_due_ticks(connection, schedule)
        _answer(connection, name, "resumed" if enabled else "paused", as_json, before, due)


def _answer(
    connection: Connection,
    name: str,
    verb: str,
    as_json: bool,
    before: Mapping[str, str | None] | None = None,
    due: DueTicks | None = None,
) -> None:
    """Say what was done, and what is wrong now; with the problems of all schedules from `before`, also of others."""
    rows = {row["name"]: row for row in list_rows(connection)}
    row = rows[name]
    following = format_local_time(row["next_run_at"], row["timezone"]) if row["enabled"] else ""
    words = [
        f"schedule {name} {verb}",
        f"its next tick is {following}" if following else "",
        describe_due_ticks(due or {}),
    ]
    _done(row | ({} if due is None else {"due_ticks": due}), "; ".join(filter(None, words)), as_json)
    for other, shown in rows.items():
        if shown["problem"] and (other == name or (before is not None and shown["problem"] != before.get(other))):
            warn(f"{other}: {shown['problem']}")


def _done(row: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        print_json(row)
    else:
        click.echo(text)
