"""`streamworkers schedules`."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click

from streamworkers.cli.schedule_rows import local_time, shown, with_last
from streamworkers.cli.session import (
    F,
    Session,
    json_option,
    limit_option,
    messages,
    parse_moment,
    parse_parameters,
    parse_since,
    print_json,
    print_table,
    timeout_option,
)
from streamworkers.cli.waiting import summarize_run, wait_for_run, warn_without_workers
from streamworkers.database import Connection
from streamworkers.engine.registry import installed_jobs
from streamworkers.errors import BadInputError, UsageError
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.market.universes.store import parse_names, read_memberships
from streamworkers.schedules import reports, store
from streamworkers.schedules import run_factory as starter
from streamworkers.schedules.defaults import default_schedules
from streamworkers.schedules.definition import EVENTS, ScheduleDefinition
from streamworkers.schedules.run_factory import Changes
from streamworkers.schedules.yaml_file import from_yaml, to_yaml

name_argument: Callable[[F], F] = click.argument("name")
_CLEARABLE = ("target", "timeframe", "cron", "on_event", "calendar", "after", "user_id", "parameters")


def _definition_options(command: F) -> F:
    options: list[Callable[[F], F]] = [
        click.option("--job", "job", help="The job to run."),
        click.option("--universe", help="A universe, or several: 'sp500:nasdaq100'."),
        click.option("--symbols", help="Symbols, separated by commas."),
        click.option("--timeframe", help="1min, hour, day, week or month."),
        click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="A parameter of the job."),
        click.option("--cron", help="Five fields, six with seconds first, @daily, or session_close+10m."),
        click.option("--on-event", type=click.Choice(EVENTS), help="The event that starts it."),
        click.option("--timezone", help="Zone of the cron.  [default: America/New_York]"),
        click.option("--calendar", help="Ticks only on sessions of this exchange, such as XNYS."),
        click.option(
            "--catch-up", type=click.Choice(["skip", "latest", "all"]), help="Ticks that came late.  [default: latest]"
        ),
        click.option("--misfire-grace-seconds", type=int, help="So late is still on time.  [default: 300]"),
        click.option("--max-instances", type=int, help="Open runs at once.  [default: 1]"),
        click.option("--coalesce/--no-coalesce", default=None, help="Of several ticks on time start the newest alone."),
        click.option("--after", help="Wait for the run of this schedule in the same session."),
        click.option("--min-coverage", type=float, help="Share of its items to wait for.  [default: 1]"),
        click.option("--after-timeout-seconds", type=int, help="Wait no longer.  [default: 3600]"),
        click.option(
            "--after-timeout-action", type=click.Choice(["start", "skip"]), help="And then.  [default: start]"
        ),
        click.option("--jitter-seconds", type=int, help="Spread ticks over so long.  [default: 0]"),
        click.option("--user-id", help="Whose schedule it is."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _fields(words: dict[str, Any]) -> dict[str, Any]:
    """The fields of a definition that were named on the command line."""
    universe, symbols, parameters = words.pop("universe"), words.pop("symbols"), words.pop("parameters")
    fields = {name: value for name, value in words.items() if value is not None}
    if universe is not None and symbols is not None:
        raise BadInputError("name either --universe or --symbols")
    if universe is not None:
        fields["target"] = {"universe": universe}
    if symbols is not None:
        fields["target"] = {"symbols": [symbol.strip() for symbol in symbols.split(",") if symbol.strip()]}
    if parameters:
        fields["parameters"] = parse_parameters(parameters)
    return fields


@click.group()
def schedules() -> None:
    """Schedules: what starts runs, and when."""


@schedules.command("list")
@json_option
def list_schedules(as_json: bool) -> None:
    """All schedules, with their next and last ticks."""
    with Session.open().database() as connection:
        rows = [shown(schedule, row) for schedule, row in with_last(connection)]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["when"] = row["cron"] or f"on {row['on_event']}"
        row["next"] = local_time(row["next_run_at"], row["timezone"]) if row["enabled"] else "paused"
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
            messages.print(f"{row['name']}: {row['problem']}", markup=False)


@schedules.command()
@name_argument
@json_option
def show(name: str, as_json: bool) -> None:
    """One schedule with all its fields."""
    with Session.open().database() as connection:
        store.require_schedule(connection, name)
        row = next(shown(schedule, last) for schedule, last in with_last(connection) if schedule.name == name)
    if as_json:
        print_json(row)
        return
    fields = [{"field": field, "value": value} for field, value in row.items() if value is not None]
    print_table(fields, {"field": "field", "value": "value"}, "")


@schedules.command(short_help="Add a schedule.")
@name_argument
@_definition_options
@click.option("--paused", is_flag=True, help="Add it without starting anything yet.")
@json_option
def add(name: str, paused: bool, as_json: bool, **words: Any) -> None:
    """Add a schedule NAME: --job, --cron or --on-event, and for jobs about symbols --universe or --symbols."""
    fields = _fields(words)
    if "job" not in fields:
        raise BadInputError("name the job: --job")
    definition = ScheduleDefinition.parse({"name": name, **fields, "enabled": not paused})
    definition.require_sound(installed_jobs())
    with Session.open().database() as connection:
        store.save_schedule(connection, definition)
        _answer(connection, name, "added", as_json)


@schedules.command(short_help="Change fields of a schedule.")
@name_argument
@click.option("--name", "new_name", help="Another name.")
@_definition_options
@click.option("--clear", "cleared", multiple=True, type=click.Choice(_CLEARABLE), help="Take this field away.")
@json_option
def edit(name: str, new_name: str | None, cleared: tuple[str, ...], as_json: bool, **words: Any) -> None:
    """Change the fields of schedule NAME that are given; each --param replaces that parameter."""
    fields = _fields(words)
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
        _answer(connection, definition.name, "changed", as_json)


@schedules.command(short_help="Remove a schedule; its runs stay.")
@name_argument
@json_option
def remove(name: str, as_json: bool) -> None:
    """Remove a schedule and the record of its ticks; its runs stay."""
    with Session.open().database() as connection:
        store.require_schedule(connection, name)
        store.remove_schedule(connection, name)
    _done({"name": name, "removed": True}, f"schedule {name} removed", as_json)


@schedules.command(short_help="Start nothing of a schedule until `resume`.")
@name_argument
@json_option
def pause(name: str, as_json: bool) -> None:
    """Start nothing until `resume`; the ticks of the pause are not made up for."""
    _set_enabled(name, enabled=False, as_json=as_json)


@schedules.command(short_help="Go on with a paused schedule.")
@name_argument
@json_option
def resume(name: str, as_json: bool) -> None:
    """Go on with the next tick from now."""
    _set_enabled(name, enabled=True, as_json=as_json)


@schedules.command(short_help="Start a run of a schedule now.")
@name_argument
@click.option("--as-of", help="The last bar the run may see: a date or an ISO time.")
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="A parameter, for this run alone.")
@click.option("--wait", is_flag=True, help="Wait for the run, show its progress and its summary.")
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
        moment = parse_moment(as_of, timeframe_named(definition.timeframe or "day")) if as_of else None
        changes = Changes(as_of=moment, parameters=parse_parameters(parameters))
        run = starter.trigger(connection, streams, installed_jobs(), name, changes)
        if wait:
            return wait_for_run(connection, run, timeout=timeout, as_json=as_json, streams=streams)
        warn_without_workers(streams, run.queue)
        if as_json:
            print_json(summarize_run(connection, run))
        else:
            click.echo(f"run {run.id}: {run.item_count} items of {run.job} in queue {run.queue}")
            click.echo(f"watch it: streamworkers runs watch {run.id}")
    return 0


@schedules.command("next", short_help="The next ticks of a schedule, in local time and UTC.")
@name_argument
@click.option("--count", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many.")
@click.option("--from", "start", help="From this moment on: a date or an ISO time.  [default: now]")
@json_option
def next_ticks(name: str, count: int, start: str | None, as_json: bool) -> None:
    """The next ticks of schedule NAME, in its time zone and in UTC."""
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
        for tick in islice(definition.timing.from_moment(moment), count)
    ]
    if as_json:
        print_json(rows)
        return
    print_table(rows, {"local": definition.timezone, "utc": "UTC"}, "no more ticks")
    if not definition.enabled:
        messages.print(f"schedule {name} is paused", markup=False)
    if len(rows) < count:
        messages.print(f"the calendar {definition.calendar} ends there", markup=False)


@schedules.command(short_help="Ticks of a schedule, and what became of them.")
@name_argument
@limit_option
@json_option
def history(name: str, limit: int, as_json: bool) -> None:
    """The newest ticks of a schedule, and what became of them."""
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


@schedules.command("export", short_help="Write schedules as YAML.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@json_option
def export_yaml(file: Path | None, as_json: bool) -> None:
    """Write all schedules as YAML to FILE or standard output; `import` reads it."""
    with Session.open().database() as connection:
        definitions = [schedule.require_definition() for schedule in store.list_schedules(connection)]
    if as_json:
        print_json([definition.model_dump(mode="json") for definition in definitions])
    elif file is None:
        click.echo(to_yaml(definitions), nl=False)
    else:
        file.write_text(to_yaml(definitions), encoding="utf-8")
        click.echo(f"{len(definitions)} schedules in {file}")


@schedules.command("import", short_help="Add or replace schedules from YAML.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@json_option
def import_yaml(file: Path, as_json: bool) -> None:
    """Add the schedules of a YAML FILE (- for standard input), and replace those of the same names; all or none."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadInputError(f"{file} is not UTF-8") from None
    try:
        definitions = from_yaml(text)
    except UsageError as error:
        raise BadInputError(f"{file}: {error}") from None
    with Session.open().database() as connection:
        outcomes = _install(connection, definitions, replace=True)
    _print_installed(outcomes, as_json)


@schedules.command("install-defaults", short_help="Add the six standing jobs.")
@click.option("--replace", is_flag=True, help="Also replace those that are there, with what the settings say now.")
@json_option
def install_defaults(replace: bool, as_json: bool) -> None:
    """Add the six standing jobs, with times and limits from the settings; what is there already stays as it is."""
    session = Session.open()
    definitions = default_schedules(session.settings)
    with session.database() as connection:
        outcomes = _install(connection, definitions, replace=replace)
        known = read_memberships(connection)
    _print_installed(outcomes, as_json)
    lacking = [name for name in parse_names(session.settings.job_universes) if not known.get(name)]
    if lacking:
        words = f"universes without symbols: {', '.join(lacking)}: streamworkers universes import FILE"
        messages.print(words, markup=False)


def _install(connection: Connection, definitions: list[ScheduleDefinition], *, replace: bool) -> list[tuple[str, str]]:
    """Save definitions in one transaction; (name, what was done) of each."""
    registry = installed_jobs()
    for definition in definitions:
        definition.require_sound(registry)
    outcomes = []
    with connection.transaction():
        store.lock_edits(connection)
        for definition in definitions:
            before = store.find_schedule(connection, definition.name)
            if before is None:
                store.save_schedule(connection, definition)
                outcomes.append((definition.name, "added"))
            elif before.definition == definition or not replace:
                outcomes.append((definition.name, "unchanged"))
            else:
                store.save_schedule(connection, definition, old_name=definition.name)
                outcomes.append((definition.name, "changed"))
    return outcomes


def _print_installed(outcomes: list[tuple[str, str]], as_json: bool) -> None:
    rows = [{"name": name, "outcome": outcome} for name, outcome in outcomes]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, {"name": "schedule", "outcome": "outcome"}, "")


def _set_enabled(name: str, *, enabled: bool, as_json: bool) -> None:
    with Session.open().database() as connection:
        store.require_schedule(connection, name)
        store.set_enabled(connection, name, enabled)
        _answer(connection, name, "resumed" if enabled else "paused", as_json)


def _answer(connection: Connection, name: str, verb: str, as_json: bool) -> None:
    schedule = store.require_schedule(connection, name)
    row = shown(schedule, {})
    following = local_time(row["next_run_at"], row["timezone"]) if row["enabled"] else ""
    _done(row, f"schedule {name} {verb}" + (f"; its next tick is {following}" if following else ""), as_json)


def _done(row: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        print_json(row)
    else:
        click.echo(text)
