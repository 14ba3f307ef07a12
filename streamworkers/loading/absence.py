"""Bars that sessions would have and a provider has not, as it has answered twice: before a listing, after a delisting.

They are no gaps: coverage and gaps leave them out, and loads do not ask for them again. A bar that was lost after it
had been stored is in no such range, so it is still missed, and is filled.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypeAlias

import numpy as np
import psycopg
from psycopg import sql

from streamworkers.loading.listings import list_unlisted, read_listings
from streamworkers.market.bars.bars import Mask, Starts, is_among
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, Timeframe, bar_moment
from streamworkers.market.calendar.windows import moment_of, start_of

Ranges: TypeAlias = Sequence[tuple[int, int]]
_MOST_RANGES = 5_000  # of one load of a series: a symbol with more has bars at random

# A range in which a bar is stored now says nothing any more.
_DELETE_STORED = """
DELETE FROM absent_bars a WHERE a.timeframe = %s AND a.symbol = ANY(%s)
  AND EXISTS (SELECT FROM {table} t WHERE t.symbol = a.symbol AND {moment} BETWEEN a.first_bar AND a.last_bar)"""

_INSERT = """
INSERT INTO absent_bars (timeframe, symbol, first_bar, last_bar, bars, provider)
SELECT %s, s.* FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[], %s::int[], %s::text[])
    AS s (symbol, first_bar, last_bar, bars, provider)
WHERE NOT EXISTS (
    SELECT FROM {table} t WHERE t.symbol = s.symbol AND {moment} BETWEEN s.first_bar AND s.last_bar)
ON CONFLICT (timeframe, symbol, first_bar) DO UPDATE SET last_bar = excluded.last_bar, bars = excluded.bars,
    provider = excluded.provider, asked_at = excluded.asked_at"""


class AbsentRange(NamedTuple):
    """Consecutive expected bars of a symbol that its provider has not: the first and last start, and their number."""

    symbol: str
    first: int
    last: int
    bars: int
    provider: str


def read_absent(
    connection: psycopg.Connection, timeframe: Timeframe, symbols: Iterable[str], since: datetime | None = None
) -> dict[str, list[tuple[int, int]]]:
    """Return the ranges of absent bars of each symbol, as first and last start; also those beyond its listing.

    With `since`, listings that were asked for before that moment do not count.
    """
    symbols = list(symbols)
    found: dict[str, list[tuple[int, int]]] = {}
    for symbol, *bars in connection.execute(
        "SELECT symbol, first_bar, last_bar FROM absent_bars WHERE timeframe = %s AND symbol = ANY(%s) ORDER BY 1, 2",
        (timeframe.name, symbols),
    ):
        first, last = (start_of(bar if timeframe.intraday else bar.astimezone(EXCHANGE_ZONE).date()) for bar in bars)
        found.setdefault(symbol, []).append((first, last))
    for symbol, listing in read_listings(connection, symbols, since).items():
        found.setdefault(symbol, []).extend(list_unlisted(listing, timeframe))
    return found


def is_absent(starts: Starts, ranges: Ranges) -> Mask:
    """Return a mask of the starts that are in one of the ranges."""
    absent: Mask = np.zeros(len(starts), np.bool_)
    for first, last in ranges:
        absent |= (starts >= first) & (starts <= last)
    return absent


def count_absent(expected: Starts, ranges: Mapping[str, Ranges], symbol: str) -> int:
    """Return how many of the expected bars of a symbol are absent."""
    return int(np.count_nonzero(is_absent(expected, ranges.get(symbol, ()))))


def find_ranges(symbol: str, expected: Iterable[Starts], missing: Starts, provider: str) -> list[AbsentRange]:
    """Return the runs of missing bars among the expected ones; none if there are too many to be an absence.

    The expected ones come in parts, in order of time; a run may go on in the next part.
    """
    found: list[AbsentRange] = []
    goes_on = False
    for part in expected:
        mask = is_among(part, missing)
        edges = np.diff(mask.astype(np.int8), prepend=0, append=0)
        begins, ends = np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist()
        if len(found) + len(begins) > _MOST_RANGES:
            return []
        for begin, end in zip(begins, ends, strict=True):
            run = AbsentRange(symbol, int(part[begin]), int(part[end]), end - begin + 1, provider)
            if goes_on and begin == 0:
                before = found.pop()
                run = run._replace(first=before.first, bars=before.bars + run.bars)
            found.append(run)
        goes_on = bool(mask[-1]) if len(mask) else goes_on
    return found


def record_absent(
    connection: psycopg.Connection, timeframe: Timeframe, symbols: Iterable[str], ranges: Sequence[AbsentRange]
) -> None:
    """Record absent bars, and forget ranges of these symbols in which bars are stored now."""
    moment = "t.timestamp" if timeframe.intraday else "(t.date::timestamp AT TIME ZONE 'America/New_York')"
    names = {"table": sql.Identifier(timeframe.table), "moment": sql.SQL(moment)}
    connection.execute(sql.SQL(_DELETE_STORED).format(**names), (timeframe.name, list(symbols)))
    if ranges:
        columns = [
            [one.symbol for one in ranges],
            [bar_moment(timeframe, moment_of(timeframe, one.first)) for one in ranges],
            [bar_moment(timeframe, moment_of(timeframe, one.last)) for one in ranges],
            [one.bars for one in ranges],
            [one.provider for one in ranges],
        ]
        connection.execute(sql.SQL(_INSERT).format(**names), (timeframe.name, *columns))
