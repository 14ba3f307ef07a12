"""`streamworkers bars`: import, generate and show bars."""

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from streamworkers.cli.bar_coverage import coverage, gaps
from streamworkers.cli.session import (
    Day,
    Session,
    json_option,
    limit_option,
    messages,
    print_json,
    print_table,
    show_bar_time,
)
from streamworkers.errors import BadInputError
from streamworkers.loading.providers.provider import BarOrigin
from streamworkers.loading.providers.sample import read_sample
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.loading.store import load_unreal
from streamworkers.market.bars.read import read_recent
from streamworkers.market.bars.text_rows import BarRows
from streamworkers.market.calendar.timeframes import TIMEFRAMES, bar_moment, timeframe_named
from streamworkers.market.files.bars_import import ImportSummary, import_bars
from streamworkers.market.universes.store import add_symbols, require_universe_name


def _validate_name(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    # A callback of the option, so that a bad name is rejected before the bars are loaded.
    del context, parameter
    return None if value is None else require_universe_name(value)


_universe_option = click.option("--universe", callback=_validate_name, help="Also add the symbols to this universe.")


@click.group()
def bars() -> None:
    """OHLCV bars: import, generate, show, and find gaps."""


bars.add_command(coverage)
bars.add_command(gaps)


@bars.command("import", short_help="Import CSV files, plain or .gz.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--timeframe", default="day", show_default=True, help="Timeframe: 1min, hour, day, week or month.")
@click.option(
    "--rejects", type=click.Path(dir_okay=False, path_type=Path), help="Write rejected rows to this CSV file."
)
@_universe_option
@json_option
def import_files(
    files: tuple[Path, ...], timeframe: str, rejects: Path | None, universe: str | None, as_json: bool
) -> None:
    """Import bars from CSV FILES, plain or .gz.

    The header names the columns symbol, date (or timestamp), open, high, low, close and volume, in any order. Rows that
    break a rule are rejected and counted by rule, and --rejects writes them to a file with their line numbers. All
    other rows are loaded.
    """
    frame = timeframe_named(timeframe)
    if rejects is not None and rejects.exists() and any(rejects.samefile(file) for file in files):
        raise BadInputError(
            f"--rejects {str(rejects)!r} is one of the files to import; it would be overwritten. Name another file"
        )
    columns = (TextColumn("importing"), BarColumn(), DownloadColumn(), TextColumn("ETA"), TimeRemainingColumn())
    with (
        Session.open().database() as connection,
        Progress(*columns, console=messages, transient=True) as progress,
    ):
        bar = progress.add_task("import", total=None)
        summary = import_bars(
            connection,
            files,
            frame,
            rejects=rejects,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
        if universe:
            add_symbols(connection, universe, summary.symbols)
    if as_json:
        print_json(_summary_values(summary))
    else:
        _print_summary(summary, frame.name, rejects)


@bars.command(short_help="Load real bars of AAPL, FB, GOOG, IBM and MSFT.")
@_universe_option
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
@_universe_option
def synthesize(symbols: int, days: int, seed: int, end: Any, universe: str | None) -> None:
    """Generate synthetic daily bars for the sessions of the New York Stock Exchange: SYN001, SYN002, …"""
    last: date | None = end.date() if end else None
    _load(generate_bars(symbols, days, seed, last), universe, BarOrigin.INVENTED)


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
    if as_json:
        print_json([{**row, **{name: float(row[name]) for name in ("open", "high", "low", "close")}} for row in rows])
        return
    for row in rows:
        row["time"] = show_bar_time(bar_moment(frame, row["time"]), frame.name)
        row["volume"] = f"{row['volume']:,}"
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


def _summary_values(summary: ImportSummary) -> dict[str, Any]:
    return {
        "rows_read": summary.rows_read,
        "loaded": summary.inserted + summary.updated + summary.unchanged,
        "inserted": summary.inserted,
        "updated": summary.updated,
        "unchanged": summary.unchanged,
        "rejected": summary.rejected,
        "symbols": len(summary.symbols),
        "first": summary.first,
        "last": summary.last,
        "examples": [
            {"file": str(row.file), "line": row.reject.line, "rule": str(row.reject.rule), "detail": row.reject.detail}
            for row in summary.examples
        ],
    }


def _print_summary(summary: ImportSummary, timeframe: str, rejects: Path | None) -> None:
    loaded = summary.inserted + summary.updated + summary.unchanged
    click.echo(f"{loaded:,} of {summary.rows_read:,} {timeframe} bars loaded: {len(summary.symbols)} symbols", nl=False)
    click.echo(f", {summary.first} to {summary.last}" if loaded else "")
    click.echo(f"  {summary.inserted:,} new, {summary.updated:,} changed, {summary.unchanged:,} unchanged")
    rejected = sum(summary.rejected.values())
    if not rejected:
        return
    click.echo(f"  {rejected:,} rejected:")
    for rule, count in sorted(summary.rejected.items()):
        click.echo(f"    {count:,} {rule}")
    for row in summary.examples:
        click.echo(f"    {row.file.name} line {row.reject.line}: {row.reject.detail}")
    click.echo(
        f"  all rejected rows: {rejects}" if rejects else "  to write all rejected rows to a file: --rejects FILE"
    )
