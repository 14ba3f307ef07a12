"""The API's own client, unchanged, against the fake: what it can do with the real API, it can do here."""

from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any

import pytest
from massive import RESTClient
from massive.exceptions import BadResponse
from urllib3.exceptions import MaxRetryError

from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers_fakes.massive import (
    FakeListings,
    FakeMassive,
    FakeRename,
    FakeSplit,
    RunningFakeMassive,
    parse_plan,
    running_fake_massive,
)

NOW = datetime(2025, 12, 1, 12, 0, tzinfo=EXCHANGE_ZONE)
LISTINGS = FakeListings(
    listed_from={"IPO": date(2025, 11, 3)},
    delisted_after={"GONE": date(2025, 10, 31)},
    renames=(FakeRename("FB", "META", date(2025, 6, 9)),),
)
SPLITS = (FakeSplit("AAPL", date(2025, 6, 10), 1, 4), FakeSplit("AAPL", date(2025, 9, 2), 1, 2))


@pytest.fixture(scope="module")
def server() -> Iterator[RunningFakeMassive]:
    """A server with 12,500 symbols that trade today."""
    fake = FakeMassive(now=NOW, listings=LISTINGS, splits=SPLITS, unknown=["NONE"], fillers=12_459, fractional=True)
    with running_fake_massive(fake) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningFakeMassive) -> Any:
    """The client with a good key."""
    return RESTClient(api_key=server.api_key, base=server.url, retries=0)


def test_bars_of_every_timespan_are_read_page_by_page(client: Any, server: RunningFakeMassive) -> None:
    first, last = date(2025, 11, 24), date(2025, 11, 28)
    truth = server.market.minutes("AAPL", first, now=NOW, adjusted=True)
    found = list(client.list_aggs("AAPL", 1, "minute", first, first, limit=200))
    assert [row.timestamp for row in found] == truth.start_ms.tolist()
    assert [row.volume for row in found] == truth.volume.tolist()
    assert any(row.volume != int(row.volume) for row in found)
    for span, count in (("hour", 61), ("day", 4), ("week", 1), ("month", 1)):
        rows = client.get_aggs("AAPL", 1, span, first, last)
        assert len(rows) == count
        assert all(row.low <= row.open <= row.high and row.transactions > 0 for row in rows)


def test_a_grouped_answer_has_every_symbol(client: Any) -> None:
    rows = client.get_grouped_daily_aggs(date(2025, 11, 28))
    assert len({row.ticker for row in rows}) == len(rows) == 12_500


def test_both_lists_of_splits_are_read(client: Any) -> None:
    old = [(row.ticker, row.execution_date, row.split_to) for row in client.list_splits(ticker="AAPL")]
    assert old == [("AAPL", "2025-09-02", 2), ("AAPL", "2025-06-10", 4)]
    new = list(client.list_stocks_splits(ticker="AAPL", execution_date_gte="2025-01-01"))
    assert [(row.execution_date, row.adjustment_type) for row in new] == [
        ("2025-09-02", "forward_split"), ("2025-06-10", "forward_split"),
    ]  # fmt: skip
    assert [row.historical_adjustment_factor for row in new] == [0.5, 0.125]


def test_listings_renames_and_the_state_of_the_market_are_read(client: Any) -> None:
    assert client.get_ticker_details("IPO").list_date == "2025-11-03"
    gone = next(iter(client.list_tickers(ticker="GONE", active=False)))
    assert (gone.active, gone.delisted_utc) == (False, "2025-10-31T00:00:00Z")
    assert not list(client.list_tickers(ticker="GONE"))
    events = client.get_ticker_events("META").events
    assert [(event["date"], event["ticker_change"]["ticker"]) for event in events] == [("2025-06-09", "META")]
    assert client.get_market_status().market == "open"
    with pytest.raises(BadResponse, match="Ticker not found: NONE"):
        client.get_ticker_details("NONE")


def test_a_plan_rejects_what_it_does_not_include() -> None:
    with running_fake_massive(FakeMassive(now=NOW, plan=parse_plan("free,without=splits"))) as running:
        client: Any = RESTClient(api_key=running.api_key, base=running.url, retries=0)
        rejected: list[tuple[Callable[[], Any], str]] = [
            (lambda: client.get_grouped_daily_aggs(NOW.date()), "before end of day"),
            (lambda: client.get_aggs("KO", 1, "day", "2020-01-01", "2025-11-28"), "include this data timeframe"),
            (lambda: next(iter(client.list_splits())), "not entitled to this data"),
        ]
        for call, message in rejected:
            with pytest.raises(BadResponse, match=message):
                call()
        assert len(client.get_aggs("KO", 1, "day", "2025-11-24", "2025-12-01")) == 4  # without today
        with pytest.raises(BadResponse, match="before end of day"):
            client.get_grouped_daily_aggs(NOW.date())
        with pytest.raises(MaxRetryError, match="too many 429"):  # the sixth call of the minute
            client.get_aggs("KO", 1, "day", "2025-11-24", "2025-11-28")
        make: Any = RESTClient
        bad = make(api_key="other", base=running.url, retries=0)
        with pytest.raises(BadResponse, match="Unknown API Key"):
            bad.get_aggs("KO", 1, "day", "2025-11-24", "2025-11-28")
