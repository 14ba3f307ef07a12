"""`streamworkers migrate`."""

import click

from streamworkers.cli.session import Session, json_option, print_json, print_table
from streamworkers.migrations import migrate as apply_migrations
from streamworkers.migrations import migration_status


@click.command()
@click.option("--status", "show_status", is_flag=True, help="Show what is applied; change nothing.")
@json_option
def migrate(show_status: bool, as_json: bool) -> None:
    """Bring the database schema up to date."""
    with Session.open().database() as connection:
        applied = [] if show_status else apply_migrations(connection)
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
