"""Options that the export commands share: which symbols and times, and which file."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from streamworkers.cli.known_names import require_known_symbols
from streamworkers.cli.session import Day, parse_words
from streamworkers.database import Connection
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.timeframes import Timeframe, bar_moment
from streamworkers.market.files.export_file import ExportTarget, find_format
from streamworkers.market.universes.store import resolve

F = TypeVar("F", bound=Callable[..., Any])

_EARLIEST, _LATEST = date(1, 1, 2), date(9999, 12, 30)

_OPTIONS = (
    click.argument("file", type=click.Path(dir_okay=False, path_type=Path)),
    click.option("--timeframe", default="day", show_default=True, help="Timeframe: 1min, hour, day, week or month."),
    click.option("--symbols", callback=lambda _c, _p, text: text and parse_words(text), help="Symbols, with commas."),
    click.option("--universe", help="A universe, or the union of several.  [default: all symbols]"),
    click.option("--from", "first", type=Day, help="First day, in New York."),
    click.option("--to", "last", type=Day, help="Last day, in New York."),
    click.option(
        "--format", "file_format", type=click.Choice(["csv", "parquet"]), help="Format.  [default: by FILE's ending]"
    ),
    click.option("--overwrite", is_flag=True, help="Replace FILE if it exists."),
)


def export_options(function: F) -> F:
    """Add the argument FILE and the options to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def target_of(file: Path, file_format: str | None, overwrite: bool) -> ExportTarget:
    """Return the file to write. Raises BadInputError for a name without a known ending."""
    return ExportTarget(file, find_format(file, file_format), overwrite)


def chosen_symbols(connection: Connection, symbols: tuple[str, ...] | None, universe: str | None) -> list[str] | None:
    """Return the symbols of both options, None if neither is given.

    Raises BadInputError for one that is no symbol, and for one that nothing is stored of.
    """
    if symbols is None and universe is None:
        return None
    known = resolve(connection, universe) if universe else ()
    require_known_symbols(connection, symbols or ())
    return list(dict.fromkeys([*(symbols or ()), *known]))


def bounds_of_days(frame: Timeframe, first: datetime | None, last: datetime | None) -> tuple[datetime, datetime]:
    """Return the start of the first day and the end of the last, which is not included, in New York.

    Raises BadInputError if the last day is before the first.
    """
    begin, end = first.date() if first else _EARLIEST, (last.date() if last else _LATEST) + timedelta(days=1)
    if begin >= end:
        raise BadInputError(f"--to {end - timedelta(days=1)} is before --from {begin}")
    return bar_moment(frame, begin), bar_moment(frame, end)
