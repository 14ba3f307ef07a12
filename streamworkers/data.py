"""Bars, indicators and patterns as pandas data frames, for notebooks (docs/guides/notebooks.md).

::

    from streamworkers.data import read_bars, read_patterns, read_results

    bars = read_bars(["AAPL", "MSFT"], "day", "2024-01-01", "2024-12-31")

Each function opens a connection of its own and reads everything as of one moment, which `frame.attrs["as_of"]` names.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from psycopg import IsolationLevel, sql

from streamworkers.config import load_settings
from streamworkers.database import Connection, connect, fetch_value
from streamworkers.embedded import EmbeddedServices
from streamworkers.errors import BadInputError, ServiceUnreachableError
from streamworkers.market.bars.bars import Bars
from streamworkers.market.bars.export import BAR_COLUMNS, read_range
from streamworkers.market.bars.rules import require_symbol
from streamworkers.market.calendar.timeframes import Timeframe, bar_moment, timeframe_named
from streamworkers.results.export import INDICATOR_COLUMNS, PATTERN_COLUMNS, indicator_rows, pattern_rows

__all__ = ["read_bars", "read_patterns", "read_results"]

Day = str | date | datetime

_EARLIEST, _LATEST = date(1, 1, 2), date(9999, 12, 30)


def read_bars(
    symbols: str | Iterable[str],
    timeframe: str = "day",
    start: Day | None = None,
    end: Day | None = None,
    *,
    url: str | None = None,
) -> pd.DataFrame:
    """Return the stored bars of symbols from `start` to `end`, both included, by symbol and time.

    The index is (symbol, time): for day, week and month the date of the bar without a zone, else the start of the bar
    in UTC. Prices are float64; `volume` is float64, NaN where it is not known. `start` and `end` are dates (of New York
    for intraday bars) or moments with a zone. `attrs` has `timeframe`, and `as_of`, the moment at which the bars were
    read. `url` is that of PostgreSQL, by default STREAMWORKERS_DATABASE_URL or the embedded one. Raises BadInputError
    for a symbol, timeframe or date that is none, and ServiceUnreachableError.
    """
    frame = timeframe_named(timeframe)
    wanted = _symbols(symbols)
    first, last = _table_bounds(frame, start, end)
    with _snapshot(url) as (connection, as_of):
        found = read_range(connection, wanted, frame, first, last)
    table = _bars_table(frame, {symbol: found[symbol] for symbol in wanted if symbol in found})
    table.attrs = {"timeframe": frame.name, "as_of": as_of}
    return table


def read_results(
    symbols: str | Iterable[str],
    timeframe: str = "day",
    start: Day | None = None,
    end: Day | None = None,
    *,
    indicators: Sequence[str] | None = None,
    url: str | None = None,
) -> pd.DataFrame:
    """Return the stored values of indicators, one row for each symbol, indicator and bar.

    Columns: symbol, timeframe, indicator, time (the moment at which the bar starts, in UTC), value, outputs (a
    dictionary where there are several), bars_used, run_id, written_at. Other parameters, `attrs` and errors are those
    of `read_bars`; `indicators` are names of definitions, by default all.
    """
    frame = timeframe_named(timeframe)
    query = indicator_rows(frame.name, _symbols(symbols), indicators, *_moment_bounds(frame, start, end))
    return _results_table(query, INDICATOR_COLUMNS, frame, url)


def read_patterns(
    symbols: str | Iterable[str],
    timeframe: str = "day",
    start: Day | None = None,
    end: Day | None = None,
    *,
    patterns: Sequence[str] | None = None,
    url: str | None = None,
) -> pd.DataFrame:
    """Return the stored detections of patterns, one row for each symbol, pattern and bar.

    Columns: symbol, timeframe, pattern, time (the moment at which the bar starts, in UTC), direction, signal,
    confidence, metadata, run_id, written_at. Other parameters, `attrs` and errors are those of `read_bars`; `patterns`
    are names of definitions, by default all.
    """
    frame = timeframe_named(timeframe)
    query = pattern_rows(frame.name, _symbols(symbols), patterns, *_moment_bounds(frame, start, end))
    return _results_table(query, PATTERN_COLUMNS, frame, url)


def _symbols(symbols: str | Iterable[str]) -> list[str]:
    given = [symbols] if isinstance(symbols, str) else list(symbols)
    return [require_symbol(symbol) for symbol in dict.fromkeys(given)]


@contextmanager
def _snapshot(url: str | None) -> Iterator[tuple[Connection, datetime]]:
    """Open a connection that sees the database as of one moment, and return that moment, in UTC."""
    with connect(url or _database_url(), application="streamworkers-data") as connection:
        connection.read_only = True
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        with connection.transaction():
            as_of: datetime = fetch_value(connection, "SELECT now()")
            yield connection, as_of.astimezone(UTC)


def _database_url() -> str:
    settings = load_settings()
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    status = next(each for each in EmbeddedServices(settings).status() if each.name == "postgres")
    if status.pid is None:
        raise ServiceUnreachableError("no PostgreSQL: set STREAMWORKERS_DATABASE_URL, or give url=")
    return status.url


def _parse_day(given: Day, name: str) -> date | datetime:
    if isinstance(given, str):
        try:
            given = date.fromisoformat(given) if len(given) == 10 else datetime.fromisoformat(given)
        except ValueError:
            raise BadInputError(f"{name} {given!r} is not a date YYYY-MM-DD or a time in ISO 8601") from None
    if isinstance(given, datetime) and given.tzinfo is None:
        raise BadInputError(f"{name} {given.isoformat()} has no zone; give a date, or a moment with a zone")
    return given


def _table_bounds(frame: Timeframe, start: Day | None, end: Day | None) -> tuple[date | datetime, date | datetime]:
    """Return the bounds as the table of the timeframe has times; the second one is not included."""
    if frame.intraday:
        return _moment_bounds(frame, start, end)
    first, last = (_parse_day(given, name) for given, name in ((start or _EARLIEST, "start"), (end or _LATEST, "end")))
    for given, name in ((first, "start"), (last, "end")):
        if isinstance(given, datetime):
            raise BadInputError(f"{name} {given.isoformat()} is a moment; bars of a {frame.name} are read by date")
    return first, last + timedelta(days=1)


def _moment_bounds(frame: Timeframe, start: Day | None, end: Day | None) -> tuple[datetime, datetime]:
    """Return the bounds as moments; the second one is not included."""
    first, last = _parse_day(start or _EARLIEST, "start"), _parse_day(end or _LATEST, "end")
    if not isinstance(last, datetime):
        last += timedelta(days=1)
    else:
        last += timedelta(microseconds=1)
    return bar_moment(frame, first), bar_moment(frame, last)


def _bars_table(frame: Timeframe, found: dict[str, Bars]) -> pd.DataFrame:
    times = [bars.times for bars in found.values()]
    columns = {
        name: np.concatenate([getattr(bars, name) for bars in found.values()]) if found else np.zeros(0)
        for name in BAR_COLUMNS[2:]
    }
    stamps = pd.DatetimeIndex(np.concatenate(times) if times else np.zeros(0, "datetime64[ms]"))
    symbols = [symbol for symbol, bars in found.items() for _ in range(len(bars))]
    index = pd.MultiIndex.from_arrays(
        [pd.Index(symbols, dtype="str"), stamps.tz_localize("UTC") if frame.intraday else stamps],
        names=["symbol", "time"],
    )
    return pd.DataFrame(columns, index=index)


def _results_table(
    query: tuple[sql.Composed, tuple[object, ...]], columns: Sequence[str], frame: Timeframe, url: str | None
) -> pd.DataFrame:
    with _snapshot(url) as (connection, as_of):
        rows: list[tuple[Any, ...]] = connection.execute(*query).fetchall()
    table = pd.DataFrame.from_records(rows, columns=list(columns))
    for name in ("time", "written_at"):
        table[name] = pd.to_datetime(table[name], utc=True)
    table.attrs = {"timeframe": frame.name, "as_of": as_of}
    return table
