"""Bars of the Massive API (formerly Polygon.io): stocks in the United States, prices adjusted for splits.

Its windows are those of New York and include extended hours; its weeks begin on Sunday, those of the tables on Monday.
An answer is accepted only if it is complete: of the requested symbol and adjustment, with as many bars as it states.
Each of its bars is checked for itself.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from itertools import count
from typing import ClassVar, TypeVar
from urllib.parse import quote

import httpx
import numpy as np

from streamworkers.config import Settings
from streamworkers.loading.providers.massive_answers import (
    ApiBars,
    ApiEvents,
    ApiOneTicker,
    ApiSplits,
    ApiTicker,
    ApiTickers,
    parse_day,
    shorten,
)
from streamworkers.loading.providers.massive_bars import convert_starts, make_page, whole_results
from streamworkers.loading.providers.massive_client import NO_KEY, MassiveClient
from streamworkers.loading.providers.provider import (
    UNCOUNTED,
    BadPayloadError,
    BarOrigin,
    BarsRequest,
    Calls,
    Listing,
    Page,
    Provider,
    Split,
    UnsupportedError,
)
from streamworkers.market.bars.bars import NO_BARS
from streamworkers.market.bars.rules import Rule
from streamworkers.market.bars.text_rows import Reject
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES
from streamworkers.market.calendar.windows import days_since_epoch, whole_windows

T = TypeVar("T")
_TIMESPANS = {"1min": "minute", "hour": "hour", "day": "day", "week": "week", "month": "month"}
_SPLITS_PAGE = 1000
_MOST_PAGES = 2000  # of 50,000 minutes each: more than any symbol has
_PROBED = "SPY"
_OWN_HOSTS = frozenset({"api.massive.com", "api.polygon.io"})  # two names of the same API


class Massive(Provider):
    """The provider `massive`; settings `STREAMWORKERS_MASSIVE_…`."""

    name: ClassVar[str] = "massive"
    native: ClassVar[frozenset[str]] = frozenset(_TIMESPANS)
    adjusted: ClassVar[bool | None] = True
    hours_by_clock: ClassVar[bool] = True

    def __init__(self, settings: Settings, calls: Calls = UNCOUNTED) -> None:
        super().__init__(settings, calls)
        self._client = MassiveClient(settings)
        self.calls_per_minute = settings.massive_calls_per_minute

    @classmethod
    def find_missing_setting(cls, settings: Settings) -> str | None:
        """The key of the API, if it is not set."""
        return NO_KEY if settings.massive_api_key is None else None

    def close(self) -> None:
        """Close the connections to the API."""
        self._client.close()

    def pages(self, request: BarsRequest, cursor: str | None = None) -> Iterator[Page]:
        """Yield one page for each call; the cursor is the path of the next call."""
        first, last = whole_windows(request.timeframe, request.first, request.last)
        if request.timeframe.name == "week":
            last -= timedelta(days=1)  # a Sunday begins the next week of the API
        path = cursor or (
            f"/v2/aggs/ticker/{quote(request.symbol, safe='')}"
            f"/range/1/{_TIMESPANS[request.timeframe.name]}/{first}/{last}"
            f"?adjusted=true&sort=asc&limit={self.settings.massive_page_limit}"
        )
        seen = {path}
        for number in count():
            page = self._read_page(request, path, seen, number)
            path = page.cursor or ""
            yield page
            if not path:
                return

    def _read_page(self, request: BarsRequest, path: str, seen: set[str], number: int) -> Page:
        """Return one page. The objects of its answer, which one thread has at a time, are free again then."""
        with ExitStack() as unpacking:
            answer = self._get(path, ApiBars, (request.first, request.last), unpacking)
            if answer.ticker != request.symbol and (answer.ticker or answer.results):
                raise BadPayloadError(f"the bars are of {shorten(answer.ticker)}, not of {request.symbol!r}")
            bars = whole_results(answer)
            starts = convert_starts(request.timeframe, [bar.t for bar in bars])
            cursor = self._next(answer.next_url, seen) or None
            return make_page(request.symbol, request.timeframe, starts, bars, cursor, number)

    def splits(self, first: date, last: date) -> list[Split]:
        """Return all splits in that time, fetched a thousand a call."""
        path = (
            f"/v3/reference/splits?execution_date.gte={first}&execution_date.lte={last}"
            f"&order=asc&sort=execution_date&limit={_SPLITS_PAGE}"
        )
        found: list[Split] = []
        seen = {path}
        while path:
            answer = self._get(path, ApiSplits)
            if answer.results is None:
                raise BadPayloadError("the answer holds no list of splits")
            for row in answer.results:
                if not (row.split_from > 0 and row.split_to > 0 and first <= row.execution_date <= last):
                    raise BadPayloadError(f"the split {shorten(row)} is malformed or was not requested")
                found.append(Split(row.ticker, row.execution_date, row.split_from, row.split_to))
            path = self._next(answer.next_url, seen)
        return found

    def day_of_all(self, day: date) -> Mapping[str, Page]:
        """Return the grouped daily bars, whose times are those of the close."""
        answer = self._get(f"/v2/aggs/grouped/locale/us/market/stocks/{day}?adjusted=true", ApiBars, (day, day))
        bars = whole_results(answer)
        timeframe, starts = TIMEFRAMES["day"], np.array([days_since_epoch(day)], np.int64)
        pages: dict[str, Page] = {}
        for number, bar in enumerate(bars):
            page = pages.get(bar.T, Page(NO_BARS))
            if datetime.fromtimestamp(bar.t / 1000, EXCHANGE_ZONE).date() != day:
                detail = f"the bar of {shorten(bar.T)} is of {bar.t} ms, which is not on {day}"
                more = Page(page.bars, [Reject(number, Rule.OUT_OF_RANGE, detail, bar.T)])
            elif len(page.bars):
                detail = f"the answer has a bar of {shorten(bar.T)} on {day} already; that is kept"
                more = Page(page.bars, [Reject(number, Rule.DUPLICATE, detail, bar.T)])
            else:
                more = make_page(bar.T, timeframe, starts, [bar], None, number)
            pages[bar.T] = Page(more.bars, [*page.rejected, *more.rejected])
        pages.pop("", None)
        return pages

    def listing(self, symbol: str, first: date | None) -> Listing | None:
        """Return the days of a symbol's listing, by one to three calls: of a renamed one, those under this name."""
        row = self._read_ticker(symbol)
        if row is None:
            return Listing(symbol, None, None)
        until = None
        if row.delisted_utc is not None and not row.active:
            until = parse_day(row.delisted_utc)
        listed = row.list_date
        if first is not None and (listed is None or listed < first):
            listed = self._find_rename(symbol) or listed
        return Listing(symbol, listed, until)

    def _read_ticker(self, symbol: str) -> ApiTicker | None:
        try:
            return self._get(f"/v3/reference/tickers/{quote(symbol, safe='')}", ApiOneTicker).results
        except UnsupportedError:  # the API may not know it any more under that path
            path = f"/v3/reference/tickers?ticker={quote(symbol, safe='')}&market=stocks&active=false&limit=1"
            found = self._get(path, ApiTickers).results or []
            return next((row for row in found if row.ticker == symbol), None)

    def _find_rename(self, symbol: str) -> date | None:
        try:
            found = self._get(f"/vX/reference/tickers/{quote(symbol, safe='')}/events?types=ticker_change", ApiEvents)
        except UnsupportedError:
            return None
        changes = found.results.events
        days = [one.date for one in changes if one.ticker_change is not None and one.ticker_change.ticker == symbol]
        return max(days, default=None)

    def probe(self) -> bool:
        """Request one bar of a symbol that trades each day."""
        day = self.now().astimezone(EXCHANGE_ZONE).date() - timedelta(days=7)
        self._get(f"/v2/aggs/ticker/{_PROBED}/range/1/day/{day}/{day}?adjusted=true", ApiBars)
        return True

    def now(self) -> datetime:
        """Return the time by the clock of the API, as in its last answer."""
        return self._client.now()

    def _get(
        self, path: str, kind: type[T], days: tuple[date, date] | None = None, unpacking: ExitStack | None = None
    ) -> T:
        try:
            return self._client.get(self.calls, path, kind, days, unpacking)
        finally:
            if self._client.confesses:
                self.origin = BarOrigin.INVENTED

    def _next(self, url: str | None, seen: set[str]) -> str:
        """Return the path of the next page, '' at the end, which is read from the host of the setting.

        The API names itself by either of its hosts, also where it is reached through a gateway with a path of its own.
        Raises UnsupportedError for any other host and BadPayloadError for a loop.
        """
        if not url:
            return ""
        base = self._client.base
        try:
            there = base.join(url)
        except (httpx.InvalidURL, ValueError):
            raise BadPayloadError(f"next_url {shorten(url)} is not a URL") from None
        is_own = there.scheme == "https" and there.host in _OWN_HOSTS and there.port is None
        if _origin(there) != _origin(self._client.base) and not is_own:
            raise UnsupportedError(
                f"next_url leads to host {shorten(_origin(there))}, not to {_origin(self._client.base)!r}"
            )
        path = there.raw_path.decode("ascii").removeprefix(self._client.base.raw_path.decode("ascii").rstrip("/"))
        if path in seen:
            raise BadPayloadError("next_url leads to a page that was read already")
        if len(seen) >= _MOST_PAGES:
            raise BadPayloadError(f"the answer has more than {_MOST_PAGES:,} pages")
        seen.add(path)
        return path


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
