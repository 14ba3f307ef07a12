"""`streamworkers alerts export` and `import`: many alerts at once."""

from pathlib import Path
from typing import Any

import click

from streamworkers.alerts.given import read_vocabulary
from streamworkers.alerts.selection import find_selected
from streamworkers.alerts.transfer import import_alerts, parse_alerts, write_document, write_lines
from streamworkers.cli.alert_options import actor_of, collect_selector, selector_options, user_option
from streamworkers.cli.files import read_file, write_file
from streamworkers.cli.session import Session, json_option, print_json
from streamworkers.errors import BadInputError

_WRITERS = {"lines": write_lines, "document": write_document}


@click.command("export", short_help="Write alerts as JSON.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_WRITERS)),
    default="lines",
    show_default=True,
    help="One document a line, or one document with all.",
)
@selector_options
@user_option
@json_option
def export(file: Path | None, form: str, user: str, as_json: bool, **options: Any) -> None:
    """Write the alerts that all of the options choose as JSON to FILE or standard output; `import` reads it.

    Pauses and mutes are no part of it.
    """
    with Session.open().database() as connection:
        found = find_selected(connection, user, collect_selector(options))
    text = _WRITERS["document" if as_json else form](found)
    if file is None:
        click.echo(text, nl=False)
    else:
        write_file(file, text)
        click.echo(f"{len(found)} alerts in {file}")


@click.command("import", short_help="Add or edit alerts from JSON.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would be added and changed, and change nothing.")
@user_option
@json_option
def import_command(file: Path, dry_run: bool, user: str, as_json: bool) -> None:
    """Add the alerts of a FILE (- for standard input), and edit those with the same names; all or none.

    The file holds one document a line, or a list of them. What is the same stays as it is, so a file may be imported
    again.
    """
    session = Session.open()
    text = read_file(file, session.settings.alerts_max_bytes, "STREAMWORKERS_ALERTS_MAX_BYTES")
    with session.database() as connection:
        try:
            found = parse_alerts(text, read_vocabulary(connection))
        except BadInputError as error:
            raise BadInputError(f"{file}: {error}") from None
        outcomes = import_alerts(connection, actor_of(user), found, dry_run=dry_run)
    if as_json:
        print_json([{"name": each.name, "outcome": each.outcome, "dry_run": dry_run} for each in outcomes])
        return
    for each in outcomes:
        if each.outcome != "unchanged":
            click.echo(f"{each.outcome}: {each.name}")
    counts = ", ".join(
        f"{sum(each.outcome == outcome for each in outcomes)} {outcome}"
        for outcome in ("added", "changed", "unchanged")
    )
    click.echo(f"{counts}{' (dry run: nothing was changed)' if dry_run else ''}")
