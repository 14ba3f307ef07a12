"""Bars over HTTP: pages give exactly the unpaged bars, wide ones are made of narrow ones, splits adjust them."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from streamworkers_fakes.massive import FakeBars, RunningFakeMassive

Row = dict[str, Any]
Walk = Callable[[str], list[dict[str, Any]]]
NEW_YORK = ZoneInfo("America/New_York")
HALF_DAY = date(2025, 11, 28)


def path(ticker: str, windows: str, first: object, last: object, **query: object) -> str:
    words = "&".join(f"{name}={value}" for name, value in query.items())
    return f"/v2/aggs/ticker/{ticker}/range/{windows}/{first}/{last}?{words}"


def rows_of(bars: FakeBars) -> list[Row]:
    return json.loads(b"[" + bars.json_rows() + b"]")  # type: ignore[no-any-return]


def rows_in(pages: list[dict[str, Any]]) -> list[Row]:
    return [row for page in pages for row in page.get("results", [])]


def local(row: Row) -> datetime:
    return datetime.fromtimestamp(row["t"] / 1000, UTC).astimezone(NEW_YORK)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp() * 1000)


def plainly_wide(rows: list[Row], start_of: Callable[[datetime], datetime]) -> list[Row]:
    """Rows put together without vectors and pages."""
    wide: dict[int, list[Row]] = {}
    for row in rows:
        wide.setdefault(int(start_of(local(row)).timestamp() * 1000), []).append(row)
    return [
        {
            "v": sum(row["v"] for row in group),
            "vw": sum(row["v"] * row["vw"] for row in group) / sum(row["v"] for row in group),
            "o": group[0]["o"],
            "c": group[-1]["c"],
            "h": max(row["h"] for row in group),
            "l": min(row["l"] for row in group),
            "t": start,
            "n": sum(row["n"] for row in group),
        }
        for start, group in wide.items()
    ]


def check_same(found: list[Row], expected: list[Row]) -> None:
    """The same bars; volumes and their weighted prices may differ by rounding."""
    for name in ("t", "o", "h", "l", "c", "n"):
        assert [row[name] for row in found] == [row[name] for row in expected]
    for name in ("v", "vw"):
        assert [row[name] for row in found] == pytest.approx([row[name] for row in expected], abs=2e-4, rel=1e-9)


def hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0)


def seven_minutes_of(moment: datetime) -> datetime:
    minutes = (moment.hour * 60 + moment.minute) // 7 * 7
    return moment.replace(hour=minutes // 60, minute=minutes % 60)


def sunday_of(moment: datetime) -> datetime:
    return moment - timedelta(days=moment.isoweekday() % 7)


def first_of_month(moment: datetime) -> datetime:
    return moment.replace(day=1)


@pytest.mark.parametrize("adjusted", ["true", "false"])
@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize(
    ("windows", "first", "last", "limit"),
    [
        ("1/minute", "2025-09-01", "2025-09-03", 100),
        ("1/minute", "2025-09-01", "2025-09-03", 732),
        ("1/minute", ms("2025-11-28T09:47"), ms("2025-12-01T11:13"), 7),
        ("5/minute", "2025-11-26", "2025-12-01", 37),
        ("7/minute", ms("2025-11-26T15:58"), ms("2025-11-28T12:59"), 100),
        ("1/hour", "2025-11-25", "2025-12-01", 1),
        ("4/hour", ms("2025-11-25T10:30"), "2025-12-01", 500),
        ("1/day", "2025-05-01", "2025-12-31", 10),
        ("1/week", "2025-05-01", "2025-12-31", 12),
        ("1/month", "2025-05-01", "2025-12-31", 1),
    ],
)  # fmt: skip
def test_pages_give_exactly_the_unpaged_bars(
    walk: Walk, windows: str, first: object, last: object, limit: int, sort: str, adjusted: str
) -> None:
    (whole,) = walk(path("AAPL", windows, first, last, limit=50_000, adjusted=adjusted))
    pages = walk(path("AAPL", windows, first, last, limit=limit, sort=sort, adjusted=adjusted))
    assert len(pages) >= 2
    assert rows_in(pages) == (whole["results"] if sort == "asc" else whole["results"][::-1])
    for page in pages:
        assert page["resultsCount"] == page["count"] == len(page["results"])
        assert page["adjusted"] is (adjusted == "true")
        assert page["queryCount"] <= limit or page["resultsCount"] == 1
    assert sum(page["queryCount"] for page in pages) == whole["queryCount"]


def test_an_answer_has_the_shape_of_the_api_and_a_next_url_on_the_same_host_without_a_key(
    client: httpx.Client, server: RunningFakeMassive
) -> None:
    answer = client.get(path("BRK.B", "1/minute", "2025-11-24", "2025-11-26", limit=3, adjusted="false"))
    assert answer.headers["content-type"] == "application/json"
    page = answer.json()
    words = ["ticker", "queryCount", "resultsCount", "adjusted", "results", "status", "request_id", "count", "next_url"]
    assert list(page) == words
    assert (page["ticker"], page["status"], page["resultsCount"]) == ("BRK.B", "OK", 3)
    assert page["next_url"].startswith(f"{server.url}/v2/aggs/ticker/BRK.B/range/1/minute/")
    assert "cursor=" in page["next_url"]
    assert server.api_key not in page["next_url"]
    alone = page["next_url"].partition("&")[0]  # all that it says is in its cursor
    assert client.get(alone).json()["results"] == client.get(page["next_url"]).json()["results"]


def test_minutes_are_the_truth_of_the_market(walk: Walk, server: RunningFakeMassive) -> None:
    days = server.market.sessions(date(2025, 11, 24), HALF_DAY)
    pages = walk(path("KO", "1/minute", days[0], days[-1], limit=50_000))
    assert rows_in(pages) == [row for day in days for row in rows_of(server.market.minutes("KO", day))]


@pytest.mark.parametrize("adjusted", ["true", "false"])
@pytest.mark.parametrize(
    ("windows", "base", "start_of", "first", "last"),
    [
        ("1/hour", "1/minute", hour_of, "2025-05-30", "2025-06-12"),
        ("7/minute", "1/minute", seven_minutes_of, "2025-11-26", "2025-12-01"),
        ("1/week", "1/day", sunday_of, "2025-03-02", "2025-11-29"),
        ("1/month", "1/day", first_of_month, "2025-03-01", "2025-11-30"),
    ],
)
def test_wide_bars_are_made_of_narrow_ones(
    walk: Walk, windows: str, base: str, start_of: Callable[[datetime], datetime], first: str, last: str, adjusted: str
) -> None:
    narrow = rows_in(walk(path("KO", base, first, last, limit=50_000, adjusted=adjusted)))
    wide = rows_in(walk(path("KO", windows, first, last, limit=50_000, adjusted=adjusted)))
    expected = plainly_wide(narrow, start_of)
    if adjusted == "false" or base == "1/day":
        check_same(wide, expected)
    else:
        for name in ("t", "o", "h", "l", "c", "n"):
            assert [row[name] for row in wide] == [row[name] for row in expected]
        assert [row["v"] for row in wide] == pytest.approx([row["v"] for row in expected], abs=0.01)


def test_a_range_is_widened_to_whole_windows(walk: Walk) -> None:
    within = rows_in(walk(path("KO", "5/minute", ms("2025-11-26T10:03"), ms("2025-11-26T10:31"))))
    assert [f"{local(row):%H:%M}" for row in within] == ["10:00", "10:05", "10:10", "10:15", "10:20", "10:25", "10:30"]
    whole = rows_in(walk(path("KO", "5/minute", "2025-11-26", "2025-11-26")))
    assert within == [row for row in whole if "10:00" <= f"{local(row):%H:%M}" <= "10:30"]
    (week,) = rows_in(walk(path("KO", "1/week", "2025-11-19", "2025-11-20")))
    assert f"{local(week):%Y-%m-%d %H:%M}" == "2025-11-16 00:00"
    days = rows_in(walk(path("KO", "1/day", "2025-11-16", "2025-11-22")))
    check_same([week], plainly_wide(days, sunday_of))


def test_splits_up_to_now_adjust_prices_and_volumes(walk: Walk, server: RunningFakeMassive) -> None:
    for ticker, day, ratio in (("AAPL", "2025-06-09", 8), ("AAPL", "2025-06-10", 2), ("AAPL", "2025-09-02", 1),
                               ("KO", "2025-08-01", 0.1), ("MSFT", "2025-06-09", 1)):  # fmt: skip
        for windows in ("1/minute", "1/hour", "1/day"):
            raw = rows_in(walk(path(ticker, windows, day, day, adjusted="false")))
            adjusted = rows_in(walk(path(ticker, windows, day, day)))
            for name in ("o", "h", "l", "c"):
                assert [row[name] for row in adjusted] == pytest.approx([row[name] / ratio for row in raw], abs=5.1e-5)
            assert [row["v"] for row in adjusted] == pytest.approx([row["v"] * ratio for row in raw])
            assert [row["t"] for row in adjusted] == [row["t"] for row in raw]
    raw = rows_in(walk(path("MSFT", "1/minute", "2025-11-26", "2025-11-26")))
    server.set_now(datetime(2025, 12, 15, tzinfo=NEW_YORK))
    after = rows_in(walk(path("MSFT", "1/minute", "2025-11-26", "2025-11-26")))
    assert [row["v"] for row in after] == [2 * row["v"] for row in raw]


def test_the_half_day_has_210_regular_minutes_and_its_post_market_ends_at_17(walk: Walk) -> None:
    times = [f"{local(row):%H:%M}" for row in rows_in(walk(path("KO", "1/minute", HALF_DAY, HALF_DAY)))]
    assert len([time for time in times if "09:30" <= time < "13:00"]) == 210
    assert times == sorted(times)
    assert times[0] < "04:30"
    assert "16:30" < times[-1] < "17:00"


def test_what_has_not_happened_yet_is_not_served(walk: Walk, server: RunningFakeMassive) -> None:
    minutes = rows_in(walk(path("KO", "1/minute", "2025-12-01", "2026-01-31", limit=50_000)))
    assert f"{local(minutes[-1]):%Y-%m-%d %H:%M}" == "2025-12-01 11:59"
    (day,) = rows_in(walk(path("KO", "1/day", "2025-12-01", "2025-12-31")))
    assert day["v"] == sum(row["v"] for row in minutes)
    assert day["h"] == max(row["h"] for row in minutes if f"{local(row):%H:%M}" >= "09:30")
    server.set_now(datetime(2025, 12, 1, 8, tzinfo=NEW_YORK))
    assert rows_in(walk(path("KO", "1/day", "2025-12-01", "2025-12-31"))) == []
    assert len(rows_in(walk(path("KO", "1/minute", "2025-12-01", "2025-12-31", limit=50_000)))) < 240


@pytest.mark.parametrize(
    ("ticker", "windows", "first", "last"),
    [
        ("XXXX", "1/minute", "2025-11-03", "2025-11-28"),
        ("XXXX", "1/day", "2025-11-03", "2025-11-28"),
        ("V", "1/minute", "2025-11-03", "2025-11-21"),
        ("KO", "1/minute", "2025-11-27", "2025-11-27"),
        ("KO", "1/minute", ms("2025-11-26T01:00"), ms("2025-11-26T03:00")),
        ("KO", "1/week", "1990-01-01", "1991-01-01"),
        ("KO", "1/month", "2026-02-01", "9999-12-31"),
    ],
)
def test_an_empty_answer_has_no_results(
    client: httpx.Client, ticker: str, windows: str, first: object, last: object
) -> None:
    answer = client.get(path(ticker, windows, first, last)).json()
    assert answer.pop("request_id")
    expected = {"ticker": ticker, "queryCount": 0, "resultsCount": 0, "adjusted": True, "status": "OK", "count": 0}
    assert answer == expected


@pytest.mark.parametrize("adjusted", ["true", "false"])
@pytest.mark.parametrize(("day", "closes"), [("2025-06-09", 16), ("2025-11-28", 13), ("2025-12-01", 16)])
def test_all_bars_of_a_day_together_are_the_single_ones_with_the_moment_of_the_close(
    client: httpx.Client, server: RunningFakeMassive, day: str, closes: int, adjusted: str
) -> None:
    answer = client.get(f"/v2/aggs/grouped/locale/us/market/stocks/{day}?adjusted={adjusted}").json()
    listed = [symbol for symbol in server.market.symbols if symbol != "V" or day > "2025-11-23"]
    assert [row["T"] for row in answer["results"]] == listed
    assert answer["resultsCount"] == answer["queryCount"] == answer["count"] == len(listed)
    assert answer["adjusted"] is (adjusted == "true")
    for row in answer["results"]:
        ticker = row.pop("T")
        assert f"{local(row):%Y-%m-%d %H:%M}" == f"{day} {closes}:00"
        if ticker in ("AAPL", "KO", "MSFT", "V"):
            (alone,) = client.get(path(ticker, "1/day", day, day, adjusted=adjusted)).json()["results"]
            assert {**row, "t": alone["t"]} == alone


def test_a_day_without_a_session_has_no_bars_together(client: httpx.Client) -> None:
    answer = client.get("/v2/aggs/grouped/locale/us/market/stocks/2025-11-27").json()
    assert answer.pop("request_id")
    assert answer == {"queryCount": 0, "resultsCount": 0, "adjusted": True, "status": "OK", "count": 0}


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (path("KO", "0/minute", "2025-11-03", "2025-11-04"), "multiplier '0' is not a whole number from 1"),
        (path("KO", "1/minute", "x", "2025-11-04"), "'from' 'x' is neither YYYY-MM-DD nor Unix milliseconds"),
        (path("KO", "1/minute", "2025-11-05", "2025-11-04"), "'to' 2025-11-04 is before 'from' 2025-11-05"),
        (path("KO", "1/minute", "2025-11-03", "2025-11-04", adjusted=1), "adjusted '1' is neither true nor false"),
        (path("KO", "1/minute", "2025-11-03", "2025-11-04", sort="up"), "sort 'up' is neither asc nor desc"),
        (
            path("KO", "1/minute", "2025-11-03", "2025-11-04", limit=50_001),
            "limit '50001' is not a whole number from 1 to 50000",
        ),
        (path("KO", "1/day", "2025-11-03", "2025-11-04", limit=0), "limit '0' is not a whole number from 1 to 50000"),
        (
            path("KO", "1/day", "2025-11-03", "2025-11-04", limit="1" * 5000),
            f"limit '{'1' * 5000}' is not a whole number from 1 to 50000",
        ),
        ("/v2/aggs/grouped/locale/us/market/stocks/20251103", "date '20251103' is not YYYY-MM-DD"),
    ],
)
def test_a_call_that_breaks_a_rule_is_answered_400(client: httpx.Client, asked: str, error: str) -> None:
    answer = client.get(asked)
    assert answer.status_code == 400
    assert answer.json()["status"] == "ERROR"
    assert answer.json()["error"] == error


def test_any_other_path_is_answered_404(client: httpx.Client) -> None:
    answer = client.get("/v1/open-close/AAPL/2025-11-03")
    assert answer.status_code == 404
    assert answer.json()["status"] == "NOT_FOUND"
    assert answer.json()["error"] == "The requested resource was not found"
