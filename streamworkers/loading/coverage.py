"""What is stored against what the sessions of the exchange give: coverage by symbol, and the gaps of one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from streamworkers.loading.plan import Rules, Span
from streamworkers.market.bars.bars import Starts
from streamworkers.market.bars.read import read_starts
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.market.calendar.windows import MINUTE_MS, moment_of

_PRESENT = """
SELECT symbol, count(*) FROM {table} WHERE symbol = ANY(%s) AND {time} = ANY(%s) GROUP BY symbol"""

_PRESENT_MINUTES = """
SELECT t.symbol, count(*) FROM unnest(%s::timestamptz[], %s::timestamptz[]) AS s (opens, closes)
JOIN ohlcv_1min t ON t.symbol = ANY(%s) AND t.timestamp >= s.opens AND t.timestamp < s.closes GROUP BY t.symbol"""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many closed bars of regular sessions there should be of a symbol, and are."""

    symbol: str
    expected: int
    present: int

    @property
    def missing(self) -> int:
        """The difference."""
        return self.expected - self.present


@dataclass(frozen=True, slots=True)
class Gap:
    """Bars in a row that are not there: the first, the last, how many."""

    first: date | datetime
    last: date | datetime
    bars: int


def coverage(
    connection: psycopg.Connection, symbols: Sequence[str], timeframe: Timeframe, span: Span, rules: Rules
) -> list[Coverage]:
    """Coverage of each symbol in that order, over the days of `span`."""
    expected = rules.expected(timeframe, span)
    names = list(symbols)
    if timeframe.name == "1min":
        sessions = [
            session
            for session in rules.windows(span.first, span.last).sessions.sessions
            if span.first <= session.day <= span.last
        ]
        # The session under way ends, for this, with its newest closed minute.
        newest = moment_of(timeframe, int(expected[-1]) + MINUTE_MS) if len(expected) else rules.now
        closes = [min(session.closes, newest) for session in sessions]
        rows: Any = connection.execute(_PRESENT_MINUTES, ([s.opens for s in sessions], closes, names))
    else:
        query = sql.SQL(_PRESENT).format(
            table=sql.Identifier(timeframe.table), time=sql.Identifier(timeframe.time_column)
        )
        rows = connection.execute(query, (names, [moment_of(timeframe, start) for start in expected.tolist()]))
    present = dict(rows.fetchall())
    return [Coverage(symbol, len(expected), present.get(symbol, 0)) for symbol in names]


def gaps(connection: psycopg.Connection, symbol: str, timeframe: Timeframe, span: Span, rules: Rules) -> Iterator[Gap]:
    """The gaps of a symbol in order of time; bars with no other expected one between them are one gap."""
    expected = rules.expected(timeframe, span)
    if not len(expected):
        return
    first, last = (moment_of(timeframe, int(expected[place])) for place in (0, -1))
    missing = ~np.isin(expected, read_starts(connection, symbol, timeframe, first, last))
    for begin, end in _runs(missing):
        yield Gap(moment_of(timeframe, int(expected[begin])), moment_of(timeframe, int(expected[end])), end - begin + 1)


def _runs(mask: "np.ndarray[Any, np.dtype[np.bool_]]") -> list[tuple[int, int]]:
    """First and last place of each run of true values."""
    edges: Starts = np.diff(np.concatenate(([0], mask.astype(np.int64), [0])))
    return list(zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True))
