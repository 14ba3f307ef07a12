"""`streamworkers migrate`."""

import click

from streamworkers.cli.session import Session, json_option, print_json, print_table
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.session_table import fill_sessions
from streamworkers.market.calendar.symbol_calendars import list_calendars
from streamworkers.migrations import create_roles, migration_status
from streamworkers.migrations import migrate as apply_migrations


@click.command(short_help="Create or update the database schema.")
@click.option("--status", "show_status", is_flag=True, help="Show which migrations are applied, and change nothing.")
@click.option("--roles", is_flag=True, help="Also create the roles streamworkers_app, _readonly and _client.")
@click.option("--beside", is_flag=True, help="Put the tables beside those of another program.")
@json_option
def migrate(show_status: bool, roles: bool, beside: bool, as_json: bool) -> None:
    """Create or update the database schema. The user must own the database."""
    if show_status and roles:
        raise BadInputError("--status changes nothing and --roles does: name one of them")
    session = Session.open()
    with session.database() as connection:
        applied = [] if show_status else apply_migrations(connection, beside=beside)
        if roles:
            create_roles(connection)
        if not show_status:
            for calendar in list_calendars(connection, session.settings.calendar):
                fill_sessions(connection, calendar)
        rows = [{"migration": status.name, "applied_at": status.applied_at} for status in migration_status(connection)]
    if as_json:
        print_json(rows)
    elif show_status:
        print_table(
            [{**row, "applied_at": row["applied_at"] or "waiting"} for row in rows],
            {"migration": "migration", "applied_at": "applied"},
            "no migrations",
        )
    else:
        for name in applied:
            click.echo(f"applied {name}")
        click.echo(f"schema is up to date ({len(rows)} migrations)")
