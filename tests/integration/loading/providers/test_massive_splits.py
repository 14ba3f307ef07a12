"""The provider `massive`: splits, and the day of all symbols."""

from datetime import date, timedelta
from typing import Any

import pytest

from massive_source import (
    FIRST,
    KEY,
    LAST,
    NOW,
    answer,
    asked,
    bar,
    bars_answer,
    bars_of,
    ms,
    provider,
    require_same,
    scripted,
)
from streamworkers.errors import ItemError
from streamworkers.loading.providers import provider as providers
from streamworkers.loading.providers.provider import (
    BadPayloadError,
    PlanError,
    TransientError,
    UnsupportedError,
)
from streamworkers.market.bars.rules import Rule
from streamworkers.market.calendar.windows import days_since_epoch
from streamworkers_fakes.massive import (
    FakeMassive,
    FakeSplit,
    RunningFakeMassive,
    running_fake_massive,
)


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
