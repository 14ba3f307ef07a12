"""Selects stored bars by symbol and range, for files and data frames."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime

import psycopg
from psycopg import sql

from streamworkers.market.bars.bars import Bars
from streamworkers.market.bars.read import parse_wire_bars
from streamworkers.market.calendar.timeframes import Timeframe

_RANGE = """
SELECT w.symbol, string_agg(
    {send_time}(t.{time}) || float8send(t.open::float8) || float8send(t.high::float8) || float8send(t.low::float8)
    || float8send(t.close::float8) || float8send(coalesce(t.volume::float8, 'NaN')), ''::bytea ORDER BY t.{time} DESC)
FROM unnest(%s::text[]) AS w (symbol) JOIN {table} t ON t.symbol = w.symbol
WHERE t.{time} >= %s AND t.{time} < %s GROUP BY w.symbol"""

_ROWS = """
SELECT symbol, {time}, open, high, low, close, volume FROM {table} t
WHERE (%s::text[] IS NULL OR t.symbol = ANY(%s)) AND t.{time} >= %s AND t.{time} < %s ORDER BY symbol, {time}"""

BAR_COLUMNS = ("symbol", "time", "open", "high", "low", "close", "volume")


def read_range(
    connection: psycopg.Connection,
    symbols: Iterable[str],
    timeframe: Timeframe,
    first: date | datetime,
    end: date | datetime,
) -> dict[str, Bars]:
    """Return the bars of each symbol from `first` to before `end`; symbols without bars are absent."""
    with connection.cursor(binary=True) as cursor:
        cursor.execute(_query(_RANGE, timeframe), (list(dict.fromkeys(symbols)), first, end))
        return {symbol: parse_wire_bars(raw, timeframe) for symbol, raw in cursor}


def bar_rows(
    timeframe: Timeframe, symbols: Sequence[str] | None, first: date | datetime, end: date | datetime
) -> tuple[sql.Composed, tuple[object, ...]]:
    """Return a query and its parameters: bars with exact prices by symbol and time; None is every symbol."""
    wanted = None if symbols is None else list(symbols)
    return _query(_ROWS, timeframe), (wanted, wanted, first, end)


def _query(text: str, timeframe: Timeframe) -> sql.Composed:
    return sql.SQL(text).format(
        table=sql.Identifier(timeframe.table),
        time=sql.Identifier(timeframe.time_column),
        send_time=sql.SQL("timestamptz_send" if timeframe.intraday else "date_send"),
    )
