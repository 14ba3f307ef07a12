"""`streamworkers bars export`: stored bars as a CSV or Parquet file."""

from datetime import datetime
from pathlib import Path

import click

from streamworkers.cli.export_options import bounds_of_days, chosen_symbols, export_options, target_of
from streamworkers.cli.session import Session, messages
from streamworkers.market.bars.export import bar_rows
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.market.files.export_file import write_rows


@click.command("export", short_help="Write bars to a CSV or Parquet file.")
@export_options
def export_bars(
    file: Path,
    timeframe: str,
    symbols: tuple[str, ...] | None,
    universe: str | None,
    first: datetime | None,
    last: datetime | None,
    file_format: str | None,
    overwrite: bool,
) -> None:
    """Write bars to FILE: .csv, .csv.gz or .parquet, by symbol and time, all as of one moment.

    CSV keeps the digits of prices and can be imported again; Parquet has them as float64. Times of intraday bars are in
    UTC. A volume that is not known is empty.
    """
    frame = timeframe_named(timeframe)
    target = target_of(file, file_format, overwrite)
    moments = bounds_of_days(frame, first, last)
    begin, end = moments if frame.intraday else (moment.date() for moment in moments)
    with Session.open().database() as connection:
        wanted = chosen_symbols(connection, symbols, universe)
        count = write_rows(connection, *bar_rows(frame, wanted, begin, end), target)
    messages.print(f"{count:,} {frame.name} bars written to {file}", markup=False, highlight=False)
