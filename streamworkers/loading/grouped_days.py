"""The nightly update with one call for all symbols: new days of all symbols, and stored days for wider bars."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import ClassVar

import msgspec
import numpy as np

from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.loading.fetch_plan import Fetch
from streamworkers.loading.load_rules import LoadRules
from streamworkers.loading.providers.provider import BarsRequest, Page, Provider
from streamworkers.market.bars.bars import NO_BARS, Bars, Times, concat, whole_volume
from streamworkers.market.bars.read import read_series
from streamworkers.market.bars.rules import Rule
from streamworkers.market.bars.text_rows import Reject
from streamworkers.market.calendar.timeframes import TIMEFRAMES

MOST_DAYS = 5
DayOfAll = Mapping[str, Page]


class _Row(msgspec.Struct, array_like=True):
    """The bar of a symbol, or the rule that it breaks."""

    bar: tuple[float, float, float, float, int] | None
    rejected: tuple[str, str] | None = None


def pack_day(pages: DayOfAll) -> bytes:
    """Return the day of all symbols as bytes for `unpack_day`."""
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
    """Return the day in what `pack_day` made."""
    start = np.array([day], "datetime64[D]")
    return {symbol: _page(start, row) for symbol, row in msgspec.json.decode(packed, type=dict[str, _Row]).items()}


def list_grouped_days(fetch: Fetch, rules: LoadRules) -> list[date]:
    """Return the days of all symbols that would serve a fetch, or none if it needs more than a few, or other bars."""
    wants = [want for want in fetch.wants if want.timeframe.name == "day"]
    if fetch.request.timeframe.name != "day" or len(wants) != 1:
        return []
    if any(want.replaces or want.only is not None for want in fetch.wants):
        return []
    starts = rules.expected(TIMEFRAMES["day"], wants[0].span)
    days: list[date] = starts.astype("datetime64[D]").tolist()
    return days if len(days) <= MOST_DAYS else []


class DaysOfAll(Provider):
    """Serves the fetches of one batch from days of all symbols, and from stored bars for the days before these."""

    name: ClassVar[str] = "days_of_all"

    def __init__(self, settings: Settings, days: Mapping[date, DayOfAll], clock: Callable[[], datetime]) -> None:
        super().__init__(settings)
        self._days = days
        self._clock = clock
        self._stored: dict[str, Bars] = {}

    def add_stored(
        self, connection: Connection, fetches: Sequence[Fetch], rules: LoadRules, own: Container[str]
    ) -> list[Fetch]:
        """Read the stored days before the new ones; returns the fetches whose days are complete.

        `own` are the symbols whose stored days belong to the provider's series; other stored days are not used for
        weeks and months. A symbol that is missing from a day may not be covered by the provider's day of all: it gets
        a request of its own.
        """
        covered = [
            fetch for fetch in fetches if all(fetch.request.symbol in day for day in self._days_of(fetch.request))
        ]
        if not covered or not self._days:
            return covered
        first_fresh = min(self._days)
        good = [fetch for fetch in covered if fetch.request.first >= first_fresh]
        older = [fetch for fetch in covered if fetch.request.first < first_fresh and fetch.request.symbol in own]
        if not older:
            return good
        frame, last = TIMEFRAMES["day"], first_fresh - timedelta(days=1)
        most = (first_fresh - min(fetch.request.first for fetch in older)).days
        found = read_series(connection, [fetch.request.symbol for fetch in older], frame, last, most)
        for fetch in older:
            request = fetch.request
            have = _select_from(found[request.symbol], request.first) if request.symbol in found else NO_BARS
            if np.isin(rules.windows(request.first, last).expected(frame, request.first, last), have.starts).all():
                self._stored[request.symbol] = have
                good.append(fetch)
        return good

    def pages(self, request: BarsRequest, cursor: str | None = None) -> Iterator[Page]:
        """Yield the day that all symbols share as one page."""
        del cursor
        found = [day.get(request.symbol) for day in self._days_of(request)]
        parts = [self._stored.get(request.symbol, NO_BARS), *(page.bars for page in found if page is not None)]
        yield Page(concat(parts), [one for page in found if page is not None for one in page.rejected])

    def now(self) -> datetime:
        """Return the time by the clock of the provider whose days these are."""
        return self._clock()

    def _days_of(self, request: BarsRequest) -> list[DayOfAll]:
        """Return the days of a request, in order; other requests of the batch may need others."""
        return [self._days[day] for day in sorted(self._days) if request.first <= day <= request.last]


def _select_from(bars: Bars, first: date) -> Bars:
    """Return the stored day bars from a day on, with volumes as a provider's pages have them."""
    return whole_volume(bars).where(bars.times >= np.datetime64(first, "D"))


def _page(start: Times, row: _Row) -> Page:
    rejected = [Reject(1, Rule(row.rejected[0]), row.rejected[1], "")] if row.rejected else []
    if row.bar is None:
        return Page(NO_BARS, rejected)
    opened, high, low, close = (np.array([price]) for price in row.bar[:4])
    return Page(Bars(start, opened, high, low, close, np.array([row.bar[4]], np.int64)), rejected)
