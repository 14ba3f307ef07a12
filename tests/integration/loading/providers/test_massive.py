"""The provider `massive` over real HTTP: the fake market's truth, and a typed error for every way to misbehave."""

import gzip
import http.server
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from patience import patient
from streamworkers.config import Settings
from streamworkers.errors import ItemError, PermanentError, UsageError
from streamworkers.loading.checkpoints import CheckpointPage, CheckpointPages
from streamworkers.loading.fetch import Loaded, StoppedError, run_fetch
from streamworkers.loading.plan import Fetch, LoadRules, Span, Want
from streamworkers.loading.providers import massive
from streamworkers.loading.providers import provider as providers
from streamworkers.loading.providers.massive import Massive
from streamworkers.loading.providers.provider import (
    AuthError,
    BadPayloadError,
    BarsRequest,
    Calls,
    NoDataError,
    NotYetError,
    Page,
    PlanError,
    ProviderError,
    RateLimitedError,
    TooOldError,
    TransientError,
    UnsupportedError,
)
from streamworkers.loading.spool import pack_small
from streamworkers.market.bars.bars import NO_BARS, Bars, concat
from streamworkers.market.bars.rules import Rule
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES, Timeframe
from streamworkers.market.calendar.windows import days_since_epoch
from streamworkers_fakes.massive import (
    KINDS,
    FakeBars,
    FakeMassive,
    FakeSplit,
    RunningFakeMassive,
    parse_plan,
    running_fake_massive,
)

MINUTE, HOUR, DAY, WEEK, MONTH = TIMEFRAMES.values()
NOW = datetime(2025, 12, 5, 23, 0, tzinfo=UTC)
FIRST, LAST = date(2025, 11, 24), date(2025, 11, 28)  # Thanksgiving on the 27th, a half day on the 28th
SPLITS = (
    FakeSplit("AAPL", date(2025, 11, 26), 1, 4),
    FakeSplit("MSFT", date(2025, 6, 10), 3, 2),
    FakeSplit("IBM", date(2026, 1, 5), 10, 1),
)
KEY = "a-very-secret-key"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningFakeMassive]:
    with running_fake_massive(FakeMassive(now=NOW, splits=SPLITS, unknown=["NONE"], api_keys=[KEY])) as server:
        yield server


@pytest.fixture
def server(running: RunningFakeMassive) -> Iterator[RunningFakeMassive]:
    running.forget_calls()
    yield running
    running.clear()


@contextmanager
def provider(url: str, key: str = KEY, calls: Calls = providers.UNCOUNTED, **settings: Any) -> Iterator[Massive]:
    found = Massive(Settings(massive_api_key=key, massive_base_url=url, **settings), calls)
    try:
        yield found
    finally:
        found.close()


def asked(frame: Timeframe = DAY, symbol: str = "AAPL", first: date = FIRST, last: date = LAST) -> BarsRequest:
    return BarsRequest(symbol, frame, first, last)


def bars_of(pages: Sequence[Page]) -> Bars:
    return concat([NO_BARS, *(page.bars for page in pages)])


def rejection(kind: type[ItemError], url: str, question: BarsRequest | None = None, **settings: Any) -> str:
    with provider(url, **settings) as source, pytest.raises(ItemError) as raised:
        list(source.pages(question or asked()))
    assert type(raised.value) is kind
    return str(raised.value)


def require_same(bars: Bars, truth: FakeBars, starts: list[int] | None = None) -> None:
    assert bars.starts.tolist() == (truth.start_ms.tolist() if starts is None else starts)
    for name in ("open", "high", "low", "close"):
        assert getattr(bars, name).tolist() == getattr(truth, name).tolist()
    assert bars.volume.tolist() == np.rint(truth.volume).tolist()


def dates_of(truth: FakeBars, shift: int = 0) -> list[int]:
    return [day + shift for day in (truth.start_ms // 86_400_000).tolist()]


# The truth


@pytest.mark.parametrize("symbol", ["AAPL", "BRK.B"])
def test_the_bars_of_every_timeframe_are_those_of_the_market(server: RunningFakeMassive, symbol: str) -> None:
    market, now = server.market, {"now": NOW, "adjusted": True}
    days = [FIRST + timedelta(days=number) for number in range(5)]
    with provider(server.url) as source:
        found = {name: list(source.pages(asked(frame, symbol))) for name, frame in TIMEFRAMES.items()}
    assert [one.rejected for pages in found.values() for one in pages] == [[]] * 5
    got = {name: bars_of(pages) for name, pages in found.items()}
    minutes = [market.minutes(symbol, day, now=NOW, adjusted=True) for day in days]
    hours = [market.hours(symbol, day, now=NOW, adjusted=True) for day in days]
    for name, parts in (("1min", minutes), ("hour", hours)):
        for column, truth in (("starts", "start_ms"), ("open", "open"), ("high", "high"), ("close", "close")):
            expected = np.concatenate([getattr(part, truth) for part in parts])
            assert np.array_equal(getattr(got[name], column), expected)
    daily = market.days(symbol, FIRST, LAST, now=NOW, adjusted=True)
    require_same(got["day"], daily, dates_of(daily))
    weekly = market.weeks(symbol, FIRST, LAST, **now)  # type: ignore[arg-type]
    require_same(got["week"], weekly, dates_of(weekly, 1))
    assert got["week"].starts.tolist() == [days_since_epoch(FIRST)]
    monthly = market.months(symbol, date(2025, 11, 1), date(2025, 11, 30), now=NOW, adjusted=True)
    require_same(got["month"], monthly, dates_of(monthly))


def test_weeks_of_daylight_saving_changes_and_holidays_bear_their_monday(server: RunningFakeMassive) -> None:
    mondays = [date(2025, 3, 10), date(2025, 9, 1), date(2025, 11, 3)]
    with provider(server.url) as source:
        for monday in mondays:
            bars = bars_of(list(source.pages(asked(WEEK, first=monday, last=monday))))
            assert bars.starts.tolist() == [days_since_epoch(monday)]
            days = bars_of(list(source.pages(asked(DAY, first=monday, last=monday + timedelta(days=6)))))
            assert len(days) == (4 if monday == date(2025, 9, 1) else 5)
            assert bars.volume.tolist() == [days.volume.sum()]


def test_a_symbol_without_bars_gets_an_empty_page(server: RunningFakeMassive) -> None:
    with provider(server.url) as source:
        (page,) = source.pages(asked(symbol="NONE"))
    assert (len(page.bars), page.rejected, page.cursor) == (0, [], None)


@pytest.mark.parametrize("symbol", ["BRK.B", "X:BTC", "A/B", "A?B", "A#B", "A%42", "Ä", "A+B", "A&B"])
def test_any_symbol_reaches_the_api_as_it_is(server: RunningFakeMassive, symbol: str) -> None:
    with provider(server.url) as source:
        assert len(bars_of(list(source.pages(asked(symbol=symbol))))) == 4
    assert [call.ticker for call in server.calls] == [symbol]


def test_a_slash_at_the_end_of_the_base_url_changes_nothing(server: RunningFakeMassive) -> None:
    with provider(f"{server.url}/", massive_page_limit=500) as source:
        assert len(list(source.pages(asked(MINUTE)))) > 1
    assert all(call.path.startswith("/v2/aggs/") for call in server.calls)


# Pages


@pytest.mark.parametrize(("frame", "limit"), [(MINUTE, 500), (MINUTE, 1000), (HOUR, 500), (DAY, 100)])
def test_small_pages_give_the_same_bars_and_any_cursor_goes_on_where_it_ended(
    server: RunningFakeMassive, frame: Timeframe, limit: int
) -> None:
    question = asked(frame, first=date(2025, 5, 1) if frame is DAY else FIRST)
    with provider(server.url) as source:
        (whole,) = source.pages(question)
    with provider(server.url, massive_page_limit=limit) as source:
        pages = list(source.pages(question))
        assert len(pages) > 1
        assert bars_of(pages).pack() == whole.bars.pack()
        assert [page.cursor is None for page in pages] == [False] * (len(pages) - 1) + [True]
        for place, page in enumerate(pages[:-1]):
            assert page.cursor is not None
            assert page.cursor.startswith("/v2/aggs/")
            rest = list(source.pages(question, page.cursor))
            assert bars_of(pages[: place + 1] + rest).pack() == whole.bars.pack()


def loaded_bars(loaded: Loaded) -> Bars:
    return concat([NO_BARS, *loaded.spool])


def rules(**changes: Any) -> LoadRules:
    return LoadRules(**{"now": NOW, "hours": "extended", **changes})


def want(frame: Timeframe, number: int = 0, first: date = FIRST, last: date = LAST) -> Want:
    return Want(number, "AAPL", frame, Span(first, last))


def run(
    source: Massive,
    fetch: Fetch,
    chosen: LoadRules,
    staged: Sequence[CheckpointPage] = (),
    stop: Callable[[], bool] = lambda: False,
    keep: Callable[[CheckpointPages], None] = lambda pages: None,
) -> list[Loaded]:
    return run_fetch(fetch, source, chosen, staged, stop, keep)


def test_hours_weeks_and_months_made_of_narrower_bars_equal_those_of_the_api(server: RunningFakeMassive) -> None:
    first, last = date(2025, 10, 27), date(2025, 12, 5)
    minutes = Fetch(BarsRequest("AAPL", MINUTE, FIRST, LAST), (want(MINUTE), want(HOUR, 1)))
    days = Fetch(
        BarsRequest("AAPL", DAY, date(2025, 10, 1), date(2025, 12, 5)),
        (want(WEEK, 0, first, last), want(MONTH, 1, date(2025, 10, 1), date(2025, 11, 30))),
    )
    with provider(server.url, massive_page_limit=500) as source:
        _, hour = run(source, minutes, rules())
        week, month = run(source, days, rules())
        own_hours = bars_of(list(source.pages(asked(HOUR))))
        own_weeks = bars_of(list(source.pages(asked(WEEK, first=first, last=last))))
        own_months = bars_of(list(source.pages(asked(MONTH, first=date(2025, 10, 1), last=date(2025, 11, 30)))))
    assert loaded_bars(hour).pack() == own_hours.pack()
    assert loaded_bars(week).pack() == own_weeks.pack()
    assert loaded_bars(month).pack() == own_months.pack()
    assert len(own_hours) > 4 * 7
    assert [len(own_weeks), len(own_months)] == [6, 2]


def test_regular_hours_are_made_of_the_minutes_of_the_session_alone(server: RunningFakeMassive) -> None:
    fetch = Fetch(asked(MINUTE), (want(MINUTE), want(HOUR, 1)))
    with provider(server.url) as source:
        minute, hour = run(source, fetch, rules(hours="regular"))
        _, anchored = run(source, fetch, rules(hours="regular", hour_anchor="open"))
        days = bars_of(list(source.pages(asked())))
    assert [one.spool.count for one in (minute, hour, anchored)] == [3 * 390 + 210, 3 * 7 + 4, 3 * 7 + 4]
    assert [one.missing for one in (minute, hour, anchored)] == [0, 0, 0]
    minutes, hours = loaded_bars(minute), loaded_bars(hour)
    firsts = [0, 7, 14, 21]
    assert hours.open[firsts].tolist() == days.open.tolist()  # the API's days are of the regular session
    assert np.maximum.reduceat(hours.high, firsts).tolist() == days.high.tolist()
    assert np.minimum.reduceat(hours.low, firsts).tolist() == days.low.tolist()
    assert hours.volume.sum() == minutes.volume.sum()
    assert loaded_bars(anchored).open[firsts].tolist() == days.open.tolist()


def test_bars_that_are_still_open_are_left_out_unless_they_are_wanted(server: RunningFakeMassive) -> None:
    try:
        server.set_now(datetime(2025, 11, 28, 16, 30, tzinfo=UTC))  # 11:30, in the session of the half day
        fetch = Fetch(asked(), (want(DAY), want(WEEK, 1)))
        with provider(server.url) as source:
            closed = run(source, fetch, rules(now=server.fake.now()))
            everything = run(source, fetch, rules(now=server.fake.now(), include_open=True))
    finally:
        server.set_now(NOW)
    assert [(one.spool.count, one.missing) for one in closed] == [(3, 0), (0, 0)]
    assert [(one.spool.count, one.missing) for one in everything] == [(4, 0), (1, 0)]


def test_a_fetch_that_fails_between_pages_keeps_what_it_has_and_goes_on_from_there(server: RunningFakeMassive) -> None:
    fetch = Fetch(asked(MINUTE), (want(MINUTE), want(HOUR, 1)))
    kept: list[CheckpointPage] = []
    with provider(server.url, massive_page_limit=700) as source:
        whole = [loaded_bars(one).pack() for one in run(source, fetch, rules())]
        third = server.calls[2].path
        server.misbehave("server_error", 503, path=third, calls=1)
        with pytest.raises(TransientError):
            run(source, fetch, rules(), keep=kept.extend)
        assert [page.cursor is not None for page in kept] == [True, True]
        server.forget_calls()
        resumed = run(source, fetch, rules(), kept)
        assert server.calls[0].path == third
        assert [loaded_bars(one).pack() for one in resumed] == whole


def test_a_fetch_is_stopped_between_two_pages_and_loses_none_that_was_kept(server: RunningFakeMassive) -> None:
    fetch = Fetch(asked(MINUTE), (want(MINUTE),))
    with provider(server.url, massive_page_limit=700) as source:
        (whole,) = run(source, fetch, rules())
        pages = len(server.calls)
        for count in range(1, pages):
            answers = iter([False] * (count - 1) + [True])
            kept: list[CheckpointPage] = []
            with pytest.raises(StoppedError, match=rf"^stopped after {count} pages$"):
                run(source, fetch, rules(), (), answers.__next__, kept.extend)
            server.forget_calls()
            again: list[CheckpointPage] = []
            with pytest.raises(StoppedError, match=rf"^stopped after {count} pages$"):
                run(source, fetch, rules(), kept, lambda: True, again.extend)
            assert (again, server.calls) == (kept, [])
        (loaded,) = run(source, fetch, rules(), kept)
        assert len(server.calls) == 1
    assert pages > 3
    assert loaded_bars(loaded).pack() == loaded_bars(whole).pack()


def test_an_answer_that_was_kept_whole_needs_no_call(server: RunningFakeMassive) -> None:
    fetch = Fetch(asked(), (want(DAY),))
    with provider(server.url) as source:
        (page,) = source.pages(asked())
        server.forget_calls()
        (loaded,) = run(source, fetch, rules(), [CheckpointPage(pack_small(page.bars))])
    assert (loaded_bars(loaded).pack(), server.calls) == (page.bars.pack(), [])


def test_rejected_bars_of_kept_pages_are_counted_once_with_those_that_follow(server: RunningFakeMassive) -> None:
    fetch = Fetch(asked(MINUTE), (want(MINUTE),))
    kept: list[CheckpointPage] = []
    answers = iter([False, True])
    server.misbehave("high_below_low", calls=3)
    with provider(server.url, massive_page_limit=700) as source:
        with pytest.raises(StoppedError):
            run(source, fetch, rules(), (), answers.__next__, kept.extend)
        (loaded,) = run(source, fetch, rules(), kept)
    assert loaded.rejected == {"high_too_low": 3}
    assert loaded.example is not None
    assert " is below " in loaded.example


# What is rejected


@dataclass
class Scripted:
    """A server whose answers are written down: status, headers, body; the last one for every further call."""

    answers: list[tuple[int, dict[str, str], bytes]]
    paths: list[str] = field(default_factory=list)
    url: str = ""

    def next(self, path: str) -> tuple[int, dict[str, str], bytes]:
        self.paths.append(path)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def scripted(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[Scripted]:
    script = Scripted(list(answers))

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = script.next(self.path)
            body = body.replace(b"<url>", script.url.encode())
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value.replace("<url>", script.url))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its own name
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        script.url = f"http://127.0.0.1:{http_server.server_address[1]}"
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield script
        finally:
            http_server.shutdown()
            thread.join()


def answer(code: int = 200, /, **words: Any) -> tuple[int, dict[str, str], bytes]:
    return code, {}, json.dumps(words).encode()


def bars_answer(*bars: dict[str, Any], **words: Any) -> tuple[int, dict[str, str], bytes]:
    given = {"ticker": "AAPL", "adjusted": True, "resultsCount": len(bars), "results": bars, "status": "OK", **words}
    return answer(**given)


def ms(day: date, hour: int = 0, minute: int = 0) -> int:
    moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=EXCHANGE_ZONE)
    return round(moment.timestamp() * 1000)


def bar(t: Any = None, **changes: Any) -> dict[str, Any]:
    return {"t": ms(FIRST) if t is None else t, "o": 10.5, "h": 12, "l": 9, "c": 11, "v": 100.5, "vw": 10, **changes}


# Answers in the shape in which the API gives them, with what it adds and leaves out; the numbers are invented.
RECORDED: dict[str, tuple[int, int, dict[str, Any], dict[str, Any]]] = {
    "1min": (ms(FIRST, 9, 30), 60_000, {"n": 3, "otc": True}, {"next_url": "<host>/v2/aggs/next?cursor=YXA9MQ"}),
    "hour": (ms(FIRST, 9), 3_600_000, {"n": 11}, {"next_url": "<url>/v2/aggs/next?cursor=YXA9MQ"}),
    "day": (ms(FIRST), 86_400_000, {}, {"count": 1, "queryCount": 1}),
    "week": (ms(FIRST - timedelta(days=1)), 0, {"n": 5}, {"status": "DELAYED"}),
    "month": (ms(date(2025, 11, 1)), 0, {"n": 7}, {"request_id": "6a7e466379af0a71039d60cc78e72282"}),
}


@pytest.mark.parametrize("host", ["https://api.massive.com", "https://api.polygon.io"])
@pytest.mark.parametrize("name", list(RECORDED))
def test_recorded_answers_are_read_in_every_timeframe(name: str, host: str) -> None:
    start, step, more, words = RECORDED[name]
    row = {"v": 6.4285687e07, "vw": 171.9021, "o": 1.7206e2, "c": 172.69, "h": 173.075, "l": 170.345, **more}
    second = [bars_answer({**row, "t": start + step, "v": 10_571.25})] if "next_url" in words else []
    first = bars_answer({**row, "t": start}, **words)
    with scripted((first[0], first[1], first[2].replace(b"<host>", host.encode())), *second) as script:
        with provider(script.url) as source:
            pages = list(source.pages(asked(TIMEFRAMES[name])))
        assert script.paths[1:] == ["/v2/aggs/next?cursor=YXA9MQ"] * len(second)
    bars = bars_of(pages)
    assert bars.volume.tolist() == [64_285_687, 10_571][: 1 + len(second)]
    assert (bars.open[0], bars.high[0], bars.low[0], bars.close[0]) == (172.06, 173.075, 170.345, 172.69)
    assert [one.rejected for one in pages] == [[]] * len(pages)


def test_an_api_below_a_path_is_read_page_by_page() -> None:
    fake = FakeMassive(now=NOW, api_keys=[KEY], base_path="/gateway", fractional=True)
    with running_fake_massive(fake) as running:
        for base in (f"{running.url}/gateway", f"{running.url}/gateway/"):
            with provider(base, massive_page_limit=500) as source:
                pages = list(source.pages(asked(MINUTE)))
            assert len(pages) > 3
            days = [running.market.minutes("AAPL", FIRST + timedelta(days=n), now=NOW, adjusted=True) for n in range(5)]
            assert bars_of(pages).starts.tolist() == np.concatenate([day.start_ms for day in days]).tolist()
        assert {call.status for call in running.calls} == {200}


@pytest.mark.parametrize(
    ("name", "value", "kind", "message"),
    [
        ("not_authorized", None, PlanError, "the plan of the key does not include this: 'You are not entitled to"),
        ("rate_limit", None, RateLimitedError, "massive allows no more calls now (HTTP 429); next call at "),
        ("rate_limit", 7, RateLimitedError, "massive allows no more calls now (HTTP 429); next call at "),
        ("server_error", None, TransientError, "massive answered HTTP 500: 'the server failed'"),
        ("server_error", 502, TransientError, "massive answered HTTP 502: 'the server failed'"),
        ("server_error", 503, TransientError, "massive answered HTTP 503: 'the server failed'"),
        ("gateway_timeout", 0.01, TransientError, "massive answered HTTP 504: 'the server took too long'"),
        ("timeout", 20, TransientError, "massive did not answer in time (ReadTimeout)"),
        ("cut_connection", None, TransientError, "massive: RemoteProtocolError: 'peer closed connection without "),
        ("error_status", None, TransientError, "massive answered with status 'ERROR': 'the data could not be read'"),
        ("not_json", None, NoDataError, "the answer of 98 bytes is malformed: JSON is malformed"),
        ("truncated_json", None, BadPayloadError, "is malformed: Input data was truncated"),
        ("missing_results", None, BadPayloadError, "the answer holds 0 bars and states 5"),
        ("wrong_count", None, BadPayloadError, "the answer holds 4 bars and states 5"),
        (
            "foreign_next_url",
            None,
            UnsupportedError,
            "next_url leads to host 'http://other-host.invalid', not to 'http",
        ),
        ("loop_next_url", None, BadPayloadError, "next_url leads to a page that was read already"),
        ("huge_body", 1.1, BadPayloadError, "the answer is larger than 1,048,576 bytes"),
        ("wrong_ticker", None, BadPayloadError, "the bars are of 'ZZZZ', not of 'AAPL'"),
        ("wrong_adjusted", None, BadPayloadError, "adjusted is False, not true as requested"),
        ("redirect", None, BadPayloadError, "massive answered HTTP 302, a redirect; redirects are not followed"),
    ],
)
def test_every_misbehaviour_ends_in_its_error(
    server: RunningFakeMassive, name: str, value: float | None, kind: type[ItemError], message: str
) -> None:
    server.misbehave(name, value)
    seconds = 0.2 if name == "timeout" else patient(30)
    said = rejection(kind, server.url, massive_max_body_mb=1, massive_timeout_seconds=seconds)
    assert message in said
    assert KEY not in said
    assert issubclass(kind, PermanentError) is (kind in (PlanError, AuthError, UnsupportedError))
    assert [call.misbehaviour for call in server.calls] == [name]


def test_no_misbehaviour_of_the_fake_is_left_out() -> None:
    (cases,) = (mark.args[1] for mark in test_every_misbehaviour_ends_in_its_error.pytestmark)  # type: ignore[attr-defined]
    others = {"bad_bar", "delayed", "high_below_low", "null_open", "random_failures"}
    others |= {"duplicate_bars", "out_of_range_bars", "unordered_bars"}  # they cost a bar: test_bad_bars.py
    others |= {"absurd_price", "clipped_bars", "dst_shift", "missing_bars", "trickle", "truncated_bars"}
    assert {case[0] for case in cases} | others == set(KINDS)


def test_delayed_data_and_a_large_answer_below_the_limit_are_good(server: RunningFakeMassive) -> None:
    for name, value in (("delayed", None), ("huge_body", 0.9)):
        server.clear()
        server.misbehave(name, value)
        with provider(server.url, massive_max_body_mb=1) as source:
            assert len(bars_of(list(source.pages(asked())))) == 4
        assert server.calls[-1].misbehaviour == name


@pytest.mark.parametrize(
    ("name", "rules_broken", "left"),
    [
        ("high_below_low", [Rule.HIGH_TOO_LOW], 3),
        ("null_open", [Rule.NOT_FINITE], 3),
        ("bad_bar", [Rule.HIGH_TOO_LOW, Rule.NOT_FINITE], 2),
    ],
)
def test_bad_bars_are_rejected_one_by_one_and_the_others_are_given(
    server: RunningFakeMassive, name: str, rules_broken: list[Rule], left: int
) -> None:
    server.misbehave(name)
    with provider(server.url) as source:
        (page,) = source.pages(asked())
        (loaded,) = run(source, Fetch(asked(), (want(DAY),)), rules())
    assert [one.rule for one in page.rejected] == rules_broken
    assert len(page.bars) == left
    details = [one.detail for one in page.rejected]
    assert all(" is below " in detail or detail == "open 'nan' is not a finite number" for detail in details)
    assert (loaded.spool.count, loaded.missing, loaded.example) == (left, 4 - left, details[0])
    assert loaded.rejected == dict.fromkeys(map(str, rules_broken), 1)


@pytest.mark.parametrize("column", ["o", "h", "l", "c", "v"])
def test_a_bar_with_any_column_that_is_null_is_rejected_alone(column: str) -> None:
    with scripted(bars_answer(bar(**{column: None}), bar(ms(LAST)))) as script, provider(script.url) as source:
        (page,) = source.pages(asked())
    assert [(one.line, one.rule) for one in page.rejected] == [(1, Rule.NOT_FINITE)]
    assert (len(page.bars), page.bars.volume.tolist()) == (1, [100])


def test_random_failures_end_in_bars_or_in_an_error_that_is_tried_again(server: RunningFakeMassive) -> None:
    server.misbehave("random_failures", 0.6)
    outcomes: list[str] = []
    with provider(server.url) as source:
        for number in range(40):
            try:
                page = list(source.pages(asked(first=FIRST - timedelta(days=number))))
                outcomes.append("bars" if len(bars_of(page)) >= 4 else "too few")
            except ProviderError as error:
                outcomes.append(type(error).__name__)
    assert set(outcomes) == {"bars", "RateLimitedError", "TransientError", "BadPayloadError"}


def until_of(script: Scripted) -> float:
    """In how many seconds the provider wants to be asked again."""
    with provider(script.url) as source, pytest.raises(RateLimitedError) as raised:
        list(source.pages(asked()))
    return (raised.value.until - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 30),
        ("7", 7),
        ("0", 1),
        ("-5", 1),
        ("2.5", 2.5),
        ("999999", 3600),
        ("soon", 30),
        ("nan", 30),
        ("inf", 30),
        ("Wed, 32 Nov 2025 10:00:00 GMT", 30),
        ("Wed, 26 Nov 2025 10:00:00 -0000", 30),
        ("Wed, 26 Nov 2025 10:00:00 GMT", 1),
        ("in two minutes", 120),
    ],
)
def test_after_a_429_the_provider_is_asked_again_when_its_header_says(header: str | None, seconds: float) -> None:
    if header == "in two minutes":
        header = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True)
    elif header == "Wed, 26 Nov 2025 10:00:00 -0000":
        seconds = 30  # a date without a zone
    with scripted((429, {} if header is None else {"Retry-After": header}, b"{}")) as script:
        assert seconds - 2.5 < until_of(script) <= seconds


def test_a_limit_of_the_api_itself_says_when_there_is_a_call_again() -> None:
    fake = FakeMassive(now=NOW, calls_per_minute=1, limit_window_seconds=20, api_keys=[KEY])
    with running_fake_massive(fake) as limited, provider(limited.url) as source:
        assert len(bars_of(list(source.pages(asked())))) == 4
        with pytest.raises(RateLimitedError) as raised:
            list(source.pages(asked()))
    assert 10 < (raised.value.until - datetime.now(UTC)).total_seconds() <= 20


DEEP = b'{"error":' + b"[" * 100_000
REFUSALS: list[tuple[tuple[int, dict[str, str], bytes], type[ItemError], str]] = [
    (
        answer(401, status="ERROR", error="Unknown API Key"),
        AuthError,
        "massive rejected the key in STREAMWORKERS_MASSIVE_API_KEY: 'Unknown API Key'",
    ),
    (
        answer(403, status="ERROR", error="disabled"),
        AuthError,
        "massive rejected the key in STREAMWORKERS_MASSIVE_API_KEY: 'disabled'",
    ),
    (answer(403, message="upgrade"), PlanError, "the plan of the key does not include this: 'upgrade'"),
    (
        (403, {}, b"<html>no</html>"),
        PlanError,
        "the plan of the key does not include this: '<html>no</html>'",
    ),
    (
        answer(200, status="NOT_AUTHORIZED", message="upgrade"),
        PlanError,
        "the plan of the key does not include this: 'upgrade'",
    ),
    (answer(404, status="NOT_FOUND", error="none"), UnsupportedError, "massive has no data there (HTTP 404): 'none'"),
    (answer(400, error="bad range"), UnsupportedError, "massive rejected the call with HTTP 400: 'bad range'"),
    ((400, {}, b""), UnsupportedError, "massive rejected the call with HTTP 400: ''"),
    (answer(408, status="LATE"), TransientError, "massive answered HTTP 408: 'LATE'"),
    ((500, {}, b"x" * 900), TransientError, f"massive answered HTTP 500: '{'x' * 198}…"),
    ((502, {}, b"\xff\xfe"), TransientError, "massive answered HTTP 502: '\ufffd\ufffd'"),
    ((503, {}, DEEP), TransientError, 'massive answered HTTP 503: \'{"error":[['),
    (
        (200, {"Content-Encoding": "gzip"}, b"no gzip"),
        BadPayloadError,
        "the answer cannot be decompressed: Error -3 while decompressing data: incorrect header check",
    ),
    (
        (200, {"Content-Encoding": "gzip"}, gzip.compress(b"{}")[:-4]),
        BadPayloadError,
        "the answer ends in the middle of its compressed data",
    ),
    (
        (301, {"Location": "<url>/v2/other"}, b""),
        BadPayloadError,
        "massive answered HTTP 301, a redirect; redirects are not followed",
    ),
    ((200, {}, b""), NoDataError, "the answer of 0 bytes is malformed: Input data was truncated"),
    ((200, {}, b"[]"), BadPayloadError, "the answer of 2 bytes is malformed: Expected `object`, got `arr"),
    ((200, {}, b'{"ticker":"\xff"}'), BadPayloadError, "the answer of 14 bytes is malformed: "),
    ((200, {}, DEEP), BadPayloadError, "the answer of 100,009 bytes is malformed: maximum recursion depth"),
    (answer(200, ticker="AAPL"), BadPayloadError, "Object missing required field `status`"),
    (bars_answer(bar("1")), BadPayloadError, "Expected `int`, got `str` - at `$.results[0].t`"),
    (bars_answer(bar(10**30)), BadPayloadError, " - at `$.results[0].t`"),
    (bars_answer(bar(2**62)), BadPayloadError, "Expected `int` <= 253402300799999 - at `$.results[0].t`"),
    (bars_answer(bar(-1)), BadPayloadError, "Expected `int` >= 0 - at `$.results[0].t`"),
    (bars_answer({"t": 1}), BadPayloadError, "Object missing required field `o` - at `$.results[0]`"),
    (bars_answer(ticker=None), BadPayloadError, "Expected `str`, got `null` - at `$.ticker`"),
    (bars_answer(adjusted=None), BadPayloadError, "adjusted is None, not true as requested"),
    (bars_answer(ticker="x" * 900), BadPayloadError, f"the bars are of '{'x' * 198}…, not of 'AAPL'"),
    (bars_answer(next_url="http://[::1"), BadPayloadError, "next_url 'http://[::1' is not a URL"),
    (bars_answer(next_url="http://xn--/"), UnsupportedError, "leads to host 'http://xn--', not to 'http://127.0.0.1:"),
    (
        bars_answer(next_url="http://127.0.0.1:1/"),
        UnsupportedError,
        "leads to host 'http://127.0.0.1:1', not to 'http:",
    ),
    (bars_answer(next_url="//evil.invalid/v2"), UnsupportedError, "leads to host 'http://evil.invalid', not to 'http"),
]


@pytest.mark.parametrize(("answered", "kind", "message"), REFUSALS, ids=[row[2][:40] for row in REFUSALS])
def test_every_other_answer_that_is_no_data_ends_in_its_error(
    answered: tuple[int, dict[str, str], bytes], kind: type[ItemError], message: str
) -> None:
    with scripted(answered) as script:
        said = rejection(kind, script.url)
    assert message in said
    assert len(said) < 400
    assert len(script.paths) == 1


@pytest.mark.parametrize(
    ("frame", "start"),
    [
        (DAY, ms(FIRST, 16)),
        (WEEK, ms(FIRST, 12)),
        (WEEK, ms(FIRST)),
        (MONTH, ms(FIRST)),
        (MINUTE, ms(FIRST, 9, 30) + 1),
        (HOUR, ms(FIRST, 9, 30)),
    ],
)
def test_a_bar_that_is_no_window_is_rejected_alone(frame: Timeframe, start: int) -> None:
    good = {DAY: FIRST + timedelta(days=1), WEEK: FIRST - timedelta(days=1), MONTH: date(2025, 11, 1)}
    kept = ms(good.get(frame, FIRST), 0 if frame in good else 10)
    with scripted(bars_answer(bar(start), bar(kept))) as script, provider(script.url) as source:
        (page,) = source.pages(asked(frame))
    assert len(page.bars) == 1
    ((rule, detail),) = ((one.rule, one.detail) for one in page.rejected)
    assert rule is Rule.BAD_TIME
    assert detail.startswith("AAPL at ")
    assert detail.endswith(f": not the start of a window of {frame.name} bars")


def test_a_day_an_hour_off_midnight_is_that_of_the_nearest_midnight() -> None:
    moved = [bar(ms(FIRST) - 3_600_000), bar(ms(FIRST + timedelta(days=1)) + 3_600_000)]
    with scripted(bars_answer(*moved)) as script, provider(script.url) as source:
        (page,) = source.pages(asked())
    assert page.bars.starts.tolist() == [days_since_epoch(FIRST), days_since_epoch(FIRST) + 1]
    assert page.rejected == []


def test_an_answer_of_endless_pages_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(massive, "_MOST_PAGES", 3)
    pages = [bars_answer(bar(ms(FIRST) + 86_400_000 * n), next_url=f"<url>/v2/more/{n}") for n in range(5)]
    with scripted(*pages) as script:
        assert rejection(BadPayloadError, script.url) == "the answer has more than 3 pages"
    assert len(script.paths) == 3
    empty = [answer(status="OK", results=[], next_url=f"/v3/more/{n}") for n in range(5)]
    with scripted(*empty) as script, provider(script.url) as source, pytest.raises(BadPayloadError) as raised:
        source.splits(FIRST, LAST)
    assert str(raised.value) == "the answer has more than 3 pages"


def test_nothing_that_listens_is_a_transient_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert rejection(TransientError, url).startswith("massive: ConnectError: ")


def test_a_whole_answer_has_a_deadline_however_small_its_parts(server: RunningFakeMassive) -> None:
    server.misbehave("trickle", 0.05)
    said = rejection(TransientError, server.url, asked(MINUTE), massive_answer_seconds=0.3)
    assert said == "massive did not send its whole answer within 0.3 s"


@contextmanager
def raw_server(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads the first part of each call and lets `answer` do the rest; yields its URL and its calls."""
    read: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                read.append(connection.recv(65536))
                answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", read
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(patient(10))


def test_headers_that_trickle_have_the_same_deadline() -> None:
    ended = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Padding: ")
        while not ended.wait(0.02):
            connection.sendall(b"x")

    with raw_server(trickle) as (url, _):
        try:
            said = rejection(TransientError, url, massive_answer_seconds=0.3)
        finally:
            ended.set()
    assert said == "massive did not send its whole answer within 0.3 s"


def test_the_api_can_be_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"status":"OK","ticker":"AAPL","adjusted":true,"resultsCount":0,"results":[]}'
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    # Variables of other programs would lead where nobody is.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with (
        raw_server(lambda connection: connection.sendall(head + body)) as (url, read),
        provider("http://massive.invalid", massive_proxy=url) as source,
    ):
        assert [len(page.bars) for page in source.pages(asked())] == [0]
    assert read[0].startswith(b"GET http://massive.invalid/v2/aggs/ticker/AAPL/range/1/day/")
    with pytest.raises(UsageError) as raised:
        Massive(Settings(massive_api_key=SecretStr(KEY), massive_proxy=SecretStr("ftp://me:secret@host")))
    assert str(raised.value) == "STREAMWORKERS_MASSIVE_PROXY is not the URL of an HTTP proxy"


@pytest.mark.parametrize(
    ("plan", "first", "kind"),
    [
        ("free", date(2025, 12, 5), NotYetError),
        ("free", date(2025, 12, 6), NotYetError),
        ("free", date(2020, 1, 1), TooOldError),
        ("unlimited,without=day", date(2025, 11, 24), PlanError),
    ],
)
def test_each_limit_of_a_plan_is_told_apart_by_the_clock_of_the_api(
    plan: str, first: date, kind: type[ItemError]
) -> None:
    fake = FakeMassive(now=NOW, api_keys=[KEY], plan=parse_plan(plan))
    with running_fake_massive(fake) as running, provider(running.url) as source:
        with pytest.raises(ItemError) as raised:
            list(source.pages(asked(first=first, last=first + timedelta(days=1))))
        assert type(raised.value) is kind
        assert abs((source.now() - NOW).total_seconds()) < patient(5)


def test_compressed_answers_are_read() -> None:
    status, _, body = bars_answer(bar())
    with scripted((status, {"Content-Encoding": "gzip", "Content-Length": ""}, b"")) as script:
        packed = gzip.compress(body)
        script.answers = [(status, {"Content-Encoding": "gzip"}, packed)]
        with provider(script.url) as source:
            assert len(bars_of(list(source.pages(asked())))) == 1


# The key


def test_the_key_is_in_no_error_no_repr_no_log_and_no_url(
    server: RunningFakeMassive, caplog: pytest.LogCaptureFixture
) -> None:
    texts: list[str] = []
    with caplog.at_level(logging.DEBUG):
        for name in KINDS:
            server.clear()
            server.misbehave(name, 0.01 if name in ("timeout", "gateway_timeout") else None)
            with provider(server.url) as source:
                try:
                    list(source.pages(asked()))
                except ItemError as error:
                    texts += [str(error), repr(error), repr(error.__cause__), repr(error.__context__)]
                texts += [repr(source), repr(source.settings), str(source.settings), repr(source._client.headers)]
    assert len(texts) > 100
    assert not [text for text in texts if KEY in text]
    assert KEY not in caplog.text
    assert all(call.has_authorization and "***" not in call.path and KEY not in call.path for call in server.calls)


def test_a_key_that_the_server_repeats_is_not_repeated() -> None:
    for status in (200, 401, 404, 500):
        with scripted(answer(status, status="ERROR", error=f"Unknown key {KEY}")) as script:
            with provider(script.url) as source, pytest.raises(ItemError) as raised:
                list(source.pages(asked()))
            assert str(raised.value).endswith(": 'Unknown key ***'")


def test_the_key_goes_to_no_other_host(server: RunningFakeMassive) -> None:
    with running_fake_massive(FakeMassive(api_keys=[KEY])) as other, provider(server.url) as source:
        for name, kind in (("foreign_next_url", UnsupportedError), ("redirect", BadPayloadError)):
            server.clear()
            server.misbehave(name, other.url)
            with pytest.raises(kind):
                list(source.pages(asked()))
        assert other.calls == []


def test_an_unknown_key_is_rejected_for_good(server: RunningFakeMassive) -> None:
    with provider(server.url, key="another-key") as source, pytest.raises(AuthError) as raised:
        list(source.pages(asked()))
    assert str(raised.value) == "massive rejected the key in STREAMWORKERS_MASSIVE_API_KEY: 'Unknown API Key'"


def test_without_a_key_the_provider_says_which_setting_it_needs() -> None:
    with pytest.raises(UsageError) as raised:
        Massive(Settings())
    assert str(raised.value) == "the provider massive needs a key in STREAMWORKERS_MASSIVE_API_KEY"


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY} ", f" {KEY}", "clé", "a\tb", "", "a\x00b"])
def test_a_key_that_no_header_can_hold_is_rejected_without_being_shown(key: str) -> None:
    with pytest.raises(UsageError) as raised:
        Massive(Settings(massive_api_key=key))
    assert str(raised.value) == (
        "the key in STREAMWORKERS_MASSIVE_API_KEY is empty or holds blanks, line ends, non-ASCII"
    )


# The count of calls


def test_every_call_is_counted_with_what_became_of_it(server: RunningFakeMassive) -> None:
    reserved: list[str] = []
    over: list[str] = []
    words: list[str] = []

    def reserve() -> str:
        reserved.append(f"token {len(reserved)}")
        return reserved[-1]

    expected = {
        None: "200",
        "rate_limit": "429",
        "server_error": "500",
        "not_authorized": "403",
        "redirect": "bad_payload",
        "not_json": "bad_payload",
        "huge_body": "bad_payload",
        "error_status": "rejected",
        "cut_connection": "error",
        "timeout": "timeout",
    }
    calls = Calls(reserve, over.append, words.append)
    with provider(server.url, calls=calls, massive_timeout_seconds=patient(0.5), massive_max_body_mb=1) as source:
        for name in expected:
            server.clear()
            if name is not None:
                server.misbehave(name, 1.1 if name == "huge_body" else None)
            try:
                list(source.pages(asked()))
            except ItemError:
                assert name is not None
    assert dict(zip(expected, words, strict=True)) == expected
    assert reserved == over


def test_without_a_call_left_nothing_is_sent(server: RunningFakeMassive) -> None:
    until = datetime(2025, 12, 5, 23, 1, tzinfo=UTC)

    def reserve() -> str:
        raise RateLimitedError("the fleet has made its 5 calls of a minute", until)

    calls = Calls(reserve, lambda token: pytest.fail(token), lambda word: pytest.fail(word))
    with provider(server.url, calls=calls) as source, pytest.raises(RateLimitedError) as raised:
        list(source.pages(asked()))
    assert raised.value.until == until
    assert str(raised.value) == ("the fleet has made its 5 calls of a minute; next call at 2025-12-05T23:01:00+00:00")
    assert server.calls == []


# Splits and the day of all


def test_splits_are_those_of_the_days_that_are_asked_for(server: RunningFakeMassive) -> None:
    with provider(server.url) as source:
        found = source.splits(date(2025, 6, 10), date(2025, 12, 31))
        assert source.splits(date(2024, 1, 1), date(2024, 1, 2)) == []
    assert found == [
        providers.Split("MSFT", date(2025, 6, 10), 3.0, 2.0),
        providers.Split("AAPL", date(2025, 11, 26), 1.0, 4.0),
    ]


def test_more_than_a_thousand_splits_take_several_calls() -> None:
    many = [FakeSplit(f"S{number}", date(2025, 1, 1) + timedelta(days=number % 300), 1, 2) for number in range(2500)]
    fake = FakeMassive(now=NOW, splits=many, api_keys=[KEY])
    with running_fake_massive(fake) as server, provider(server.url) as source:
        found = source.splits(date(2025, 1, 1), date(2025, 12, 31))
        assert len(server.calls) == 3
    assert {split.symbol for split in found} == {split.ticker for split in many}
    assert [split.executed_on for split in found] == sorted(split.executed_on for split in found)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("loop_next_url", BadPayloadError, "next_url leads to a page that was read already"),
        ("foreign_next_url", UnsupportedError, "next_url leads to host 'http://other-host.invalid', not to"),
        ("missing_results", BadPayloadError, "the answer holds no list of splits"),
        ("not_authorized", PlanError, "the plan of the key does not include this: "),
        ("not_json", BadPayloadError, "JSON is malformed"),
        ("error_status", TransientError, "massive answered with status 'ERROR'"),
    ],
)
def test_splits_that_are_not_whole_are_rejected(
    server: RunningFakeMassive, name: str, kind: type[ItemError], message: str
) -> None:
    server.misbehave(name)
    with provider(server.url) as source, pytest.raises(kind) as raised:
        source.splits(date(2025, 6, 1), date(2025, 12, 31))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split_from": 0}, "is malformed or was not requested"),
        ({"split_to": -2}, "is malformed or was not requested"),
        ({"execution_date": "2025-11-29"}, "is malformed or was not requested"),
        ({"execution_date": "someday"}, "Invalid RFC3339 encoded date - at `$.results[0].execution_date`"),
        ({"ticker": None}, "Expected `str`, got `null` - at `$.results[0].ticker`"),
    ],
)
def test_a_split_that_is_none_is_rejected(changes: dict[str, Any], message: str) -> None:
    split = {"ticker": "AAPL", "execution_date": "2025-11-26", "split_from": 1, "split_to": 4, **changes}
    with (
        scripted(answer(status="OK", results=[split])) as script,
        provider(script.url) as source,
        pytest.raises(BadPayloadError) as raised,
    ):
        source.splits(FIRST, LAST)
    assert message in str(raised.value)


def test_the_day_of_all_is_the_market_s_day_of_every_symbol(server: RunningFakeMassive) -> None:
    with provider(server.url) as source:
        pages = source.day_of_all(LAST)
        assert source.day_of_all(date(2025, 11, 27)) == {}
        own = bars_of(list(source.pages(asked(first=LAST))))
    symbols, truth = server.market.grouped(LAST, now=NOW, adjusted=True)
    assert list(pages) == list(symbols)
    for place, symbol in enumerate(symbols):
        require_same(pages[symbol].bars, truth.part(place, place + 1), [days_since_epoch(LAST)])
    assert pages["AAPL"].bars.pack() == own.pack()


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("missing_results", BadPayloadError, "the answer holds 0 bars and states 5"),
        ("wrong_adjusted", BadPayloadError, "adjusted is False, not true as requested"),
        ("not_authorized", PlanError, "the plan of the key does not include this: "),
        ("server_error", TransientError, "massive answered HTTP 500: 'the server failed'"),
    ],
)
def test_a_day_of_all_that_is_not_whole_is_rejected(
    server: RunningFakeMassive, name: str, kind: type[ItemError], message: str
) -> None:
    server.misbehave(name)
    with provider(server.url) as source, pytest.raises(kind) as raised:
        source.day_of_all(LAST)
    assert message in str(raised.value)


def test_a_bad_bar_of_the_day_of_all_is_rejected_for_its_symbol_alone(server: RunningFakeMassive) -> None:
    server.misbehave("high_below_low")
    with provider(server.url) as source:
        pages = source.day_of_all(LAST)
    rejected = {symbol: [one.rule for one in page.rejected] for symbol, page in pages.items() if page.rejected}
    assert rejected == {"AAPL": [Rule.HIGH_TOO_LOW]}
    assert [len(page.bars) for page in pages.values()].count(0) == 1


def test_a_bar_of_no_symbol_in_the_day_of_all_is_left_out() -> None:
    with scripted(bars_answer(bar(ms(LAST, 13), T=""))) as script, provider(script.url) as source:
        assert source.day_of_all(LAST) == {}


@pytest.mark.parametrize(
    ("name", "rule", "detail"),
    [
        ("duplicate_bars", Rule.DUPLICATE, "the answer has a bar of 'AAPL' on 2025-11-28 already; that is kept"),
        ("out_of_range_bars", Rule.OUT_OF_RANGE, "is of 1764266400000 ms, which is not on 2025-11-28"),
    ],
)
def test_a_row_too_many_in_the_day_of_all_costs_nothing_else(
    server: RunningFakeMassive, name: str, rule: Rule, detail: str
) -> None:
    with provider(server.url) as source:
        good = source.day_of_all(LAST)
        server.misbehave(name)
        pages = source.day_of_all(LAST)
    assert {symbol: page.bars.pack() for symbol, page in pages.items()} == {
        symbol: page.bars.pack() for symbol, page in good.items()
    }
    ((found, said),) = ((one.rule, one.detail) for page in pages.values() for one in page.rejected)
    assert found is rule
    assert detail in said
