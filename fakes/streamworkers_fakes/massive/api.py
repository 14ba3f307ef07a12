"""The fake Massive API: its state, and the answer to each call."""

import hashlib
import hmac
import itertools
import math
import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from streamworkers.errors import BadInputError
from streamworkers_fakes.massive.answers import Answer, RejectedError, reject, too_many_requests
from streamworkers_fakes.massive.bodies import read_aggregates_request, write_aggregates, write_day
from streamworkers_fakes.massive.calls import Call, CallLog, SlidingWindow, without_keys
from streamworkers_fakes.massive.listings import FakeListings
from streamworkers_fakes.massive.market import FakeMarket
from streamworkers_fakes.massive.misbehaviour import Misbehaviour, ReceivedCall
from streamworkers_fakes.massive.misbehaviour_rules import MisbehaviourRules
from streamworkers_fakes.massive.pages import AggregatesRequest, Pages
from streamworkers_fakes.massive.plans import PLANS, FakePlan, NotAuthorizedError
from streamworkers_fakes.massive.queries import is_true, read_date, read_parameters
from streamworkers_fakes.massive.reference import REFERENCE, MissingError, ReferenceCall
from streamworkers_fakes.massive.splits import FakeSplit
from streamworkers_fakes.massive.spoiling import misbehave
from streamworkers_fakes.massive.symbols import DEFAULT_SYMBOLS
from streamworkers_fakes.massive.trading_days import new_york_date

DEFAULT_KEY: Final = "fake-massive-key"
_ENDPOINTS = {
    "aggregates": re.compile(r"/v2/aggs/ticker/([^/]+)/range/([^/]+)/([^/]+)/([^/]+)/([^/]+)"),
    "grouped": re.compile(r"/v2/aggs/grouped/locale/us/market/stocks/([^/]+)"),
    "splits": re.compile(r"/v3/reference/splits"),
    "stock_splits": re.compile(r"/stocks/v1/splits"),
    "tickers": re.compile(r"/v3/reference/tickers"),
    "ticker": re.compile(r"/v3/reference/tickers/([^/]+)"),
    "events": re.compile(r"/vX/reference/tickers/([^/]+)/events"),
    "status": re.compile(r"/v1/marketstatus/now"),
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A received request; `raw_path` is percent-encoded, `base_url` has no slash at its end.

    `gzip` says whether the client takes compressed answers.
    """

    method: str
    base_url: str
    raw_path: str
    query: str
    authorization: str | None
    gzip: bool = False


class FakeMassive:
    """The API's state: its market, clock, keys and limit, the misbehaviours in force, and the log of its calls.

    `now` is the aware moment at which the clock is stopped; None uses the real clock. `latency` is in seconds before
    each answer. `plan` says what the keys include. `calls_per_minute` is the API's own limit, in any
    `limit_window_seconds`; without it the plan's. `log_file` gets a JSON line for each call. A `base_path` such as
    `/gateway` stands before every path. If it `confesses`, a header of each answer says that the bars are invented. The
    other parameters are those of FakeMarket. Methods are thread-safe. Raises
    BadInputError for a parameter that breaks a rule.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        symbols: Iterable[str] = DEFAULT_SYMBOLS,
        splits: Iterable[FakeSplit] = (),
        unknown: Iterable[str] = (),
        listed_from: Mapping[str, date] | None = None,
        listings: FakeListings | None = None,
        fillers: int = 0,
        fractional: bool = False,
        extended_share: float = 0.6,
        now: datetime | None = None,
        api_keys: Iterable[str] = (DEFAULT_KEY,),
        latency: float = 0.0,
        plan: FakePlan = PLANS["unlimited"],
        base_path: str = "",
        confesses: bool = False,
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
            listings=listings,
            fillers=fillers,
            fractional=fractional,
            extended_share=extended_share,
        )
        self.api_keys = tuple(api_keys)
        if not self.api_keys or "" in self.api_keys:
            raise BadInputError("api_keys must be one key or more, and none of them empty")
        self.rules = MisbehaviourRules(seed, misbehaviours)
        self.plan, self.base_path, self.confesses = plan, base_path, confesses
        self._pages = Pages(self.market)
        self._limit_window_seconds = limit_window_seconds
        self._numbers, self._numbers_lock = itertools.count(1), threading.Lock()
        self._now: datetime | None = None
        self.set_now(now)
        self.set_latency(latency)
        self.set_calls_per_minute(plan.calls_per_minute if calls_per_minute is None else calls_per_minute)
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
        endpoint, words = self._endpoint(arrival.raw_path)
        parameters = read_parameters(arrival.query)
        named = words[0] if endpoint in ("aggregates", "ticker", "events") else parameters.get("ticker")
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
            self.plan.require(asked.endpoint)
            if asked.endpoint == "aggregates":
                request = self._planned(read_aggregates_request(words, parameters))
                asked = replace(asked, first_ms=request.first_ms)
                page = self._pages.page(request, self.plan.newest_moment(self.now()))
                base = f"{arrival.base_url}{self.base_path}"
                body = write_aggregates(request, page, base, (words[3], words[4]), asked.request_id)
            elif asked.endpoint == "grouped":
                day, adjusted = read_date(words[0], "date"), is_true(parameters, "adjusted", default=True)
                self.plan.first_of_range(day, day, self.now())
                body = write_day(self.market, day, self.now(), adjusted, asked.request_id)
            elif asked.endpoint in REFERENCE:
                call = ReferenceCall(
                    arrival.base_url, arrival.raw_path, parameters, words, asked.request_id, self.now()
                )
                body = REFERENCE[asked.endpoint](self.market, call)
            else:
                raise RejectedError(404, "The requested resource was not found", "NOT_FOUND")
        except (RejectedError, NotAuthorizedError, MissingError, BadInputError) as error:
            return None, reject(error, asked.request_id)
        return self._apply_rules(asked, body)

    def _endpoint(self, raw_path: str) -> tuple[str, list[str]]:
        if not raw_path.startswith(f"{self.base_path}/"):
            return "none", []
        for name, pattern in _ENDPOINTS.items():
            found = pattern.fullmatch(raw_path[len(self.base_path) :])
            if found:
                return name, [unquote(word) for word in found.groups()]
        return "none", []

    def _planned(self, request: AggregatesRequest) -> AggregatesRequest:
        """Return the part of a range that the plan includes. Raises NotAuthorizedError."""
        self.plan.require(request.timespan)
        first = self.plan.first_of_range(request.first, request.last, self.now())
        return request if first == request.first else replace(request, first=first, first_minute=0)

    def _apply_rules(self, asked: ReceivedCall, body: bytes) -> tuple[str | None, Answer]:
        good = Answer(200, body)
        rule = self.rules.strike(asked)
        if rule is None:
            return None, good
        spoilt = misbehave(rule, asked, body)
        return (None, good) if spoilt is None else (rule.name, spoilt)

    def _check_key(self, arrival: Arrival, parameters: dict[str, str]) -> None:
        scheme, _, key = (arrival.authorization or "").partition(" ")
        given = parameters.get("apiKey") or (key if scheme.lower() == "bearer" else "")
        if not any(hmac.compare_digest(given.encode(), own.encode()) for own in self.api_keys):
            raise RejectedError(401, "Unknown API Key")

    def _request_id(self) -> str:
        with self._numbers_lock:
            number = next(self._numbers)
        return hashlib.blake2b(f"{self.market.seed}/{number}".encode(), digest_size=16).hexdigest()
