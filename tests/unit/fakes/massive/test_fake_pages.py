"""Ranges of the fake API: how they snap to windows, and that its pages give each bar once."""

from dataclasses import replace
from datetime import date, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from streamworkers.errors import BadInputError
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers_fakes.massive import FakeMarket, FakeSplit
from streamworkers_fakes.massive.pages import AggregatesRequest, Pages, read_request
from streamworkers_fakes.massive.trading_days import midnight_ms

NOW = datetime(2025, 12, 3, 12, 34, tzinfo=EXCHANGE_ZONE)
MARKET = FakeMarket(splits=[FakeSplit("AAPL", date(2025, 11, 20), 1, 4)], listed_from={"NEW": date(2025, 11, 20)})
PAGES = Pages(MARKET)

timespans = some.sampled_from(
    [(1, "minute"), (7, "minute"), (1, "hour"), (4, "hour"), (1, "day"), (1, "week"), (1, "month")]
)
moments = some.integers(midnight_ms(date(2025, 11, 14)), midnight_ms(date(2025, 12, 8)))


def ms(text: str) -> int:
    """Unix milliseconds of a moment on the clocks of New York."""
    return int(datetime.fromisoformat(text).replace(tzinfo=EXCHANGE_ZONE).timestamp() * 1000)


def rows_of(request: AggregatesRequest) -> list[dict[str, float]]:
    """All bars of a request, page by page; asserts that each page is as small as its limit says."""
    rows: list[dict[str, float]] = []
    first, last = str(request.first_ms), str(_last_ms(request))
    while True:
        page = PAGES.page(_again(request, first, last), NOW)
        found = msgspec.json.decode(b"[" + page.rows + b"]")
        assert len(found) == page.count
        assert page.base_count <= request.limit or page.count == 1
        rows += found
        if page.next_ms is None:
            return rows
        assert found
        first, last = (str(page.next_ms), last) if request.ascending else (first, str(page.next_ms))


def _last_ms(request: AggregatesRequest) -> int:
    return midnight_ms(request.last) + request.end_minute * 60_000 - 1


def _again(request: AggregatesRequest, first: str, last: str) -> AggregatesRequest:
    snapped = read_request(request.ticker, str(request.multiplier), request.timespan, first, last)
    return replace(snapped, adjusted=request.adjusted, ascending=request.ascending, limit=request.limit)


def starts(multiplier: int, timespan: str, first: str, last: str, ticker: str = "AAPL") -> list[str]:
    """When the bars of a range start, on the clocks of New York."""
    request = replace(read_request(ticker, str(multiplier), timespan, first, last), limit=50_000)
    return [datetime.fromtimestamp(row["t"] / 1000, EXCHANGE_ZONE).strftime("%m-%d %H:%M") for row in rows_of(request)]


@settings(max_examples=60)
@given(timespans, moments, moments, some.integers(1, 3000), some.booleans(), some.booleans())
def test_pages_give_exactly_the_bars_of_one_large_page(
    timespan: tuple[int, str], one: int, other: int, limit: int, ascending: bool, adjusted: bool
) -> None:
    first, last = sorted((one, other))
    snapped = read_request("AAPL", str(timespan[0]), timespan[1], str(first), str(last))
    whole = msgspec.json.decode(b"[" + PAGES.page(replace(snapped, adjusted=adjusted, limit=50_000), NOW).rows + b"]")
    limit = max(limit, 1 if timespan[1] in ("day", "week", "month") else 40)
    paged = rows_of(replace(snapped, adjusted=adjusted, ascending=ascending, limit=limit))
    assert paged == (whole if ascending else whole[::-1])


def test_a_date_means_its_whole_day() -> None:
    found = starts(1, "hour", "2025-11-24", "2025-11-25")
    hours = [f"{hour:02d}:00" for hour in range(4, 20)]
    assert found == [f"{day} {hour}" for day in ("11-24", "11-25") for hour in hours]


def test_ranges_snap_to_the_windows_that_hold_their_ends() -> None:
    first, last = str(ms("2025-11-25 10:31:30")), str(ms("2025-11-25 12:00:00"))
    assert starts(1, "hour", first, last) == ["11-25 10:00", "11-25 11:00", "11-25 12:00"]
    assert starts(1, "minute", first, str(ms("2025-11-25 10:33:00"))) == ["11-25 10:31", "11-25 10:32", "11-25 10:33"]
    assert starts(15, "minute", first, last)[0] == "11-25 10:30"
    assert starts(15, "minute", first, last)[-1] == "11-25 12:00"
    assert starts(1, "day", first, last) == ["11-25 00:00"]
    assert starts(1, "week", first, last) == ["11-23 00:00"]
    assert starts(1, "month", first, last) == ["11-01 00:00"]
    assert starts(1, "month", "2025-10-31", "2025-11-03") == ["10-01 00:00", "11-01 00:00"]


def test_the_last_hour_of_a_range_is_whole() -> None:
    request = read_request("AAPL", "1", "hour", str(ms("2025-11-25 10:31")), str(ms("2025-11-25 10:32")))
    row = rows_of(replace(request, limit=50_000))[0]
    hours = MARKET.hours("AAPL", date(2025, 11, 25))
    place = hours.start_ms.tolist().index(ms("2025-11-25 10:00"))
    assert (row["o"], row["c"], row["v"]) == (hours.open[place], hours.close[place], hours.volume[place])


def test_a_limit_counts_minutes_and_leaves_the_unfinished_window_out() -> None:
    # As the real API documents it: 100 base minutes of two hours are one hour, the rest comes with the next page.
    request = read_request("AAPL", "1", "hour", str(ms("2025-11-25 14:00")), str(ms("2025-11-25 15:00")))
    page = PAGES.page(replace(request, limit=100), NOW)
    assert (page.count, page.base_count, page.next_ms) == (1, 60, ms("2025-11-25 15:00"))
    backwards = PAGES.page(replace(request, limit=100, ascending=False), NOW)
    assert (backwards.count, backwards.base_count, backwards.next_ms) == (1, 60, ms("2025-11-25 15:00") - 1)


def test_a_limit_that_fits_exactly_needs_no_other_page() -> None:
    request = read_request("AAPL", "1", "hour", str(ms("2025-11-25 14:00")), str(ms("2025-11-25 15:00")))
    assert PAGES.page(replace(request, limit=120), NOW).next_ms is None


def test_a_limit_of_days_leaves_the_unfinished_week_out() -> None:
    request = read_request("AAPL", "1", "week", "2025-11-03", "2025-11-30")
    page = PAGES.page(replace(request, limit=12), NOW)
    assert (page.count, page.base_count, page.next_ms) == (2, 10, midnight_ms(date(2025, 11, 16)))


def test_one_window_is_given_also_where_it_is_larger_than_the_limit() -> None:
    request = read_request("AAPL", "1", "month", "2025-10-01", "2025-11-30")
    page = PAGES.page(replace(request, limit=1), NOW)
    assert (page.count, page.next_ms) == (1, midnight_ms(date(2025, 11, 1)))


def test_the_windows_at_now_are_unfinished() -> None:
    assert starts(1, "minute", "2025-12-03", "2025-12-03")[-1] == "12-03 12:33"
    assert starts(1, "hour", "2025-12-03", "2025-12-05")[-1] == "12-03 12:00"
    assert starts(1, "day", "2025-12-02", "2025-12-05") == ["12-02 00:00", "12-03 00:00"]
    assert starts(1, "week", "2025-11-24", "2025-12-31") == ["11-23 00:00", "11-30 00:00"]


def test_bars_begin_where_the_symbol_does() -> None:
    assert starts(1, "day", "2003-01-01", "2025-11-21", "NEW") == ["11-20 00:00", "11-21 00:00"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("1", "year", "2025-01-01", "2025-01-02"), "timespan 'year' is not one of minute, hour, day, week, month"),
        (("0", "day", "2025-01-01", "2025-01-02"), "multiplier '0' is not a whole number from 1"),
        (("x", "day", "2025-01-01", "2025-01-02"), "multiplier 'x' is not a whole number from 1"),
        (("2", "week", "2025-01-01", "2025-01-02"), "windows of 2 week are not served: at most a day, or 1 week"),
        (("25", "hour", "2025-01-01", "2025-01-02"), "windows of 25 hour are not served: at most a day, or 1 hour"),
        (("1", "day", "2025-02-30", "2025-03-02"), "'from' '2025-02-30' is neither YYYY-MM-DD nor Unix milliseconds"),
        (("1", "day", "2025-02-03", "tomorrow"), "'to' 'tomorrow' is neither YYYY-MM-DD nor Unix milliseconds"),
        (("1", "day", "2025-02-03", "2025-02-02"), "'to' 2025-02-02 is before 'from' 2025-02-03"),
    ],
)
def test_what_is_no_range_is_rejected(words: tuple[str, str, str, str], message: str) -> None:
    with pytest.raises(BadInputError) as rejected:
        read_request("AAPL", *words)
    assert str(rejected.value) == message
