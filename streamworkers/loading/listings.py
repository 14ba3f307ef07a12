"""Since when and until when symbols are listed: bars before and after are no gaps, and are not asked for.

A provider is asked only about symbols whose bars begin late or end early, and again after some days.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from streamworkers.errors import BadInputError, PermanentError, StopRunError
from streamworkers.loading.load_rules import LoadRules, Span
from streamworkers.loading.plan import NothingToLoad, Plan
from streamworkers.loading.provenance import StoredSeries, read_stored
from streamworkers.loading.providers.provider import Listing, Provider
from streamworkers.loading.purpose import Purpose, calling_for
from streamworkers.logger import get_logger
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES, Timeframe
from streamworkers.market.calendar.windows import start_of, whole_windows

_EVER = 2**62
SET_BY_HAND = "set"  # in the place of the provider
log = get_logger()

_INSERT = """
INSERT INTO listings (symbol, listed_from, delisted_after, provider)
SELECT * FROM unnest(%s::text[], %s::date[], %s::date[], %s::text[]) AS n (symbol) ORDER BY symbol
ON CONFLICT (symbol) DO UPDATE SET listed_from = excluded.listed_from, delisted_after = excluded.delisted_after,
    provider = excluded.provider, asked_at = excluded.asked_at"""

_SET = """
INSERT INTO listings (symbol, listed_from, delisted_after, provider)
SELECT symbol, %s, %s, %s FROM unnest(%s::text[]) AS symbol
ON CONFLICT (symbol) DO UPDATE SET listed_from = coalesce(excluded.listed_from, listings.listed_from),
    delisted_after = coalesce(excluded.delisted_after, listings.delisted_after), provider = excluded.provider,
    asked_at = excluded.asked_at"""

# Bars outside of a listing say that it is another one by now.
_DELETE_CONTRADICTED = """
DELETE FROM listings l USING unnest(%s::text[], %s::date[], %s::date[]) AS s (symbol, first, last)
WHERE l.symbol = s.symbol AND (l.listed_from > s.first OR l.delisted_after < s.last)"""


def read_listings(
    connection: psycopg.Connection, symbols: Iterable[str], since: datetime | None = None
) -> dict[str, Listing]:
    """Return the known listings of symbols, with `since` those that were asked for since then."""
    rows = connection.execute(
        "SELECT symbol, listed_from, delisted_after FROM listings"
        " WHERE symbol = ANY(%s) AND (%s::timestamptz IS NULL OR asked_at >= %s)",
        (list(symbols), since, since),
    )
    return {row[0]: Listing(*row) for row in rows}


def record_listings(
    connection: psycopg.Connection,
    listings: Iterable[Listing],
    provider: str,
    stored: Sequence[tuple[str, date, date]],
) -> None:
    """Record listings, and forget those that the stored bars of a symbol, from a first to a last day, contradict."""
    if stored:
        ordered = sorted(stored)
        connection.execute(_DELETE_CONTRADICTED, [list(column) for column in zip(*ordered, strict=True)])
    rows = sorted({listing.symbol: listing for listing in listings}.values())
    if rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        connection.execute(_INSERT, (*columns, [provider] * len(rows)))


def list_listings(connection: psycopg.Connection, symbols: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return the known listings, with their source and when they were recorded; of some symbols, or of all."""
    rows = connection.execute(
        "SELECT symbol, listed_from, delisted_after, provider, asked_at FROM listings"
        " WHERE %(symbols)s::text[] IS NULL OR symbol = ANY(%(symbols)s) ORDER BY symbol",
        {"symbols": None if symbols is None else list(symbols)},
    )
    names = ("symbol", "listed_from", "delisted_after", "source", "recorded_at")
    return [dict(zip(names, row, strict=True)) for row in rows]


def set_listing(
    connection: psycopg.Connection, symbols: Sequence[str], listed_from: date | None, delisted_after: date | None
) -> None:
    """Record since when, or until when, symbols are listed, as a person knows it; the other day stays as it is known.

    An answer of a provider replaces it. Raises BadInputError for an end that stored bars contradict.
    """
    if delisted_after is not None:
        _require_no_bars_after(connection, symbols, delisted_after)
    connection.execute(_SET, (listed_from, delisted_after, SET_BY_HAND, sorted(set(symbols))))


def _require_no_bars_after(connection: psycopg.Connection, symbols: Sequence[str], day: date) -> None:
    for frame in TIMEFRAMES.values():
        for symbol, stored in sorted(read_stored(connection, frame, symbols).items()):
            last = stored.last
            last = last.astimezone(EXCHANGE_ZONE).date() if isinstance(last, datetime) else last
            if last > day:
                raise BadInputError(f"{frame.name} bars of {symbol} are stored up to {last}, after {day}")


def forget_listings(connection: psycopg.Connection, symbols: Sequence[str]) -> int:
    """Forget what is known of the listings of symbols; returns of how many something was."""
    return connection.execute("DELETE FROM listings WHERE symbol = ANY(%s)", (list(symbols),)).rowcount


def forget_ends(connection: psycopg.Connection, timeframe: Timeframe, symbols: Iterable[str]) -> list[str]:
    """Forget the listings of symbols that have bars after their delisting; returns those."""
    day = sql.SQL("(t.timestamp AT TIME ZONE 'America/New_York')::date" if timeframe.intraday else "t.date")
    query = sql.SQL(
        "DELETE FROM listings l WHERE l.symbol = ANY(%s) AND EXISTS"
        " (SELECT FROM {table} t WHERE t.symbol = l.symbol AND {day} > l.delisted_after) RETURNING symbol"
    ).format(table=sql.Identifier(timeframe.table), day=day)
    return sorted(symbol for (symbol,) in connection.execute(query, (list(symbols),)))


def list_unlisted(listing: Listing, timeframe: Timeframe) -> list[tuple[int, int]]:
    """Return the ranges of starts of bars before and after a listing; bars of the first and last day are in none."""
    ranges = []
    if listing.listed_from is not None:
        ranges.append((-_EVER, _start(timeframe, listing.listed_from) - 1))
    if listing.delisted_after is not None:
        after = listing.delisted_after
        begin = _start(timeframe, after + timedelta(days=1)) if timeframe.intraday else _start(timeframe, after) + 1
        ranges.append((begin, _EVER))
    return ranges


def plan_delisted(plan: Plan, listing: Listing | None, found: StoredSeries | None, rules: LoadRules) -> Plan:
    """Return a plan that asks for nothing after the delisting; for nothing at all if all until then is stored."""
    if isinstance(plan, NothingToLoad) or listing is None or listing.delisted_after is None or plan.replaces:
        return plan
    end = listing.delisted_after
    why = f"{plan.symbol} was delisted after {end}"
    if plan.span.first > end:
        return NothingToLoad(plan.number, why)
    span = Span(plan.span.first, min(plan.span.last, end))
    if rules.span is None and found is not None:
        newer = rules.expected(plan.timeframe, span)
        newer = newer[newer > start_of(found.last)]
        if not any(not any(first <= start <= last for first, last in plan.absent) for start in newer.tolist()):
            return NothingToLoad(plan.number, why)
    return replace(plan, span=span)


@dataclass
class Listings:
    """The listings of the symbols of one batch. Each is asked for by the fetch of its symbol, in a thread."""

    provider: Provider
    known: Mapping[str, Listing] = field(default_factory=dict)
    asks: bool = True
    _asked: dict[str, Listing] = field(default_factory=dict)

    def find(self, symbol: str, first: date | None) -> Listing | None:
        """Return the listing of a symbol whose first bar is of a day, None if nobody knows it.

        Raises what the provider raises when trying again may help.
        """
        listing = self.known.get(symbol) or self._asked.get(symbol)
        if listing is not None or not self.asks:
            return listing
        try:
            with calling_for(Purpose.LISTING):
                listing = self.provider.listing(symbol, first)
        except StopRunError:
            raise
        except PermanentError as error:
            self.asks = False  # what the plan of the key does not include for one symbol, it does for none
            log.warning("load_does_without", what="listings", reason=str(error))
            return None
        if listing is not None:
            self._asked[symbol] = listing
        return listing


def _start(timeframe: Timeframe, day: date) -> int:
    if timeframe.intraday:
        return start_of(datetime(day.year, day.month, day.day, tzinfo=EXCHANGE_ZONE))
    return start_of(whole_windows(timeframe, day, day)[0])
