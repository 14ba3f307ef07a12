"""The fake Massive API: its state, and the answer to each call."""

import hashlib
import hmac
import itertools
import math
import operator
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

import msgspec

from streamworkers.errors import BadInputError
from streamworkers_fakes.massive.calls import Call, CallLog, SlidingWindow, without_keys
from streamworkers_fakes.massive.market import DEFAULT_SYMBOLS, FakeMarket, FakeSplit
from streamworkers_fakes.massive.misbehaviour import (
    Answer,
    Misbehaviour,
    MisbehaviourRules,
    ReceivedCall,
    misbehave,
    too_many_requests,
)
from streamworkers_fakes.massive.pages import (
    DEFAULT_BARS,
    MOST_BARS,
    AggregatesRequest,
    Pages,
    date_in,
    number_in,
    read_request,
)
from streamworkers_fakes.massive.trading_days import MINUTE_MS, new_york_date

DEFAULT_KEY: Final = "fake-massive-key"
_AGGREGATES = re.compile(r"/v2/aggs/ticker/([^/]+)/range/([^/]+)/([^/]+)/([^/]+)/([^/]+)")
_GROUPED = re.compile(r"/v2/aggs/grouped/locale/us/market/stocks/([^/]+)")
_SPLITS = re.compile(r"/v3/reference/splits")
_TICKERS = re.compile(r"/v3/reference/tickers")
_MOST_ROWS, _DEFAULT_SPLITS, _DEFAULT_TICKERS = 1000, 10, 100
_COMPARISONS = {"": operator.eq, ".gte": operator.ge, ".gt": operator.gt, ".lte": operator.le, ".lt": operator.lt}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A received request; `raw_path` is percent-encoded, `base_url` has no slash at its end."""

    method: str
    base_url: str
    raw_path: str
    query: str
    authorization: str | None


class _RejectedError(Exception):
    """The call is answered with this HTTP status and error instead of data."""

    def __init__(self, status: int, message: str, kind: str = "ERROR") -> None:
        super().__init__(message)
        self.status, self.message, self.kind = status, message, kind


class FakeMassive:
    """The API's state: its market, clock, keys and limit, the misbehaviours in force, and the log of its calls.

    `now` is the aware moment at which the clock is stopped; None uses the real clock. `latency` is in seconds before
    each answer. `calls_per_minute` is the API's own limit, in any `limit_window_seconds`. `log_file` gets a JSON line
    for each call. The other parameters are those of FakeMarket. Methods are thread-safe. Raises BadInputError
    for a parameter that breaks a rule.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        symbols: Iterable[str] = DEFAULT_SYMBOLS,
        splits: Iterable[FakeSplit] = (),
        unknown: Iterable[str] = (),
        listed_from: Mapping[str, date] | None = None,
        extended_share: float = 0.6,
        now: datetime | None = None,
        api_keys: Iterable[str] = (DEFAULT_KEY,),
        latency: float = 0.0,
        calls_per_minute: int | None = None,
        limit_window_seconds: float = 60.0,
        misbehaviours: Iterable[Misbehaviour] = (),
        log_file: Path | None = None,
    ) -> None:
        self.market = FakeMarket(
            seed=seed,
            symbols=symbols,
            splits=splits,
            unknown=unknown,
            listed_from=listed_from,
            extended_share=extended_share,
        )
        self.api_keys = tuple(api_keys)
        if not self.api_keys or "" in self.api_keys:
            raise BadInputError("api_keys must be one key or more, and none of them empty")
        self.rules = MisbehaviourRules(seed, misbehaviours)
        self._pages = Pages(self.market)
        self._limit_window_seconds = limit_window_seconds
        self._numbers, self._numbers_lock = itertools.count(1), threading.Lock()
        self._now: datetime | None = None
        self.set_now(now)
        self.set_latency(latency)
        self.set_calls_per_minute(calls_per_minute)
        self.log = CallLog(log_file)

    @property
    def api_key(self) -> str:
        """A key that is accepted."""
        return self.api_keys[0]

    def now(self) -> datetime:
        """Return the time of the API's clock."""
        return self._now or datetime.now(UTC)

    def set_now(self, now: datetime | None) -> None:
        """Stop the clock at an aware moment; None uses the real clock. Raises BadInputError for a naive moment."""
        if now is not None and now.tzinfo is None:
            raise BadInputError(f"now {now.isoformat()} has no offset from UTC; write it as {now.isoformat()}+00:00")
        if now is not None:
            self.market.know_until(new_york_date(now))
        self._now = now

    def set_latency(self, seconds: float) -> None:
        """Set the delay before each answer. Raises BadInputError below 0."""
        if not 0 <= seconds < math.inf:
            raise BadInputError(f"latency {seconds:g} s is not a finite number of seconds from 0")
        self.latency = seconds

    def set_calls_per_minute(self, most: int | None) -> None:
        """Set a new rate limit; None lifts it. Raises BadInputError below 1."""
        self._limiter = None if most is None else SlidingWindow(most, self._limit_window_seconds)

    def answer(self, arrival: Arrival) -> Answer:
        """Return the answer to a call, and logs the call."""
        started, clock = time.time(), time.monotonic()
        path = arrival.raw_path + (f"?{arrival.query}" if arrival.query else "")
        shown = without_keys(path, self.api_keys)
        request_id = self._request_id()
        endpoint, words = _endpoint(arrival.raw_path)
        parameters = _parameters(arrival.query)
        named = words[0] if endpoint == "aggregates" else parameters.get("ticker")
        ticker = None if named is None else without_keys(named, self.api_keys)
        asked = ReceivedCall(f"{arrival.base_url}{shown}", shown, endpoint, ticker, request_id)
        found, answer = self._decide(arrival, asked, words, parameters)
        if self.latency:
            answer = replace(answer, hold_seconds=answer.hold_seconds + self.latency)
        call = Call(
            started, clock, arrival.method, shown, answer.status, found, ticker, arrival.authorization is not None
        )
        self.log.add(call)
        return answer

    def _decide(
        self, arrival: Arrival, asked: ReceivedCall, words: list[str], parameters: dict[str, str]
    ) -> tuple[str | None, Answer]:
        """Return the name of the misbehaviour that the call met, or None, and the answer."""
        try:
            self._check_key(arrival, parameters)
            limiter = self._limiter
            wait = 0.0 if limiter is None else limiter.wait_seconds(time.monotonic())
            if wait:
                return None, too_many_requests(asked.request_id, (("Retry-After", str(math.ceil(wait))),))
            if asked.endpoint == "aggregates":
                request = _aggregates_request(words, parameters)
                asked = replace(asked, first_ms=request.first_ms)
                body = self._aggregates(request, arrival.base_url, asked.request_id, words[4], words[3])
            elif asked.endpoint == "grouped":
                body = self._grouped(words[0], parameters, asked.request_id)
            elif asked.endpoint == "splits":
                body = self._splits(arrival, parameters, asked.request_id)
            elif asked.endpoint == "tickers":
                body = self._tickers(arrival, parameters, asked.request_id)
            else:
                raise _RejectedError(404, "The requested resource was not found", "NOT_FOUND")
        except (_RejectedError, BadInputError) as error:
            return None, _rejection(error, asked.request_id)
        return self._apply_rules(asked, body)

    def _apply_rules(self, asked: ReceivedCall, body: bytes) -> tuple[str | None, Answer]:
        good = Answer(200, body)
        rule = self.rules.strike(asked)
        if rule is None:
            return None, good
        spoilt = misbehave(rule, asked, body)
        return (None, good) if spoilt is None else (rule.name, spoilt)

    def _check_key(self, arrival: Arrival, parameters: dict[str, str]) -> None:
        scheme, _, key = (arrival.authorization or "").partition(" ")
        known = any(hmac.compare_digest(key.encode(), own.encode()) for own in self.api_keys)
        in_url = any(name.lower() == "apikey" for name in parameters)
        if scheme.lower() != "bearer" or not known or in_url:
            raise _RejectedError(401, "Unknown API Key")

    def _aggregates(
        self, request: AggregatesRequest, base_url: str, request_id: str, last_word: str, first_word: str
    ) -> bytes:
        page = self._pages.page(request, self.now())
        next_url = None
        if page.next_ms is not None:
            bounds = (page.next_ms, last_word) if request.ascending else (first_word, page.next_ms)
            path = f"/v2/aggs/ticker/{quote(request.ticker)}/range/{request.multiplier}/{request.timespan}"
            query = {
                "adjusted": _truth(request.adjusted),
                "sort": "asc" if request.ascending else "desc",
                "limit": str(request.limit),
            }
            next_url = f"{base_url}{path}/{bounds[0]}/{bounds[1]}?{_with_cursor(query)}"
        counts = {"queryCount": page.base_count, "resultsCount": page.count, "adjusted": request.adjusted}
        after = {"status": "OK", "request_id": request_id, "count": page.count}
        rest = after if next_url is None else {**after, "next_url": next_url}
        return _with_rows({"ticker": request.ticker, **counts}, page.rows, rest)

    def _grouped(self, day_word: str, parameters: dict[str, str], request_id: str) -> bytes:
        day, adjusted = _date(day_word, "date"), _is_true(parameters, "adjusted", default=True)
        symbols, bars = self.market.grouped(day, now=self.now(), adjusted=adjusted)
        count, rows = len(symbols), b""
        if count:
            table = self.market.table
            closes = bars.start_ms + table.close_minute[table.between(day, day)[0]] * MINUTE_MS
            rows = replace(bars, start_ms=closes).json_rows_of(symbols)
        counts = {"queryCount": count, "resultsCount": count, "adjusted": adjusted}
        return _with_rows(counts, rows, {"status": "OK", "request_id": request_id, "count": count})

    def _splits(self, arrival: Arrival, parameters: dict[str, str], request_id: str) -> bytes:
        is_wanted, ticker = _day_filter(parameters, "execution_date"), parameters.get("ticker")
        chosen = [
            split for split in self.market.splits if is_wanted(split.execution_date) and ticker in (None, split.ticker)
        ]
        if not _is_ascending(parameters, "order", "desc"):
            chosen.reverse()
        rows = [
            {
                "id": hashlib.blake2b(repr(split).encode(), digest_size=16).hexdigest(),
                "execution_date": split.execution_date.isoformat(),
                "split_from": split.split_from,
                "split_to": split.split_to,
                "ticker": split.ticker,
            }
            for split in chosen
        ]
        return _listing(arrival, parameters, rows, _DEFAULT_SPLITS, request_id)

    def _tickers(self, arrival: Arrival, parameters: dict[str, str], request_id: str) -> bytes:
        wanted = parameters.get("ticker")
        today, market = new_york_date(self.now()), self.market
        symbols = [
            symbol
            for symbol in market.symbols
            if symbol not in market.unknown and market.listed_from.get(symbol, today) <= today
        ]
        if parameters.get("market", "stocks") != "stocks":
            symbols = []
        if not _is_ascending(parameters, "order", "asc"):
            symbols.reverse()
        rows = [
            {
                "ticker": symbol,
                "name": f"{symbol} Inc.",
                "market": "stocks",
                "locale": "us",
                "primary_exchange": "XNYS",
                "type": "CS",
                "active": True,
                "currency_name": "usd",
            }
            for symbol in symbols
            if wanted in (None, symbol)
        ]
        return _listing(arrival, parameters, rows, _DEFAULT_TICKERS, request_id)

    def _request_id(self) -> str:
        with self._numbers_lock:
            number = next(self._numbers)
        return hashlib.blake2b(f"{self.market.seed}/{number}".encode(), digest_size=16).hexdigest()


def _endpoint(raw_path: str) -> tuple[str, list[str]]:
    patterns = {"aggregates": _AGGREGATES, "grouped": _GROUPED, "splits": _SPLITS, "tickers": _TICKERS}
    for name, pattern in patterns.items():
        found = pattern.fullmatch(raw_path)
        if found:
            return name, [unquote(word) for word in found.groups()]
    return "none", []


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters of a query, completed by those in its `cursor`."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    cursor = given.pop("cursor", None)
    if cursor is None:
        return given
    try:
        return {**dict(parse_qsl(bytes.fromhex(cursor).decode())), **given}
    except ValueError:
        return given


def _with_cursor(parameters: Mapping[str, str]) -> str:
    text = urlencode(parameters)
    return f"cursor={text.encode().hex()}&{text}"


def _aggregates_request(words: list[str], parameters: dict[str, str]) -> AggregatesRequest:
    ticker, multiplier, timespan, first, last = words
    return replace(
        read_request(ticker, multiplier, timespan, first, last),
        adjusted=_is_true(parameters, "adjusted", default=True),
        ascending=_is_ascending(parameters, "sort", "asc"),
        limit=_limit(parameters, DEFAULT_BARS, MOST_BARS),
    )


def _limit(parameters: dict[str, str], default: int, most: int) -> int:
    text = parameters.get("limit", str(default))
    number = number_in(text)
    if not 1 <= number <= most:
        raise BadInputError(f"limit {text!r} is not a whole number from 1 to {most}")
    return number


def _is_true(parameters: dict[str, str], name: str, *, default: bool) -> bool:
    text = parameters.get(name, _truth(default))
    if text not in ("true", "false"):
        raise BadInputError(f"{name} {text!r} is neither true nor false")
    return text == "true"


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _is_ascending(parameters: dict[str, str], name: str, default: str) -> bool:
    text = parameters.get(name, default)
    if text not in ("asc", "desc"):
        raise BadInputError(f"{name} {text!r} is neither asc nor desc")
    return text == "asc"


def _date(text: str, name: str) -> date:
    try:
        return date_in(text)
    except ValueError:
        raise BadInputError(f"{name} {text!r} is not YYYY-MM-DD") from None


def _day_filter(parameters: dict[str, str], name: str) -> Callable[[date], bool]:
    """Whether `name`, `name.gte`, `.gt`, `.lte` and `.lt`, as far as they are given, leave a day."""
    bounds = [
        (compare, _date(parameters[name + end], name + end))
        for end, compare in _COMPARISONS.items()
        if name + end in parameters
    ]
    return lambda day: all(compare(day, bound) for compare, bound in bounds)


def _with_rows(before: dict[str, Any], rows: bytes, after: dict[str, Any]) -> bytes:
    """A JSON object with encoded rows as `results` in its middle, without that key when there are none."""
    head, tail = msgspec.json.encode(before)[:-1], msgspec.json.encode(after)[1:]
    middle = (b',"results":[', rows, b"],") if rows else (b",",)
    return b"".join((head, *middle, tail))


def _listing(
    arrival: Arrival, parameters: dict[str, str], rows: list[dict[str, Any]], default: int, request_id: str
) -> bytes:
    """A page of reference data; where it goes on is in the cursor of its next_url alone."""
    limit, start = _limit(parameters, default, _MOST_ROWS), max(number_in(parameters.get("offset", "0")), 0)
    body: dict[str, Any] = {"results": rows[start : start + limit], "status": "OK", "request_id": request_id}
    if start + limit < len(rows):
        cursor = urlencode({**parameters, "offset": str(start + limit)}).encode().hex()
        body["next_url"] = f"{arrival.base_url}{arrival.raw_path}?cursor={cursor}"
    return msgspec.json.encode(body)


def _rejection(error: Exception, request_id: str) -> Answer:
    status, kind = (error.status, error.kind) if isinstance(error, _RejectedError) else (400, "ERROR")
    return Answer(status, msgspec.json.encode({"status": kind, "request_id": request_id, "error": str(error)}))
