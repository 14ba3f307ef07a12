"""Where each stored series came from (provider, adjustment, hours), and its first and last bar."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple

import psycopg
from psycopg import sql

from streamworkers.errors import BadInputError, PermanentError
from streamworkers.loading.providers.provider import BarOrigin
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES, Timeframe


@dataclass(frozen=True, slots=True)
class SeriesKind:
    """What all bars of one series have in common: their adjustment and their hours."""

    adjusted: bool | None
    hours: str
    hour_anchor: str

    def find_difference(self, other: "SeriesKind", timeframe: Timeframe) -> str | None:
        """Return in a few words how this kind differs from another in a timeframe, None if it does not."""
        if self.adjusted is not other.adjusted:
            return f"adjusted was {self.adjusted}"
        if timeframe.intraday and self.hours != other.hours:
            return f"hours were {self.hours}"
        if timeframe.name == "hour" and self.hour_anchor != other.hour_anchor:
            return f"hours were anchored at the {self.hour_anchor}"
        return None


_PLACE_LOCKS = 0x535A  # the class of these advisory locks; any fixed number


class ProvenanceError(PermanentError, BadInputError):
    """Bars would replace those of a better origin, such as invented bars real ones."""


class StoredSeries(NamedTuple):
    """The stored bars of a symbol in a timeframe: the first, the last, and where they came from.

    The other fields are None for bars that no load has stored. `fetched_at` is when the last bar was fetched.
    """

    first: date | datetime
    last: date | datetime
    provider: str | None
    kind: SeriesKind | None
    adjusted_on: date | None
    last_split: date | None
    fetched_at: datetime | None
    origin: BarOrigin = BarOrigin.REAL


class SeriesSource(NamedTuple):
    """Where the bars that a load is about to store came from: one row of `series_sources`.

    `newest_fetched_at` is when the newest bar that will be stored was fetched. `planned_on` are kind and last split of
    the stored bars when the load was planned, None if there were none of this provider.
    """

    symbol: str
    timeframe: str
    provider: str
    kind: SeriesKind
    adjusted_on: date
    last_split: date | None
    fetched_at: datetime
    newest_fetched_at: datetime | None
    run_id: int
    planned_on: tuple[SeriesKind, date | None] | None = None
    origin: BarOrigin = BarOrigin.REAL

    @property
    def series(self) -> tuple[SeriesKind, date | None]:
        """Kind and last split, which are the same for all bars of one series."""
        return self.kind, self.last_split


_STORED = """
SELECT s.symbol, o.first, l.last, b.provider, b.adjusted, b.hours, b.hour_anchor, b.adjusted_on, b.last_split,
       b.newest_fetched_at, coalesce(b.origin, 'real')
FROM unnest(%s::text[]) AS s (symbol)
CROSS JOIN LATERAL (SELECT {time} AS first FROM {table} t WHERE t.symbol = s.symbol ORDER BY {time} LIMIT 1) o
CROSS JOIN LATERAL (SELECT {time} AS last FROM {table} t WHERE t.symbol = s.symbol ORDER BY {time} DESC LIMIT 1) l
LEFT JOIN series_sources b ON b.symbol = s.symbol AND b.timeframe = %s"""

# The later fetch wins; the row's lock makes two saves of the same bars take turns.
_RECORD = """
INSERT INTO series_sources AS b (symbol, timeframe, provider, adjusted, hours, hour_anchor, adjusted_on, last_split,
                            fetched_at, newest_fetched_at, run_id, origin)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bool[], %s::text[], %s::text[], %s::date[], %s::date[],
                     %s::timestamptz[], %s::timestamptz[], %s::bigint[], %s::text[]) AS n (symbol, timeframe)
ORDER BY symbol, timeframe
ON CONFLICT (symbol, timeframe) DO UPDATE SET provider = excluded.provider, adjusted = excluded.adjusted,
    hours = excluded.hours, hour_anchor = excluded.hour_anchor, adjusted_on = excluded.adjusted_on,
    last_split = excluded.last_split, fetched_at = excluded.fetched_at,
    newest_fetched_at = excluded.newest_fetched_at, run_id = excluded.run_id, origin = excluded.origin
WHERE b.fetched_at <= excluded.fetched_at RETURNING symbol, timeframe"""


def read_stored(
    connection: psycopg.Connection, timeframe: Timeframe, symbols: Sequence[str]
) -> dict[str, StoredSeries]:
    """Return what is stored of each symbol; symbols without bars are absent."""
    query = sql.SQL(_STORED).format(table=sql.Identifier(timeframe.table), time=sql.Identifier(timeframe.time_column))
    found = {}
    for symbol, first, last, provider, adjusted, hours, anchor, on, split, fetched, origin in connection.execute(
        query, (list(symbols), timeframe.name)
    ):
        kind = None if provider is None else SeriesKind(adjusted, hours, anchor)
        found[symbol] = StoredSeries(first, last, provider, kind, on, split, fetched, BarOrigin(origin))
    return found


def read_first_days(connection: psycopg.Connection, timeframe: Timeframe, symbols: Sequence[str]) -> dict[str, date]:
    """Return the first day, in New York, of each symbol that has bars of a timeframe."""
    query = sql.SQL(
        "SELECT s.symbol, o.first FROM unnest(%s::text[]) AS s (symbol) CROSS JOIN LATERAL"
        " (SELECT {time} AS first FROM {table} t WHERE t.symbol = s.symbol ORDER BY {time} LIMIT 1) o"
    ).format(table=sql.Identifier(timeframe.table), time=sql.Identifier(timeframe.time_column))
    rows = connection.execute(query, (list(symbols),))
    return {
        symbol: first.astimezone(EXCHANGE_ZONE).date() if isinstance(first, datetime) else first
        for symbol, first in rows
    }


def read_oldest_adjustment(connection: psycopg.Connection, provider: str, symbols: Sequence[str]) -> date | None:
    """Return the day since which splits affect stored bars of these symbols, None if none are adjusted."""
    row = connection.execute(
        "SELECT min(adjusted_on) FROM series_sources WHERE adjusted AND provider = %s AND symbol = ANY(%s)",
        (provider, list(symbols)),
    ).fetchone()
    assert row is not None
    oldest: date | None = row[0]
    return oldest


def record_sources(connection: psycopg.Connection, sources: Iterable[SeriesSource]) -> set[tuple[str, str]]:
    """Write sources, except where the stored one was fetched later; returns (symbol, timeframe) of those written."""
    rows = list(sources)
    flat = [
        (r.symbol, r.timeframe, r.provider, r.kind.adjusted, r.kind.hours, r.kind.hour_anchor, *r[4:9], r.origin.value)
        for r in rows
    ]
    return set(connection.execute(_RECORD, [list(column) for column in zip(*flat, strict=True)]).fetchall())


_BETTER = """
SELECT s.symbol FROM unnest(%s::text[]) AS s (symbol)
WHERE EXISTS (SELECT FROM {table} t WHERE t.symbol = s.symbol)
  AND coalesce((SELECT b.origin FROM series_sources b WHERE b.symbol = s.symbol AND b.timeframe = %s), 'real') = ANY(%s)
ORDER BY 1"""


def find_better(
    connection: psycopg.Connection, timeframe: Timeframe, symbols: Iterable[str], origin: BarOrigin
) -> list[str]:
    """Return the symbols whose stored bars have a better origin; stored bars of which none is known are real."""
    better = [one.value for one in BarOrigin if one.rank > origin.rank]
    if not better:
        return []
    query = sql.SQL(_BETTER).format(table=sql.Identifier(timeframe.table))
    return [symbol for (symbol,) in connection.execute(query, (list(symbols), timeframe.name, better))]


_ALL_BETTER = """
WITH RECURSIVE symbols (symbol) AS (
    (SELECT symbol FROM {table} ORDER BY symbol LIMIT 1)
    UNION ALL
    SELECT (SELECT t.symbol FROM {table} t WHERE t.symbol > s.symbol ORDER BY t.symbol LIMIT 1)
    FROM symbols s WHERE s.symbol IS NOT NULL
)
SELECT s.symbol FROM symbols s LEFT JOIN series_sources b ON b.symbol = s.symbol AND b.timeframe = %s
WHERE s.symbol IS NOT NULL AND coalesce(b.origin, 'real') = ANY(%s)"""


def list_better(connection: psycopg.Connection, timeframe: Timeframe, origin: BarOrigin) -> frozenset[str]:
    """Return all symbols with stored bars of a better origin."""
    better = [one.value for one in BarOrigin if one.rank > origin.rank]
    query = sql.SQL(_ALL_BETTER).format(table=sql.Identifier(timeframe.table))
    return frozenset(symbol for (symbol,) in connection.execute(query, (timeframe.name, better)))


def require_replaceable(
    connection: psycopg.Connection, timeframe: Timeframe, symbols: Iterable[str], origin: BarOrigin
) -> None:
    """Raise ProvenanceError if bars of this origin would replace better ones."""
    if better := find_better(connection, timeframe, symbols, origin):
        raise ProvenanceError(describe_better(timeframe, better, origin))


def describe_better(timeframe: Timeframe, symbols: Sequence[str], origin: BarOrigin) -> str:
    """Return why bars of an origin are not stored over those of some symbols."""
    names = ", ".join(symbols[:5]) + (f" and {len(symbols) - 5} more" if len(symbols) > 5 else "")
    return f"the stored {timeframe.name} bars of {names} are better than {origin} ones, which never replace them"


def record_origin(
    connection: psycopg.Connection, timeframe: Timeframe, symbols: Iterable[str], origin: BarOrigin
) -> None:
    """Record that the stored bars of symbols are of an origin, for bars that no load has stored."""
    now, kind = datetime.now(UTC), SeriesKind(None, "regular", "clock")
    record_sources(
        connection,
        [
            SeriesSource(symbol, timeframe.name, str(origin), kind, now.date(), None, now, None, 0, origin=origin)
            for symbol in sorted(symbols)
        ],
    )


def find_conflicts(connection: psycopg.Connection, sources: Sequence[SeriesSource]) -> set[str]:
    """Return the symbols whose stored series is neither the one that was planned on nor the one to be stored.

    Locks the places of these series to the end of the transaction, so that the later of two saves sees the other.
    """
    places = [f"{source.symbol}:{source.timeframe}" for source in sources]
    connection.execute(
        "SELECT pg_advisory_xact_lock(%s, key)"
        " FROM (SELECT DISTINCT hashtext(place) AS key FROM unnest(%s::text[]) AS place ORDER BY key) AS keys",
        (_PLACE_LOCKS, places),
    )
    rows = connection.execute(
        "SELECT symbol || ':' || timeframe, provider, adjusted, hours, hour_anchor, last_split, fetched_at"
        " FROM series_sources WHERE symbol = ANY(%s)",
        (list({source.symbol for source in sources}),),
    )
    known = {place: (provider, (SeriesKind(*kind), split), at) for place, provider, *kind, split, at in rows}
    found = set()
    for place, source in zip(places, sources, strict=True):
        if place not in known:
            continue
        provider, series, fetched_at = known[place]
        if provider != source.provider or _are_same(series, source.series, source.timeframe):
            continue
        is_planned = source.planned_on is not None and _are_same(series, source.planned_on, source.timeframe)
        if fetched_at > source.fetched_at or not is_planned:
            found.add(source.symbol)
    return found


def _are_same(one: tuple[SeriesKind, date | None], other: tuple[SeriesKind, date | None], timeframe: str) -> bool:
    return one[1] == other[1] and one[0].find_difference(other[0], TIMEFRAMES[timeframe]) is None


def has_extended_hours(connection: psycopg.Connection, symbols: Sequence[str], timeframe: Timeframe) -> bool:
    """True if the stored bars of any of the symbols in a timeframe are those of extended hours."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM series_sources WHERE symbol = ANY(%s) AND timeframe = %s AND hours = 'extended')",
        (list(symbols), timeframe.name),
    ).fetchone()
    assert row is not None
    return bool(row[0])
