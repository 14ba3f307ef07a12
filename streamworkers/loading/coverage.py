"""Compares stored bars with the sessions of the exchange: coverage by symbol, and the gaps of one symbol."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from streamworkers.loading.absence import count_absent, is_absent, read_absent
from streamworkers.loading.load_rules import LoadRules, Span
from streamworkers.market.bars.bars import Starts
from streamworkers.market.bars.read import read_starts
from streamworkers.market.calendar.symbol_calendars import CalendarRules
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.market.calendar.windows import MINUTE_MS, moment_of

_PRESENT = """
SELECT symbol, count(*) FROM {table} WHERE symbol = ANY(%s) AND {time} = ANY(%s) GROUP BY symbol"""

_PRESENT_MINUTES = """
SELECT t.symbol, count(*) FROM unnest(%s::timestamptz[], %s::timestamptz[]) AS s (opens, closes)
JOIN ohlcv_1min t ON t.symbol = ANY(%s) AND t.timestamp >= s.opens AND t.timestamp < s.closes GROUP BY t.symbol"""


@dataclass(frozen=True, slots=True)
class Coverage:
    """The numbers of closed bars of regular sessions that are expected of a symbol, and that are stored."""

    symbol: str
    expected: int
    present: int

    @property
    def missing(self) -> int:
        """The number of expected bars that are not stored."""
        return self.expected - self.present


@dataclass(frozen=True, slots=True)
class Gap:
    """Consecutive expected bars that are not stored: the first, the last, and their number."""

    first: date | datetime
    last: date | datetime
    bars: int


def compute_coverage(
    connection: psycopg.Connection,
    symbols: Sequence[str],
    timeframe: Timeframe,
    span: Span,
    rules: LoadRules,
    calendars: CalendarRules,
) -> list[Coverage]:
    """Return the coverage of each symbol, in the order of `symbols`, over the days of `span`, each by its calendar."""
    found = {
        row.symbol: row
        for calendar, members in calendars.group(symbols).items()
        for row in _compute_group(connection, members, timeframe, span, replace(rules, calendar=calendar))
    }
    return [found[symbol] for symbol in symbols]


def _compute_group(
    connection: psycopg.Connection, symbols: Sequence[str], timeframe: Timeframe, span: Span, rules: LoadRules
) -> list[Coverage]:
    expected = rules.expected(timeframe, span)
    names = list(symbols)
    if timeframe.name == "1min":
        sessions = [
            session
            for session in rules.windows(span.first, span.last).sessions.sessions
            if span.first <= session.day <= span.last
        ]
        # An open session counts up to its newest closed minute.
        newest = moment_of(timeframe, int(expected[-1]) + MINUTE_MS) if len(expected) else rules.now
        closes = [min(session.closes, newest) for session in sessions]
        rows: Any = connection.execute(_PRESENT_MINUTES, ([s.opens for s in sessions], closes, names))
    else:
        query = sql.SQL(_PRESENT).format(
            table=sql.Identifier(timeframe.table), time=sql.Identifier(timeframe.time_column)
        )
        rows = connection.execute(query, (names, [moment_of(timeframe, start) for start in expected.tolist()]))
    present, absent = dict(rows.fetchall()), read_absent(connection, timeframe, names)
    return [
        Coverage(
            symbol,
            max(len(expected) - count_absent(expected, absent, symbol), present.get(symbol, 0)),
            present.get(symbol, 0),
        )
        for symbol in names
    ]


def read_stored_starts(
    connection: psycopg.Connection, timeframe: Timeframe, symbols: Sequence[str], starts: Starts
) -> dict[str, Starts]:
    """Return which of some starts each symbol has bars of; symbols without any are left out. For few starts."""
    query = sql.SQL(
        "SELECT symbol, string_agg(int8send(({start})::bigint), ''::bytea) FROM {table}"
        " WHERE symbol = ANY(%s) AND {time} = ANY(%s) GROUP BY symbol"
    ).format(
        table=sql.Identifier(timeframe.table),
        time=sql.Identifier(timeframe.time_column),
        start=sql.SQL("extract(epoch FROM timestamp) * 1000" if timeframe.intraday else "date - DATE '1970-01-01'"),
    )
    words = (list(symbols), [moment_of(timeframe, start) for start in starts.tolist()])
    rows = connection.execute(query, words, binary=True)
    return {symbol: np.frombuffer(found, ">i8").astype(np.int64) for symbol, found in rows}


def find_gaps(
    connection: psycopg.Connection, symbol: str, timeframe: Timeframe, span: Span, rules: LoadRules
) -> Iterator[Gap]:
    """Yield the gaps of a symbol in order of time. Missing bars with no stored one between them are one gap."""
    expected = rules.expected(timeframe, span)
    if not len(expected):
        return
    first, last = (moment_of(timeframe, int(expected[place])) for place in (0, -1))
    missing = ~np.isin(expected, read_starts(connection, symbol, timeframe, first, last))
    missing &= ~is_absent(expected, read_absent(connection, timeframe, [symbol]).get(symbol, ()))
    for begin, end in _find_runs(missing):
        yield Gap(moment_of(timeframe, int(expected[begin])), moment_of(timeframe, int(expected[end])), end - begin + 1)


def _find_runs(mask: "np.ndarray[Any, np.dtype[np.bool_]]") -> list[tuple[int, int]]:
    """Return the first and last place of each run of true values."""
    edges: Starts = np.diff(np.concatenate(([0], mask.astype(np.int64), [0])))
    return list(zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True))
