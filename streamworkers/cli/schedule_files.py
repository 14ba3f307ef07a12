"""`streamworkers schedules export`, `import` and `install-defaults`: many schedules at once."""

from pathlib import Path

import click

from streamworkers.cli.files import read_file, write_file
from streamworkers.cli.session import Session, json_option, messages, print_json, print_table
from streamworkers.cli.unknown_symbols import warn_of_unknown_symbols
from streamworkers.database import Connection
from streamworkers.engine.registry import installed_jobs
from streamworkers.errors import BadInputError, UsageError
from streamworkers.market.universes.store import parse_names, read_memberships
from streamworkers.schedules import store
from streamworkers.schedules.defaults import default_schedules
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.problems import find_problems, require_no_circle, require_target
from streamworkers.schedules.yaml_file import YamlLimits, from_yaml, to_yaml


@click.command("export", short_help="Write schedules as YAML.")
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
        write_file(file, to_yaml(definitions))
        click.echo(f"{len(definitions)} schedules in {file}")


@click.command("import", short_help="Add or replace schedules from YAML.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@json_option
def import_yaml(file: Path, as_json: bool) -> None:
    """Add the schedules of a YAML FILE (- for standard input) and replace those with the same names; all or none."""
    session = Session.open()
    limits = YamlLimits.of(session.settings)
    text = read_file(file, limits.bytes, "STREAMWORKERS_SCHEDULES_MAX_BYTES")
    try:
        definitions = from_yaml(text, lambda message: warn(f"{file}: {message}"), limits)
    except UsageError as error:
        raise BadInputError(f"{file}: {error}") from None
    with session.database() as connection:
        outcomes = _save_all(connection, definitions, replace=True, requires_target=True)
        problems = find_problems(connection, installed_jobs())
    for definition in definitions:
        if definition.name in problems:
            warn(f"{definition.name}: {problems[definition.name].text}")
    _print_outcomes(outcomes, as_json)


@click.command("install-defaults", short_help="Add the six default schedules.")
@click.option("--replace", is_flag=True, help="Also replace existing ones by what the settings say now.")
@json_option
def install_defaults(replace: bool, as_json: bool) -> None:
    """Add the six default schedules, with times and limits from the settings; existing ones stay as they are."""
    session = Session.open()
    definitions = default_schedules(session.settings)
    with session.database() as connection:
        outcomes = _save_all(connection, definitions, replace=replace, requires_target=False)
        known = read_memberships(connection)
    _print_outcomes(outcomes, as_json)
    empty = [name for name in parse_names(session.settings.job_universes) if not known.get(name)]
    if empty:
        warn(f"universes without symbols: {', '.join(empty)}: streamworkers universes import FILE")


def warn(message: str) -> None:
    """Print a warning to standard error."""
    messages.print(message, markup=False, soft_wrap=True)


def _save_all(
    connection: Connection, definitions: list[ScheduleDefinition], *, replace: bool, requires_target: bool
) -> list[tuple[str, str]]:
    """Save definitions in one transaction; returns the name and the outcome of each.

    Unless it `requires_target`, the universe of a definition may be imported later.
    """
    registry = installed_jobs()
    for definition in definitions:
        definition.require_sound(registry)
    require_no_circle({definition.name: definition.after for definition in definitions})
    outcomes = []
    with connection.transaction():
        store.lock_edits(connection)
        for definition in definitions:
            before = store.find_schedule(connection, definition.name)
            if requires_target:
                require_target(connection, definition, before.definition if before is not None else None)
            if before is None:
                store.save_schedule(connection, definition)
                outcomes.append((definition.name, "added"))
            elif before.definition == definition or not replace:
                outcomes.append((definition.name, "unchanged"))
            else:
                store.save_schedule(connection, definition, old_name=definition.name)
                outcomes.append((definition.name, "changed"))
        for definition in definitions:
            warn_of_unknown_symbols(connection, registry[definition.job], definition.symbols)
    return outcomes


def _print_outcomes(outcomes: list[tuple[str, str]], as_json: bool) -> None:
    rows = [{"name": name, "outcome": outcome} for name, outcome in outcomes]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, {"name": "schedule", "outcome": "outcome"}, "")
