"""Which requests serve what is wanted, and which bars are made of others. No I/O."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamworkers.loading.fetch_plan import Fetch, choose_source_timeframe, plan_fetches
from streamworkers.loading.load_rules import LoadRules, Span
from streamworkers.loading.plan import Want
from streamworkers.loading.providers.massive import Massive
from streamworkers.loading.providers.provider import BarsRequest, Page, Provider, UnsupportedError
from streamworkers.loading.providers.sample import Sample
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES, Timeframe

MINUTE, HOUR, DAY, WEEK, MONTH = TIMEFRAMES.values()
NOW = datetime(2025, 11, 26, 18, 0, tzinfo=EXCHANGE_ZONE)  # a Wednesday, after the close
TODAY = NOW.date()
RULES = LoadRules(NOW)


class HoursOnly(Provider):
    name: ClassVar[str] = "hours_only"
    native: ClassVar[frozenset[str]] = frozenset({"hour"})

    def pages(self, request: BarsRequest, cursor: str | None = None) -> Iterator[Page]:
        raise NotImplementedError


def want_of(frame: Timeframe, symbol: str = "AAPL", first: date = TODAY, last: date = TODAY) -> Want:
    return Want(0, symbol, frame, Span(first, last))


def shapes(found: list[Fetch]) -> list[tuple[str, str, str, str, str]]:
    return [
        (
            fetch.request.symbol,
            fetch.request.timeframe.name,
            str(fetch.request.first),
            str(fetch.request.last),
            " ".join(want.timeframe.name for want in fetch.wants),
        )
        for fetch in found
    ]


def test_wants_that_can_be_made_of_the_same_bars_share_a_fetch() -> None:
    everything = [want_of(frame) for frame in TIMEFRAMES.values()]
    found = plan_fetches([*everything, want_of(WEEK, "MSFT")], Massive, RULES)
    assert shapes(found) == [
        ("AAPL", "1min", "2025-11-26", "2025-11-26", "1min hour"),
        ("AAPL", "day", "2025-11-01", "2025-11-26", "day week month"),
        ("MSFT", "week", "2025-11-24", "2025-11-26", "week"),
    ]
    assert [fetch.key for fetch in found][:2] == ["AAPL:1min:2025-11-26:2025-11-26", "AAPL:day:2025-11-01:2025-11-26"]


def test_with_derive_off_the_provider_is_asked_for_each_timeframe_but_for_regular_hours() -> None:
    everything = [want_of(frame) for frame in TIMEFRAMES.values()]
    names = [shape[1] for shape in shapes(plan_fetches(everything, Massive, replace(RULES, derive=False)))]
    assert names == ["1min", "day", "week", "month"]
    extended = replace(RULES, derive=False, hours="extended")
    assert [shape[1] for shape in shapes(plan_fetches(everything, Massive, extended))] == list(TIMEFRAMES)


@pytest.mark.parametrize(
    ("hours", "anchor", "derive", "beside", "base"),
    [
        ("regular", "clock", False, (), "1min"),
        ("regular", "open", True, (), "1min"),
        ("extended", "open", False, (), "1min"),
        ("extended", "clock", True, (), "hour"),
        ("extended", "clock", True, ("1min",), "1min"),
        ("extended", "clock", False, ("1min",), "hour"),
    ],
)
def test_hours_of_the_provider_serve_only_where_they_are_the_hours_that_are_wanted(
    hours: Any, anchor: Any, derive: bool, beside: tuple[str, ...], base: str
) -> None:
    rules = replace(RULES, hours=hours, hour_anchor=anchor, derive=derive)
    assert choose_source_timeframe(HOUR, Massive, rules, beside).name == base


def test_weeks_and_months_are_made_of_days_where_the_provider_has_no_own() -> None:
    assert [choose_source_timeframe(frame, Sample, RULES).name for frame in (DAY, WEEK, MONTH)] == ["day"] * 3
    assert choose_source_timeframe(WEEK, Massive, RULES, {"week", "month"}).name == "week"
    assert choose_source_timeframe(HOUR, HoursOnly, RULES).name == "hour"


@pytest.mark.parametrize(
    ("frame", "provider", "message"),
    [
        (MINUTE, Sample, "provider sample has no 1min bars: its own are day"),
        (HOUR, Sample, "provider sample has no hour bars: its own are day"),
        (DAY, HoursOnly, "provider hours_only has no day bars: its own are hour"),
        (WEEK, HoursOnly, "provider hours_only has no week bars: its own are hour"),
    ],
)
def test_a_timeframe_that_a_provider_has_not_is_rejected(
    frame: Timeframe, provider: type[Provider], message: str
) -> None:
    with pytest.raises(UnsupportedError) as raised:
        plan_fetches([want_of(frame)], provider, RULES)
    assert str(raised.value) == message


def test_a_fetch_reaches_from_the_first_to_the_last_day_of_its_wants_and_not_into_the_future() -> None:
    wants = [
        want_of(DAY, first=date(2025, 11, 3), last=date(2025, 11, 4)),
        want_of(WEEK, first=date(2025, 10, 15), last=date(2025, 10, 15)),
    ]
    assert shapes(plan_fetches(wants, Massive, RULES)) == [("AAPL", "day", "2025-10-13", "2025-11-04", "day week")]
    future = want_of(DAY, first=date(2025, 12, 1), last=date(2030, 1, 1))
    assert shapes(plan_fetches([future], Massive, RULES)) == [("AAPL", "day", "2025-12-01", "2025-12-01", "day")]
    assert plan_fetches([], Massive, RULES) == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(TIMEFRAMES.values())),
            st.sampled_from(["AAPL", "MSFT"]),
            st.dates(date(2025, 1, 1), TODAY),
            st.integers(0, 40),
        ),
        max_size=12,
    ),
    st.booleans(),
    st.sampled_from(["regular", "extended"]),
)
def test_every_want_is_in_one_fetch_that_covers_it(
    rows: list[tuple[Timeframe, str, date, int]], derive: bool, hours: Any
) -> None:
    wants = [
        Want(number, symbol, frame, Span(first, min(first + timedelta(days=days), TODAY)))
        for number, (frame, symbol, first, days) in enumerate(rows)
    ]
    found = plan_fetches(wants, Massive, replace(RULES, derive=derive, hours=hours))
    assert sorted(want.number for fetch in found for want in fetch.wants) == list(range(len(wants)))
    assert len({fetch.key for fetch in found}) == len(found)
    for fetch in found:
        for want in fetch.wants:
            assert fetch.request.symbol == want.symbol
            assert fetch.request.first <= want.span.first <= want.span.last <= fetch.request.last
