"""The provider `massive`: which answers it takes, and a typed error for every other one."""

import gzip
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from massive_source import (
    DAY,
    FIRST,
    HOUR,
    KEY,
    LAST,
    MINUTE,
    MONTH,
    NOW,
    WEEK,
    answer,
    asked,
    bar,
    bars_answer,
    bars_of,
    ms,
    provider,
    rejection,
    rules,
    run,
    scripted,
    want,
)
from patience import patient
from streamworkers.errors import ItemError, PermanentError
from streamworkers.loading.fetch_plan import Fetch
from streamworkers.loading.providers import massive
from streamworkers.loading.providers.provider import (
    AuthError,
    BadPayloadError,
    NoDataError,
    PlanError,
    RateLimitedError,
    TransientError,
    UnsupportedError,
)
from streamworkers.market.bars.rules import Rule
from streamworkers.market.calendar.timeframes import TIMEFRAMES, Timeframe
from streamworkers.market.calendar.windows import days_since_epoch
from streamworkers_fakes.massive import (
    KINDS,
    FakeMassive,
    RunningFakeMassive,
    running_fake_massive,
)

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
        ("huge_body", 1.1, BadPayloadError, "the answer exceeds STREAMWORKERS_MASSIVE_MAX_BODY_MB=1"),
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
        NoDataError,
        "massive answered HTTP 403 and no reason of its own: '<html>no</html>'",
    ),
    (
        answer(402, error="unpaid"),
        AuthError,
        "massive wants the key in STREAMWORKERS_MASSIVE_API_KEY to be paid for: 'unpaid'",
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
    (answer(425, status="EARLY"), TransientError, "massive answered HTTP 425: 'EARLY'"),
    (answer(206, status="OK"), BadPayloadError, "massive answered HTTP 206, not 200"),
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
        (200, {"Content-Encoding": "gzip, gzip, gzip"}, gzip.compress(gzip.compress(gzip.compress(b"{}")))),
        BadPayloadError,
        "the answer has the Content-Encoding 'gzip, gzip, gzip'; gzip alone is read",
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


def test_compressed_answers_are_read() -> None:
    status, _, body = bars_answer(bar())
    with scripted((status, {"Content-Encoding": "gzip", "Content-Length": ""}, b"")) as script:
        packed = gzip.compress(body)
        script.answers = [(status, {"Content-Encoding": "gzip"}, packed)]
        with provider(script.url) as source:
            assert len(bars_of(list(source.pages(asked())))) == 1
