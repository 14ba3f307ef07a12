"""Reads bars: columns for analysis, newest times for planning, exact rows for display.

`read_series` reads each symbol's bars as one string of bytes (the `…send` functions return the wire form of a value)
and splits it with NumPy. One row for each bar, as `COPY … (FORMAT BINARY)` sends them, takes two to three times as
long: the server then formats 235,000 rows of seven fields instead of 470 rows of two.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from streamworkers.errors import BadInputError
from streamworkers.market.bars.bars import Bars, Starts, time_unit
from streamworkers.market.calendar.timeframes import Timeframe

_AHEAD_OF_UTC = timedelta(hours=14)  # the first place on Earth where a day begins
_WIRE_EPOCH = np.datetime64("2000-01-01", "D")  # PostgreSQL's binary dates and timestamps count from here
_VALUES = [("open", ">f8"), ("high", ">f8"), ("low", ">f8"), ("close", ">f8"), ("volume", ">f8")]
_DATED_BAR = np.dtype([("time", ">i4"), *_VALUES])
_TIMED_BAR = np.dtype([("time", ">i8"), *_VALUES])

_SERIES = """
SELECT w.symbol, b.bars
FROM unnest(%s::text[]) AS w (symbol)
CROSS JOIN LATERAL (
    SELECT string_agg(
        {send_time}(n.{time}) || float8send(n.open::float8) || float8send(n.high::float8)
        || float8send(n.low::float8) || float8send(n.close::float8) || float8send(coalesce(n.volume::float8, 'NaN')),
        ''::bytea ORDER BY n.{time} DESC) AS bars
    FROM (
        SELECT * FROM {table} t WHERE t.symbol = w.symbol AND t.{time} <= %s ORDER BY t.{time} DESC LIMIT %s
    ) n
) b
WHERE b.bars IS NOT NULL"""

_COUNTS = """
SELECT w.symbol, (
    SELECT count(*) FROM {table} t WHERE t.symbol = w.symbol AND t.{time} > w.after AND t.{time} <= w.through)
FROM unnest(%s::text[], %s::{kind}[], %s::{kind}[]) AS w (symbol, after, through)"""

_OLDER = """
SELECT w.symbol, b.bars
FROM unnest(%s::text[], %s::{kind}[]) AS w (symbol, before)
CROSS JOIN LATERAL (
    SELECT string_agg({send_time}(n.{time}) || {values}, ''::bytea) AS bars
    FROM (
        SELECT * FROM {table} t WHERE t.symbol = w.symbol AND t.{time} < w.before ORDER BY t.{time} DESC LIMIT %s
    ) n
) b
WHERE b.bars IS NOT NULL"""

_LAST_TIMES = """
SELECT w.symbol, b.{time}
FROM unnest(%s::text[]) AS w (symbol)
CROSS JOIN LATERAL (
    SELECT t.{time} FROM {table} t WHERE t.symbol = w.symbol AND t.{time} <= %s ORDER BY t.{time} DESC LIMIT 1
) b"""

# An index that begins with the symbol cannot find the newest time of all directly, but steps from symbol to symbol.
_NEWEST_OF_ALL = """
WITH RECURSIVE symbols (symbol) AS (
    (SELECT symbol FROM {table} ORDER BY symbol LIMIT 1)
    UNION ALL
    SELECT (SELECT t.symbol FROM {table} t WHERE t.symbol > s.symbol ORDER BY t.symbol LIMIT 1)
    FROM symbols s WHERE s.symbol IS NOT NULL
)
SELECT max((SELECT max(t.{time}) FROM {table} t WHERE t.symbol = s.symbol AND t.{time} <= %s))
FROM symbols s WHERE s.symbol IS NOT NULL"""

_RECENT = """
SELECT {time}, open, high, low, close, volume FROM {table} WHERE symbol = %s ORDER BY {time} DESC LIMIT %s"""


class Bar(NamedTuple):
    """One bar with its exact prices; `time` is a date, or for intraday bars an aware UTC datetime.

    A volume of None is not known.
    """

    time: date | datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int | None


def read_series(
    connection: psycopg.Connection,
    symbols: Iterable[str],
    timeframe: Timeframe,
    as_of: date | datetime,
    max_bars: int,
) -> dict[str, Bars]:
    """Return the newest `max_bars` bars of each symbol up to and including `as_of`, read in one query.

    `as_of` is a date for day, week and month, an aware datetime for the others. All columns are contiguous, `volume`
    is float64, NaN where it is not known, and a start is exact to the millisecond. Symbols without bars are absent.
    Raises BadInputError if `as_of` does not fit the timeframe or `max_bars` is below 1.
    """
    _require_fitting(timeframe, as_of)
    _require_positive("max_bars", max_bars)
    with connection.cursor(binary=True) as cursor:
        cursor.execute(_query(_SERIES, timeframe), (_distinct(symbols), as_of, max_bars))
        return {symbol: parse_wire_bars(raw, timeframe) for symbol, raw in cursor}


def read_older(
    connection: psycopg.Connection,
    before: Mapping[str, date | datetime],
    timeframe: Timeframe,
    limit: int | None,
    columns: Sequence[str],
) -> dict[str, Bars]:
    """Return the newest `limit` bars (None: all) of each symbol before a time, with some columns; the others are NaN.

    Prices are stored as decimals, and to convert them is most of the cost of reading. Symbols without such bars are
    absent.
    """
    values = sql.SQL(" || ").join(_send(name) for name in columns)
    query = sql.SQL(_OLDER).format(
        **_names(timeframe), values=values, kind=sql.SQL("timestamptz" if timeframe.intraday else "date")
    )
    kind = np.dtype([("time", ">i8" if timeframe.intraday else ">i4"), *((name, ">f8") for name in columns)])
    with connection.cursor(binary=True) as cursor:
        cursor.execute(query, (list(before), list(before.values()), limit))
        return {symbol: _parse_wire(raw, kind, timeframe) for symbol, raw in cursor}


def read_last_times(
    connection: psycopg.Connection, symbols: Iterable[str], timeframe: Timeframe, as_of: date | datetime
) -> dict[str, date | datetime]:
    """Return the time of each symbol's newest bar up to and including `as_of`; symbols without one are absent."""
    _require_fitting(timeframe, as_of)
    rows = connection.execute(_query(_LAST_TIMES, timeframe), (_distinct(symbols), as_of)).fetchall()
    return {symbol: _in_utc(time) for symbol, time in rows}


def read_newest_time(
    connection: psycopg.Connection, symbols: Iterable[str], timeframe: Timeframe, not_after: date | datetime
) -> date | datetime | None:
    """Return the time of the newest bar of any of the symbols up to and including `not_after`, or None."""
    return max(read_last_times(connection, symbols, timeframe, not_after).values(), default=None)


def read_newest_of_all(connection: psycopg.Connection, timeframe: Timeframe, now: datetime) -> date | datetime | None:
    """Return the time of the newest bar of any symbol that has begun, or None.

    A bar of the future, which is a mistake, does not hide that there are no new ones. Steps through the index from
    symbol to symbol.
    """
    not_after = now if timeframe.intraday else (now + _AHEAD_OF_UTC).astimezone(UTC).date()
    row = connection.execute(_query(_NEWEST_OF_ALL, timeframe), (not_after,)).fetchone()
    assert row is not None
    return None if row[0] is None else _in_utc(row[0])


def count_bars(
    connection: psycopg.Connection, symbol: str, timeframe: Timeframe, first: date | datetime, last: date | datetime
) -> int:
    """Return the number of a symbol's bars from `first` to `last`, both included."""
    query = sql.SQL("SELECT count(*) FROM {table} WHERE symbol = %s AND {time} BETWEEN %s AND %s").format(
        table=sql.Identifier(timeframe.table), time=sql.Identifier(timeframe.time_column)
    )
    row = connection.execute(query, (symbol, first, last)).fetchone()
    assert row is not None
    return int(row[0])


def has_later_bars(connection: psycopg.Connection, symbol: str, timeframe: Timeframe, time: date | datetime) -> bool:
    """Whether a symbol has bars after a time."""
    query = _query("SELECT EXISTS (SELECT FROM {table} WHERE symbol = %s AND {time} > %s)", timeframe)
    row = connection.execute(query, (symbol, time)).fetchone()
    return row is not None and bool(row[0])


def count_bars_between(
    connection: psycopg.Connection,
    timeframe: Timeframe,
    ranges: Mapping[str, tuple[date | datetime, date | datetime]],
) -> dict[str, int]:
    """Return the number of bars of each symbol after the first time, up to and including the second."""
    if not ranges:
        return {}
    query = sql.SQL(_COUNTS).format(**_names(timeframe), kind=sql.SQL("timestamptz" if timeframe.intraday else "date"))
    after, through = zip(*ranges.values(), strict=True)
    return dict(connection.execute(query, (list(ranges), list(after), list(through))).fetchall())


def read_starts(
    connection: psycopg.Connection, symbol: str, timeframe: Timeframe, first: date | datetime, last: date | datetime
) -> Starts:
    """Return the starts of a symbol's stored bars from `first` to `last`, as `Bars.starts` has them."""
    query = sql.SQL(
        "SELECT coalesce(string_agg(int8send(({start})::bigint), ''::bytea ORDER BY {time}), '')"
        " FROM {table} WHERE symbol = %s AND {time} BETWEEN %s AND %s"
    ).format(
        table=sql.Identifier(timeframe.table),
        time=sql.Identifier(timeframe.time_column),
        start=sql.SQL("extract(epoch FROM timestamp) * 1000" if timeframe.intraday else "date - DATE '1970-01-01'"),
    )
    row = connection.execute(query, (symbol, first, last), binary=True).fetchone()
    assert row is not None
    return np.frombuffer(row[0], ">i8").astype(np.int64)


def read_recent(connection: psycopg.Connection, symbol: str, timeframe: Timeframe, limit: int) -> list[Bar]:
    """Return the newest `limit` bars of a symbol, oldest first."""
    _require_positive("limit", limit)
    rows = connection.execute(_query(_RECENT, timeframe), (symbol, limit)).fetchall()
    return [Bar(_in_utc(time), *values) for time, *values in reversed(rows)]


def parse_wire_bars(raw: bytes, timeframe: Timeframe) -> Bars:
    return _parse_wire(raw, _TIMED_BAR if timeframe.intraday else _DATED_BAR, timeframe)


def _parse_wire(raw: bytes, kind: "np.dtype[Any]", timeframe: Timeframe) -> Bars:
    bars = np.frombuffer(raw, kind)[::-1]
    wire_unit = "us" if timeframe.intraday else "D"
    times = _WIRE_EPOCH + bars["time"].astype(f"timedelta64[{wire_unit}]")
    times = times.astype(f"datetime64[{time_unit(timeframe)}]", copy=False)
    missing = np.full(len(times), np.nan)
    return Bars(times, *(_native(bars[name]) if name in (kind.names or ()) else missing for name, _ in _VALUES))


def _send(column: str) -> sql.Composed:
    # A price is never NULL; a volume that is not known is.
    text = "float8send(coalesce(n.{}::float8, 'NaN'))" if column == "volume" else "float8send(n.{}::float8)"
    return sql.SQL(text).format(sql.Identifier(column))


def _native(values: NDArray[Any]) -> NDArray[np.float64]:
    return values.astype(np.float64, order="C")


def _query(text: str, timeframe: Timeframe) -> sql.Composed:
    return sql.SQL(text).format(**_names(timeframe))


def _names(timeframe: Timeframe) -> dict[str, sql.Composable]:
    return {
        "table": sql.Identifier(timeframe.table),
        "time": sql.Identifier(timeframe.time_column),
        "send_time": sql.SQL("timestamptz_send" if timeframe.intraday else "date_send"),
    }


def _distinct(symbols: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(symbols))


def _in_utc(time: date | datetime) -> date | datetime:
    return time.astimezone(UTC) if isinstance(time, datetime) else time


def _require_fitting(timeframe: Timeframe, as_of: date | datetime) -> None:
    if timeframe.intraday and (not isinstance(as_of, datetime) or as_of.tzinfo is None):
        raise BadInputError(f"{as_of!r} is not an as-of for timeframe {timeframe.name}; give a datetime with a zone")
    if not timeframe.intraday and isinstance(as_of, datetime):
        raise BadInputError(f"{as_of!r} is not an as-of for timeframe {timeframe.name}; give a date")


def _require_positive(name: str, value: int) -> None:
    if value < 1:
        raise BadInputError(f"{name} is {value}; it must be at least 1")
