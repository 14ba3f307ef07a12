"""The nightly update with one call for all symbols: the provider's day of all, and stored days for what is wider."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import ClassVar

import msgspec
import numpy as np

from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.loading.plan import Fetch, Rules
from streamworkers.loading.providers.provider import Asked, Page, Provider
from streamworkers.market.bars.bars import NO_BARS, Bars, Times, concat
from streamworkers.market.bars.read import read_series
from streamworkers.market.bars.rules import Rule
from streamworkers.market.bars.text_rows import Reject
from streamworkers.market.calendar.timeframes import TIMEFRAMES

MOST_DAYS = 5
DayOfAll = Mapping[str, Page]


class _Row(msgspec.Struct, array_like=True):
    """What an answer says of a symbol: its bar, or the rule that it breaks."""

    bar: tuple[float, float, float, float, int] | None
    rejected: tuple[str, str] | None = None


def pack_day(pages: DayOfAll) -> bytes:
    """An answer for a table, for `unpack_day`."""
    rows = {}
    for symbol, page in pages.items():
        bars = page.bars
        bar = None
        if len(bars):
            prices = (column[0].item() for column in (bars.open, bars.high, bars.low, bars.close))
            bar = (*prices, int(bars.volume[0]))
        rows[symbol] = (bar, (str(page.rejected[0].rule), page.rejected[0].detail) if page.rejected else None)
    return msgspec.json.encode(rows)


def unpack_day(packed: bytes, day: date) -> DayOfAll:
    """The answer again."""
    start = np.array([day], "datetime64[D]")
    return {symbol: _page(start, row) for symbol, row in msgspec.json.decode(packed, type=dict[str, _Row]).items()}


def days_wanted(fetch: Fetch, rules: Rules) -> list[date]:
    """The days that a fetch needs from the provider, when it is one that a few days of all symbols serve; else none."""
    wants = [want for want in fetch.wants if want.timeframe.name == "day"]
    if fetch.asked.timeframe.name != "day" or len(wants) != 1:
        return []
    if any(want.replaces or want.only is not None for want in fetch.wants):
        return []
    starts = rules.expected(TIMEFRAMES["day"], wants[0].span)
    days: list[date] = starts.astype("datetime64[D]").tolist()
    return days if len(days) <= MOST_DAYS else []


class DaysOfAll(Provider):
    """Answers for one batch from days of all symbols, and for what came before these from stored bars."""

    name: ClassVar[str] = "days_of_all"

    def __init__(self, settings: Settings, days: Mapping[date, DayOfAll]) -> None:
        super().__init__(settings)
        self._days = days
        self._stored: dict[str, Bars] = {}

    def add_stored(
        self, connection: Connection, fetches: Sequence[Fetch], rules: Rules, own: Container[str]
    ) -> list[Fetch]:
        """Read the stored days before the fresh ones; returns the fetches whose days are all there.

        `own` are the symbols whose stored days are of the provider's series: those of others go into no week of it. A
        symbol that is missing from a day may be one that the answer for all does not cover: it is asked for itself.
        """
        covered = [fetch for fetch in fetches if all(fetch.asked.symbol in day for day in self._days.values())]
        if not covered or not self._days:
            return covered
        first_fresh = min(self._days)
        good = [fetch for fetch in covered if fetch.asked.first >= first_fresh]
        older = [fetch for fetch in covered if fetch.asked.first < first_fresh and fetch.asked.symbol in own]
        if not older:
            return good
        frame, last = TIMEFRAMES["day"], first_fresh - timedelta(days=1)
        most = (first_fresh - min(fetch.asked.first for fetch in older)).days
        found = read_series(connection, [fetch.asked.symbol for fetch in older], frame, last, most)
        for fetch in older:
            asked = fetch.asked
            have = _select_from(found[asked.symbol], asked.first) if asked.symbol in found else NO_BARS
            if np.isin(rules.windows(asked.first, last).expected(frame, asked.first, last), have.starts).all():
                self._stored[asked.symbol] = have
                good.append(fetch)
        return good

    def pages(self, asked: Asked, cursor: str | None = None) -> Iterator[Page]:
        """One page."""
        del cursor
        found = [self._days[day].get(asked.symbol) for day in sorted(self._days)]
        parts = [self._stored.get(asked.symbol, NO_BARS), *(page.bars for page in found if page is not None)]
        yield Page(concat(parts), [one for page in found if page is not None for one in page.rejected])


def _select_from(bars: Bars, first: date) -> Bars:
    """Returns the stored day bars from a day on, with volumes as a provider's pages have them."""
    shares = replace(bars, volume=bars.volume.astype(np.int64))
    return shares.where(bars.times >= np.datetime64(first, "D"))


def _page(start: Times, row: _Row) -> Page:
    rejected = [Reject(1, Rule(row.rejected[0]), row.rejected[1], "")] if row.rejected else []
    if row.bar is None:
        return Page(NO_BARS, rejected)
    opened, high, low, close = (np.array([price]) for price in row.bar[:4])
    return Page(Bars(start, opened, high, low, close, np.array([row.bar[4]], np.int64)), rejected)
