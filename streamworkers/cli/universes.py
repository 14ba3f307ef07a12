"""`streamworkers universes`: import, list and show universes."""

from pathlib import Path

import click

from streamworkers.cli.session import Session, console, json_option, print_json, print_table
from streamworkers.market.files.limits import FileLimits
from streamworkers.market.universes import store
from streamworkers.market.universes.csv_import import import_universes


@click.group()
def universes() -> None:
    """Universes (named sets of symbols): import, list, show."""


@universes.command("import", short_help="Import universes from a CSV file.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_file(file: Path) -> None:
    """Import universes from a CSV FILE.

    The header names the columns universe and symbol, and optionally type, weight and description. Each universe in the
    file replaces the stored universe of that name.
    """
    session = Session.open()
    limits = FileLimits.of(session.settings)
    with session.database() as connection:
        summary = import_universes(connection, file, most_mb=session.settings.universes_max_mb, limits=limits)
    click.echo(f"{summary.rows_read} rows, {len(summary.universes)} universes:", nl=False)
    click.echo(f" {summary.added} symbols added, {summary.removed} removed, {summary.unchanged} unchanged")
    for reject in summary.rejected:
        click.echo(f"  rejected line {reject.line}: {reject.detail}")


@universes.command("list")
@json_option
def list_universes(as_json: bool) -> None:
    """List all universes with their type and number of symbols."""
    with Session.open().database() as connection:
        rows = [
            {"name": name, "type": type_name, "symbols": count, "description": description}
            for name, type_name, description, count in store.list_universes(connection)
        ]
    if as_json:
        print_json(rows)
        return
    columns = {"name": "name", "type": "type", "symbols": "symbols", "description": "description"}
    print_table(rows, columns, "no universes yet: `streamworkers universes import FILE`")


@universes.command(short_help="Show the symbols of universes, such as sp500:nasdaq100.")
@click.argument("expression")
@json_option
def show(expression: str, as_json: bool) -> None:
    """Show the symbols of a universe, or of several: 'sp500:nasdaq100' is their union."""
    with Session.open().database() as connection:
        symbols = store.resolve(connection, expression)
    if as_json:
        print_json({"universe": expression, "count": len(symbols), "symbols": symbols})
        return
    click.echo(f"{expression}: {len(symbols)} symbols")
    console.print(" ".join(symbols), markup=False, highlight=False)
