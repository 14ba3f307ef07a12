"""Where each stored series came from (provider, adjustment, hours), and its first and last bar."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

import psycopg
from psycopg import sql

from streamworkers.market.calendar.timeframes import TIMEFRAMES, Timeframe


@dataclass(frozen=True, slots=True)
class SeriesKind:
    """What makes two bars of one series: adjusted alike, of the same hours."""

    adjusted: bool | None
    hours: str
    hour_anchor: str

    def differs(self, other: "SeriesKind", timeframe: Timeframe) -> str | None:
        """How a series of this basis differs from one of another, in a few words; None when it does not."""
        if self.adjusted is not other.adjusted:
            return f"adjusted was {self.adjusted}"
        if timeframe.intraday and self.hours != other.hours:
            return f"hours were {self.hours}"
        if timeframe.name == "hour" and self.hour_anchor != other.hour_anchor:
            return f"hours were anchored at the {self.hour_anchor}"
        return None


_PLACE_LOCKS = 0x535A  # any fixed number: the class of our advisory locks


class Stored(NamedTuple):
    """What the tables hold of a symbol in a timeframe: its first and last bar, and as what it was loaded, if it was.

    `fetched_at` is when the last bar was, if that is known.
    """

    first: date | datetime
    last: date | datetime
    provider: str | None
    basis: SeriesKind | None
    adjusted_on: date | None
    last_split: date | None
    fetched_at: datetime | None


class SeriesSource(NamedTuple):
    """As what the bars of a symbol in a timeframe were loaded now.

    `newest_fetched_at` is when the newest bar that will be stored was fetched. `planned_on` are basis and last split of
    the stored bars that the load was planned on, None where there were none of this provider.
    """

    symbol: str
    timeframe: str
    provider: str
    basis: SeriesKind
    adjusted_on: date
    last_split: date | None
    fetched_at: datetime
    newest_fetched_at: datetime | None
    run_id: int
    planned_on: tuple[SeriesKind, date | None] | None = None

    @property
    def series(self) -> tuple[SeriesKind, date | None]:
        """What makes its bars one series."""
        return self.basis, self.last_split


_STORED = """
SELECT s.symbol, o.first, l.last, b.provider, b.adjusted, b.hours, b.hour_anchor, b.adjusted_on, b.last_split,
       b.newest_fetched_at
FROM unnest(%s::text[]) AS s (symbol)
CROSS JOIN LATERAL (SELECT {time} AS first FROM {table} t WHERE t.symbol = s.symbol ORDER BY {time} LIMIT 1) o
CROSS JOIN LATERAL (SELECT {time} AS last FROM {table} t WHERE t.symbol = s.symbol ORDER BY {time} DESC LIMIT 1) l
LEFT JOIN series_sources b ON b.symbol = s.symbol AND b.timeframe = %s"""

# What was fetched later wins; the row's lock makes two saves of the same bars take turns.
_NOTE = """
INSERT INTO series_sources AS b (symbol, timeframe, provider, adjusted, hours, hour_anchor, adjusted_on, last_split,
                            fetched_at, newest_fetched_at, run_id)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bool[], %s::text[], %s::text[], %s::date[], %s::date[],
                     %s::timestamptz[], %s::timestamptz[], %s::bigint[]) AS n (symbol, timeframe)
ORDER BY symbol, timeframe
ON CONFLICT (symbol, timeframe) DO UPDATE SET provider = excluded.provider, adjusted = excluded.adjusted,
    hours = excluded.hours, hour_anchor = excluded.hour_anchor, adjusted_on = excluded.adjusted_on,
    last_split = excluded.last_split, fetched_at = excluded.fetched_at,
    newest_fetched_at = excluded.newest_fetched_at, run_id = excluded.run_id
WHERE b.fetched_at <= excluded.fetched_at RETURNING symbol, timeframe"""


def stored(connection: psycopg.Connection, timeframe: Timeframe, symbols: Sequence[str]) -> dict[str, Stored]:
    """What is stored of these symbols; those without a bar are missing."""
    query = sql.SQL(_STORED).format(table=sql.Identifier(timeframe.table), time=sql.Identifier(timeframe.time_column))
    found = {}
    for (
        symbol,
        first,
        last,
        provider,
        adjusted,
        hours,
        anchor,
        adjusted_on,
        last_split,
        fetched_at,
    ) in connection.execute(query, (list(symbols), timeframe.name)):
        basis = None if provider is None else SeriesKind(adjusted, hours, anchor)
        found[symbol] = Stored(first, last, provider, basis, adjusted_on, last_split, fetched_at)
    return found


def oldest_adjustment(connection: psycopg.Connection, provider: str, symbols: Sequence[str]) -> date | None:
    """The day from which on splits matter to what is stored of these symbols; None when nothing is adjusted."""
    row = connection.execute(
        "SELECT min(adjusted_on) FROM series_sources WHERE adjusted AND provider = %s AND symbol = ANY(%s)",
        (provider, list(symbols)),
    ).fetchone()
    assert row is not None
    oldest: date | None = row[0]
    return oldest


def record_sources(connection: psycopg.Connection, bases: Iterable[SeriesSource]) -> set[tuple[str, str]]:
    """Note as what bars are about to be stored; returns (symbol, timeframe) of those that nobody fetched later."""
    rows = list(bases)
    flat = [
        (r.symbol, r.timeframe, r.provider, r.basis.adjusted, r.basis.hours, r.basis.hour_anchor, *r[4:9]) for r in rows
    ]
    return set(connection.execute(_NOTE, [list(column) for column in zip(*flat, strict=True)]).fetchall())


def conflicts(connection: psycopg.Connection, bases: Sequence[SeriesSource]) -> set[str]:
    """The symbols of which another series is stored than the one that these bars continue or replace.

    Their places in `series_sources` stay locked to the end of the transaction: of two saves the later sees the other.
    """
    places = [f"{base.symbol}:{base.timeframe}" for base in bases]
    connection.execute(
        "SELECT pg_advisory_xact_lock(%s, key)"
        " FROM (SELECT DISTINCT hashtext(place) AS key FROM unnest(%s::text[]) AS place ORDER BY key) AS keys",
        (_PLACE_LOCKS, places),
    )
    rows = connection.execute(
        "SELECT symbol || ':' || timeframe, provider, adjusted, hours, hour_anchor, last_split, fetched_at"
        " FROM series_sources WHERE symbol = ANY(%s)",
        (list({base.symbol for base in bases}),),
    )
    known = {place: (provider, (SeriesKind(*basis), split), at) for place, provider, *basis, split, at in rows}
    found = set()
    for place, base in zip(places, bases, strict=True):
        if place not in known:
            continue
        provider, series, fetched_at = known[place]
        if provider != base.provider or _same(series, base.series, base.timeframe):
            continue
        is_planned = base.planned_on is not None and _same(series, base.planned_on, base.timeframe)
        if fetched_at > base.fetched_at or not is_planned:
            found.add(base.symbol)
    return found


def _same(one: tuple[SeriesKind, date | None], other: tuple[SeriesKind, date | None], timeframe: str) -> bool:
    return one[1] == other[1] and one[0].differs(other[0], TIMEFRAMES[timeframe]) is None


def remove_bars(
    connection: psycopg.Connection, timeframe: Timeframe, symbol: str, first: date | datetime, last: date | datetime
) -> int:
    """Remove bars of a symbol, `first` and `last` included, in the caller's transaction; returns how many."""
    query = sql.SQL("DELETE FROM {table} WHERE symbol = %s AND {time} BETWEEN %s AND %s").format(
        table=sql.Identifier(timeframe.table), time=sql.Identifier(timeframe.time_column)
    )
    return connection.execute(query, (symbol, first, last)).rowcount
