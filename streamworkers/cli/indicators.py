"""`streamworkers indicators`: the definitions of the indicators that are computed."""

import click

from streamworkers.analysis.definitions import IndicatorDefinition
from streamworkers.cli.session import (
    Session,
    json_option,
    parse_parameters,
    print_json,
    print_table,
    show_parameters,
    show_timeframes,
)
from streamworkers.results import definitions


@click.group(short_help="Indicator definitions: list, add, enable, disable.")
def indicators() -> None:
    """Indicator definitions: a name, a function of TA-Lib or streamworkers, and its parameters."""


@indicators.command("list")
@click.option("--enabled", "only_enabled", is_flag=True, help="List only enabled indicators.")
@json_option
def list_indicators(only_enabled: bool, as_json: bool) -> None:
    """List all indicators with their parameters."""
    with Session.open().database() as connection:
        rows = [row for row in definitions.list_indicator_definitions(connection) if row["enabled"] or not only_enabled]
    if as_json:
        print_json(rows)
        return
    shown = [
        {**row, "params": show_parameters(row["params"]), "timeframes": show_timeframes(row["timeframes"])}
        for row in rows
    ]
    columns = {"name": "name", "function": "function", "params": "parameters", "timeframes": "timeframes"}
    print_table(shown, {**columns, "enabled": "enabled"}, "no indicators")


@indicators.command(short_help="Add an indicator.")
@click.argument("name")
@click.argument("function")
@click.argument("params", nargs=-1, metavar="[PARAM=VALUE]...")
@click.option(
    "--timeframe",
    "timeframes",
    multiple=True,
    help="Compute it for this timeframe only; can be repeated.  [default: all timeframes]",
)
def add(name: str, function: str, params: tuple[str, ...], timeframes: tuple[str, ...]) -> None:
    """Add the indicator NAME, which computes FUNCTION with these parameters.

    For example: streamworkers indicators add rsi_7 RSI timeperiod=7
    """
    definition = IndicatorDefinition(name, function, parse_parameters(params))
    with Session.open().database() as connection:
        definitions.add_indicator(connection, definition, timeframes)
    click.echo(f"added {name}; it is computed from the next run on")


@indicators.command()
@click.argument("name")
def enable(name: str) -> None:
    """Enable an indicator from the next run on."""
    with Session.open().database() as connection:
        definitions.enable_indicator(connection, name, True)
    click.echo(f"{name} is enabled")


@indicators.command()
@click.argument("name")
def disable(name: str) -> None:
    """Disable an indicator from the next run on; its results are kept."""
    with Session.open().database() as connection:
        definitions.enable_indicator(connection, name, False)
    click.echo(f"{name} is disabled")
