"""Bars of the Massive API (formerly Polygon.io): stocks in the United States, prices adjusted for splits.

Its windows are those of New York and include extended hours; its weeks begin on Sunday, those of the tables on Monday.
An answer is accepted only if it is complete: of the requested symbol and adjustment, with as many bars as it states.
Each of its bars is checked for itself. The key is sent in a header and appears nowhere else: in no URL, log or error.
"""

import re
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import count
from typing import ClassVar, TypeVar
from urllib.parse import quote

import httpx
import numpy as np

from streamworkers.config import Settings
from streamworkers.deadline import Deadline
from streamworkers.errors import UsageError
from streamworkers.loading.providers.massive_answers import (
    ApiBars,
    ApiEvents,
    ApiOneTicker,
    ApiSplits,
    ApiTicker,
    ApiTickers,
    decode_answer,
    parse_day,
    parse_retry_after,
    quote_message,
    read_rejection,
    shorten,
)
from streamworkers.loading.providers.massive_bars import convert_starts, make_page, whole_results
from streamworkers.loading.providers.provider import (
    UNCOUNTED,
    AuthError,
    BadPayloadError,
    BarOrigin,
    BarsRequest,
    Calls,
    Listing,
    NotYetError,
    Page,
    PlanError,
    Provider,
    RateLimitedError,
    Split,
    TooOldError,
    TransientError,
    UnsupportedError,
)
from streamworkers.loading.providers.transport import make_transport
from streamworkers.market.bars.bars import NO_BARS
from streamworkers.market.bars.rules import Rule
from streamworkers.market.bars.text_rows import Reject
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES
from streamworkers.market.calendar.windows import days_since_epoch, whole_windows

T = TypeVar("T")
_TIMESPANS = {"1min": "minute", "hour": "hour", "day": "day", "week": "week", "month": "month"}
_SPLITS_PAGE = 1000
_MOST_PAGES = 2000  # of 50,000 minutes each: more than any symbol has
_MOST_SKEW_SECONDS = 2.0
_PROBED = "SPY"
_INVENTED_HEADER = "X-Invented-Bars"  # a fake of the API confesses with it
_GOOD = frozenset({"OK", "DELAYED"})
_OWN_HOSTS = frozenset({"api.massive.com", "api.polygon.io"})  # two names of the same API
_KEY = re.compile(r"[!-~]+")  # any other character breaks the header, and the error would show the key

# As objects a page takes ten times the memory of its columns: of the pages of all threads one is unpacked at a time.
_UNPACKING = threading.Lock()


class Massive(Provider):
    """The provider `massive`; settings `STREAMWORKERS_MASSIVE_…`."""

    name: ClassVar[str] = "massive"
    native: ClassVar[frozenset[str]] = frozenset(_TIMESPANS)
    adjusted: ClassVar[bool | None] = True
    hours_by_clock: ClassVar[bool] = True

    def __init__(self, settings: Settings, calls: Calls = UNCOUNTED) -> None:
        super().__init__(settings, calls)
        key = settings.massive_api_key
        if key is None:
            raise UsageError("the provider massive needs a key in STREAMWORKERS_MASSIVE_API_KEY")
        self._key = key.get_secret_value()
        if not _KEY.fullmatch(self._key):
            raise UsageError("the key in STREAMWORKERS_MASSIVE_API_KEY is empty or holds blanks, line ends, non-ASCII")
        self.calls_per_minute = settings.massive_calls_per_minute
        self._base = httpx.URL(settings.massive_base_url)
        self._max_bytes = settings.massive_max_body_mb << 20
        self._answer_seconds = settings.massive_answer_seconds
        self._skew = timedelta(0)
        self._deadline = Deadline()
        self._client = httpx.Client(
            base_url=self._base,
            headers={"Authorization": f"Bearer {self._key}", "Accept-Encoding": "gzip"},
            timeout=httpx.Timeout(settings.massive_timeout_seconds, connect=5.0),
            transport=make_transport(settings, self._deadline),
            follow_redirects=False,
            trust_env=False,
        )

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
        return datetime.now(UTC) + self._skew

    def _get(
        self, path: str, kind: type[T], days: tuple[date, date] | None = None, unpacking: ExitStack | None = None
    ) -> T:
        """Return the decoded answer of one call for bars of `days`. Raises the error that fits the answer.

        With `unpacking` no other thread decodes an answer until that is closed.
        """
        token = self.calls.reserve()
        word, started = "error", time.monotonic()
        try:
            with self._deadline.of(self._answer_seconds), self._client.stream("GET", path) as response:
                word = str(response.status_code)
                self._read_headers(response)
                body = self._body(response)
                if response.status_code != 200:
                    self._require_good(response, self._without_key(body), days)
            if unpacking is not None:
                unpacking.enter_context(_UNPACKING)
            answer = decode_answer(body, kind)
            status = str(getattr(answer, "status", ""))
            if status not in _GOOD:
                word = "rejected"
                raise self._to_error(status, self._without_key(body), response.status_code, days)
        except httpx.TimeoutException as error:
            word = "timeout"
            raise self._describe_timeout(error, time.monotonic() - started) from None
        except httpx.HTTPError as error:
            word = "error"
            # The text may name a host, but not the key, whose characters were checked. A body that ends early is one of
            # these errors too.
            raise TransientError(f"massive: {type(error).__name__}: {shorten(str(error))}") from None
        except BadPayloadError:
            word = "bad_payload"
            raise
        finally:
            self.calls.finish(token)
            self.calls.count(word)
        return answer

    def _body(self, response: httpx.Response) -> bytearray:
        body = bytearray()
        # Raw parts, because a part that decompresses to nothing must not hide how long the answer takes.
        is_packed = response.headers.get("Content-Encoding", "").lower() == "gzip"
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
        for part in response.iter_raw():
            try:
                plain = unpack.decompress(part, self._max_bytes + 1) if is_packed else part
            except zlib.error as error:
                raise BadPayloadError(f"the answer cannot be decompressed: {error}") from None
            body += plain
            if len(body) > self._max_bytes:
                raise BadPayloadError(f"the answer is larger than {self._max_bytes:,} bytes")
        if is_packed and not unpack.eof:
            raise BadPayloadError("the answer ends in the middle of its compressed data")
        return body

    def _describe_timeout(self, error: httpx.TimeoutException, seconds: float) -> TransientError:
        if seconds >= self._answer_seconds:
            return TransientError(f"massive did not send its whole answer within {self._answer_seconds:g} s")
        return TransientError(f"massive did not answer in time ({type(error).__name__})")

    def _read_headers(self, response: httpx.Response) -> None:
        """Note by how much the API's clock differs from ours, in whole seconds, and whether its bars are invented."""
        if _INVENTED_HEADER in response.headers:
            self.origin = BarOrigin.INVENTED
        try:
            skew = parsedate_to_datetime(response.headers.get("Date", "")) - datetime.now(UTC)
        except (ValueError, TypeError):
            return
        self._skew = skew if abs(skew.total_seconds()) > _MOST_SKEW_SECONDS else timedelta(0)

    def _without_key(self, body: bytearray) -> bytes:
        """Return the body without the key, so that errors can quote it: some servers repeat what they receive."""
        return bytes(body).replace(self._key.encode(), b"***")

    def _require_good(self, response: httpx.Response, body: bytes, days: tuple[date, date] | None) -> None:
        code = response.status_code
        if code == 429:
            until = datetime.now(UTC) + timedelta(seconds=parse_retry_after(response.headers.get("Retry-After")))
            raise RateLimitedError("massive allows no more calls now (HTTP 429)", until)
        if code in (401, 403, 404):
            raise self._to_error("", body, code, days)
        if code >= 500 or code == 408:
            raise TransientError(f"massive answered HTTP {code}: {quote_message(body)}")
        if 300 <= code < 400:
            raise BadPayloadError(f"massive answered HTTP {code}, a redirect; redirects are not followed")
        raise UnsupportedError(f"massive rejected the call with HTTP {code}: {quote_message(body)}")

    def _to_error(self, status: str, body: bytes, code: int, days: tuple[date, date] | None) -> Exception:
        message = quote_message(body)
        status = read_rejection(body).status or status
        if status == "NOT_AUTHORIZED" or (code == 403 and status != "ERROR"):
            return self._to_plan_error(message, days)
        if code in (401, 403):
            return AuthError(f"massive rejected the key in STREAMWORKERS_MASSIVE_API_KEY: {message}")
        if code == 404:
            return UnsupportedError(f"massive has no data there (HTTP 404): {message}")
        return TransientError(f"massive answered with status {status!r}: {message}")

    def _to_plan_error(self, message: str, days: tuple[date, date] | None) -> Exception:
        """Return which limit of the plan a call has met.

        The API says only in words which it is, and has the same ones for days that are too old and too new.
        """
        is_range = days is not None and ("timeframe" in message or "time frame" in message)
        if "before end of day" in message or (
            is_range and days and days[0] >= self.now().astimezone(EXCHANGE_ZONE).date()
        ):
            return NotYetError(f"the plan of the key does not include this yet: {message}")
        if is_range:
            return TooOldError(f"the plan of the key does not reach so far back: {message}")
        return PlanError(f"the plan of the key does not include this: {message}")

    def _next(self, url: str | None, seen: set[str]) -> str:
        """Return the path of the next page, '' at the end, which is read from the host of the setting.

        The API names itself by either of its hosts, also where it is reached through a gateway with a path of its own.
        Raises UnsupportedError for any other host and BadPayloadError for a loop.
        """
        if not url:
            return ""
        try:
            there = self._base.join(url)
        except (httpx.InvalidURL, ValueError):
            raise BadPayloadError(f"next_url {shorten(url)} is not a URL") from None
        is_own = there.scheme == "https" and there.host in _OWN_HOSTS and there.port is None
        if _origin(there) != _origin(self._base) and not is_own:
            raise UnsupportedError(f"next_url leads to host {shorten(_origin(there))}, not to {_origin(self._base)!r}")
        path = there.raw_path.decode("ascii").removeprefix(self._base.raw_path.decode("ascii").rstrip("/"))
        if path in seen:
            raise BadPayloadError("next_url leads to a page that was read already")
        if len(seen) >= _MOST_PAGES:
            raise BadPayloadError(f"the answer has more than {_MOST_PAGES:,} pages")
        seen.add(path)
        return path


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
