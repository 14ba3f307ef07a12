"""`streamworkers bars`: import, generate and show bars."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

import click

from streamworkers.cli.bar_coverage import coverage, gaps
from streamworkers.cli.bars_export import export_bars
from streamworkers.cli.bars_import import import_files, universe_option
from streamworkers.cli.known_names import require_known_symbols
from streamworkers.cli.session import (
    Day,
    Session,
    json_option,
    limit_option,
    print_json,
    print_table,
)
from streamworkers.cli.unknown_symbols import warn_without_bars
from streamworkers.loading.listings import forget_ends
from streamworkers.loading.providers.provider import BarOrigin
from streamworkers.loading.providers.sample import read_sample
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.loading.store import load_unreal
from streamworkers.market.bars.read import read_recent
from streamworkers.market.bars.rules import require_symbol
from streamworkers.market.bars.text_rows import BarRows
from streamworkers.market.bars.write import announce_bars
from streamworkers.market.calendar.moments import show_bar_time
from streamworkers.market.calendar.timeframes import TIMEFRAMES, Timeframe, bar_moment, timeframe_named
from streamworkers.market.calendar.windows import bounds_of, moment_of, whole_windows
from streamworkers.market.universes.store import add_symbols


@click.group()
def bars() -> None:
    """OHLCV bars: import, export, generate, show, and find gaps."""


bars.add_command(coverage)
bars.add_command(gaps)
bars.add_command(import_files)
bars.add_command(export_bars)


@bars.command(short_help="Load real bars of AAPL, FB, GOOG, IBM and MSFT.")
@universe_option
def sample(universe: str | None) -> None:
    """Load real public-domain daily bars of AAPL, FB, GOOG, IBM and MSFT, 2000 to 2013, from bokeh_sampledata."""
    _load(read_sample(), universe, BarOrigin.SAMPLE)


@bars.command(short_help="Generate synthetic daily bars: SYN001, SYN002, …")
@click.option("--symbols", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Number of symbols.")
@click.option("--days", type=click.IntRange(1, 10_000), default=500, show_default=True, help="Sessions per symbol.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Seed of the random numbers: the same seed gives the same bars.",
)
@click.option("--end", type=Day, help="Last session.  [default: the newest closed session]")
@universe_option
def synthesize(symbols: int, days: int, seed: int, end: Any, universe: str | None) -> None:
    """Generate synthetic daily bars for the sessions of the New York Stock Exchange: SYN001, SYN002, …"""
    last: date | None = end.date() if end else None
    _load(generate_bars(symbols, days, seed, last), universe, BarOrigin.INVENTED)


@bars.command(short_help="Say that another program has stored bars.")
@click.argument("symbols", nargs=-1, required=True)
@click.option("--timeframe", default="day", show_default=True, help="Timeframe: 1min, hour, day, week or month.")
@click.option("--since", type=Day, help="Bars of this day and later may have changed.  [default: bars were added]")
def announce(symbols: tuple[str, ...], timeframe: str, since: Any) -> None:
    """Record that another program has stored bars of SYMBOLS, so that those who wait for changes look at them.

    With --since, stored bars may be other ones than before: results of bars from that day on are computed again.
    """
    frame = timeframe_named(timeframe)
    first = None if since is None else _first_bar(frame, since.date())
    with Session.open().database() as connection:
        announce_bars(connection, frame, map(require_symbol, symbols), first)
        forget_ends(connection, frame, symbols)
        warn_without_bars(connection, symbols)
    what = "appended, nobody knows which" if since is None else f"changed from {since.date()} on"
    click.echo(f"recorded: {frame.name} bars of {len(set(symbols))} symbols were {what}")


def _first_bar(frame: Timeframe, day: date) -> date | datetime:
    """The time of the bar that the day is in, or begins with."""
    first, last = whole_windows(frame, day, day)
    return moment_of(frame, bounds_of(frame, first, last)[0])


@bars.command()
@click.argument("symbol")
@click.option("--timeframe", default="day", show_default=True, help="Timeframe: 1min, hour, day, week or month.")
@limit_option
@json_option
def show(symbol: str, timeframe: str, limit: int, as_json: bool) -> None:
    """Show the newest bars of SYMBOL."""
    frame = timeframe_named(timeframe)
    with Session.open().database() as connection:
        rows = [dict(bar._asdict()) for bar in read_recent(connection, symbol, frame, limit)]
        if not rows:
            require_known_symbols(connection, [symbol])
    if as_json:
        print_json([{**row, **{name: float(row[name]) for name in ("open", "high", "low", "close")}} for row in rows])
        return
    for row in rows:
        row["time"] = show_bar_time(bar_moment(frame, row["time"]), frame.name)
        row["volume"] = None if row["volume"] is None else f"{row['volume']:,}"
    columns = {name: name for name in ("time", "open", "high", "low", "close", "volume")}
    print_table(rows, columns, f"no {frame.name} bars of {symbol}")


def _load(chunks: Iterable[BarRows], universe: str | None, origin: BarOrigin) -> None:
    with Session.open().database() as connection, connection.transaction():
        counts = load_unreal(connection, TIMEFRAMES["day"], chunks, origin)
        if universe:
            add_symbols(connection, universe, counts.symbols)
    total = counts.inserted + counts.updated + counts.unchanged
    click.echo(
        f"{total:,} day bars of {len(counts.symbols)} symbols, {counts.first} to {counts.last}:"
        f" {counts.inserted:,} new, {counts.updated:,} changed, {counts.unchanged:,} unchanged"
    )
    if universe:
        click.echo(f"added to universe {universe}")
