"""`streamworkers results`: the newest results of a symbol, and results as a file."""

from datetime import datetime
from pathlib import Path

import click

from streamworkers.cli.export_options import bounds_of_days, chosen_symbols, export_options, target_of
from streamworkers.cli.known_names import require_known_symbols
from streamworkers.cli.session import (
    Session,
    console,
    json_option,
    messages,
    parse_words,
    print_json,
    print_table,
)
from streamworkers.market.calendar.moments import show_bar_time
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.market.files.export_file import write_rows
from streamworkers.results import read as result_tables
from streamworkers.results.definitions import require_known_definitions
from streamworkers.results.export import indicator_rows, pattern_rows


class _SymbolOrCommand(click.Group):
    """Takes a first word that is no command for the symbol to show, as `streamworkers results AAPL`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_SymbolOrCommand)
def results() -> None:
    """Show the newest results of a symbol, or export results.

    `streamworkers results AAPL` is short for `streamworkers results show AAPL`.
    """


@results.command(short_help="Show the newest indicators and patterns of a symbol.")
@click.argument("symbol")
@click.option("--timeframe", default="day", show_default=True, help="Timeframe: 1min, hour, day, week or month.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Maximum number of patterns."
)
@json_option
def show(symbol: str, timeframe: str, limit: int, as_json: bool) -> None:
    """Show the newest value of each indicator of SYMBOL, and its newest patterns."""
    frame = timeframe_named(timeframe)
    with Session.open().database() as connection:
        indicators = result_tables.list_latest_indicators(connection, symbol, frame.name)
        patterns = result_tables.list_symbol_patterns(connection, symbol, frame.name, limit)
        if not indicators and not patterns:
            require_known_symbols(connection, [symbol])
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


@results.command(short_help="Write indicators or patterns to a CSV or Parquet file.")
@click.option("--patterns", "of_patterns", is_flag=True, help="Write detections of patterns, not values of indicators.")
@click.option(
    "--names", callback=lambda _c, _p, text: text and parse_words(text), help="Indicators or patterns.  [default: all]"
)
@export_options
def export(
    file: Path,
    timeframe: str,
    symbols: tuple[str, ...] | None,
    universe: str | None,
    first: datetime | None,
    last: datetime | None,
    file_format: str | None,
    overwrite: bool,
    of_patterns: bool,
    names: tuple[str, ...] | None,
) -> None:
    """Write results to FILE: .csv, .csv.gz or .parquet, by symbol, name and time, all as of one moment.

    Times are the moments in UTC at which bars start. The column outputs, or metadata of patterns, is JSON.
    """
    frame = timeframe_named(timeframe)
    target = target_of(file, file_format, overwrite)
    begin, end = bounds_of_days(frame, first, last)
    with Session.open().database() as connection:
        wanted = chosen_symbols(connection, symbols, universe)
        require_known_definitions(connection, names or (), patterns=of_patterns)
        select = pattern_rows if of_patterns else indicator_rows
        count = write_rows(connection, *select(frame.name, wanted, names, begin, end), target)
    kind = "detections" if of_patterns else "values"
    messages.print(f"{count:,} {kind} written to {file}", markup=False, highlight=False)
