"""`streamworkers results`: the newest results of a symbol."""

import click

from streamworkers.cli.session import (
    Session,
    console,
    json_option,
    print_json,
    print_table,
    show_bar_time,
)
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.results import store as result_tables


@click.command(short_help="Show the newest indicators and patterns of a symbol.")
@click.argument("symbol")
@click.option("--timeframe", default="day", show_default=True, help="Timeframe: 1min, hour, day, week or month.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Maximum number of patterns."
)
@json_option
def results(symbol: str, timeframe: str, limit: int, as_json: bool) -> None:
    """Show the newest value of each indicator of SYMBOL, and its newest patterns."""
    frame = timeframe_named(timeframe)
    with Session.open().database() as connection:
        indicators = result_tables.list_latest_indicators(connection, symbol, frame.name)
        patterns = result_tables.list_symbol_patterns(connection, symbol, frame.name, limit)
    if as_json:
        print_json({"symbol": symbol, "timeframe": frame.name, "indicators": indicators, "patterns": patterns})
        return
    for row in indicators + patterns:
        row["bar"] = show_bar_time(row["bar_time"], frame.name)
    for row in indicators:
        row["outputs"] = "  ".join(f"{name} {value:,.4f}" for name, value in (row["value_data"] or {}).items())
    columns = {"indicator": "indicator", "bar": "bar", "value": "value", "outputs": "all outputs"}
    print_table(indicators, columns, f"no indicators of {symbol}")
    console.print()
    columns = {"bar": "bar", "pattern_name": "pattern", "direction": "direction", "confidence": "confidence"}
    print_table(patterns, columns, f"no patterns of {symbol}")
