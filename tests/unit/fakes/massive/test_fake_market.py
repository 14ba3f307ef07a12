"""The invented market: what holds of every bar, and how those of one width make those of the next."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from streamworkers.errors import BadInputError
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers_fakes.massive import FakeBars, FakeMarket, FakeSplit, parse_split
from streamworkers_fakes.massive.trading_days import MINUTE_MS, midnight_ms

MARKET = FakeMarket(seed=3)
SESSIONS = MARKET.sessions(date(2003, 9, 10), date(2026, 6, 30))
HALF_DAY = date(2025, 11, 28)
REVERSE, FORWARD = FakeSplit("CCC", date(2024, 5, 15), 10, 1), FakeSplit("AAPL", date(2025, 6, 10), 1, 4)
symbols = some.sampled_from(["AAPL", "BRK.B", "MSFT", "X", "ZZ9"])
days = some.sampled_from(SESSIONS)


def clock(bars: FakeBars, day: date) -> list[int]:
    """Minutes since 00:00 in New York of each bar."""
    return [int(minute) for minute in (bars.start_ms - midnight_ms(day)) // MINUTE_MS]


def regular(bars: FakeBars, day: date, close: int = 960) -> FakeBars:
    """The part of a day's minutes in the regular session."""
    minutes = np.array(clock(bars, day))
    return bars.part(int(np.searchsorted(minutes, 570)), int(np.searchsorted(minutes, close)))


def same(left: FakeBars, right: FakeBars) -> bool:
    """Whether every column agrees."""
    return all(np.array_equal(one, other) for one, other in zip(left.columns, right.columns, strict=True))


@given(symbols, days)
def test_every_minute_is_a_possible_bar(symbol: str, day: date) -> None:
    bars = MARKET.minutes(symbol, day)
    assert (np.diff(bars.start_ms) > 0).all()
    assert (bars.low <= np.minimum(bars.open, bars.close)).all()
    assert (bars.high >= np.maximum(bars.open, bars.close)).all()
    assert (bars.low > 0).all()
    assert (bars.volume >= 1).all()
    assert (bars.volume == np.floor(bars.volume)).all()
    assert (bars.trades >= 1).all()
    prices = np.concatenate([bars.open, bars.high, bars.low, bars.close])
    assert (np.round(prices, 2) == prices).all()


@given(symbols, days)
def test_a_day_is_the_aggregate_of_its_minutes(symbol: str, day: date) -> None:
    minutes, bars = MARKET.minutes(symbol, day), MARKET.days(symbol, day, day)
    close = MARKET.table.close_minute[MARKET.positions(symbol, day, day)[0]]
    session = regular(minutes, day, int(close))
    assert (bars.open[0], bars.close[0]) == (session.open[0], session.close[-1])
    assert (bars.high[0], bars.low[0]) == (session.high.max(), session.low.min())
    assert (bars.volume[0], bars.trades[0]) == (minutes.volume.sum(), minutes.trades.sum())
    assert bars.start_ms.tolist() == [midnight_ms(day)]
    assert len(minutes) == MARKET.minute_counts(MARKET.positions(symbol, day, day))[0]


@given(symbols, days)
def test_hours_are_the_aggregates_of_all_minutes_in_them(symbol: str, day: date) -> None:
    minutes, hours = MARKET.minutes(symbol, day), MARKET.hours(symbol, day)
    hour_of = np.array(clock(minutes, day)) // 60
    assert [minute // 60 for minute in clock(hours, day)] == sorted(set(hour_of.tolist()))
    for place, hour in enumerate(sorted(set(hour_of.tolist()))):
        members = np.flatnonzero(hour_of == hour)
        assert hours.open[place] == minutes.open[members[0]]
        assert hours.close[place] == minutes.close[members[-1]]
        assert hours.high[place] == minutes.high[members].max()
        assert hours.low[place] == minutes.low[members].min()
        assert hours.volume[place] == minutes.volume[members].sum()
        assert hours.trades[place] == minutes.trades[members].sum()
        assert minutes.low[members].min() <= hours.vwap[place] <= minutes.high[members].max()


@pytest.mark.parametrize(
    ("wider", "key"),
    [
        (MARKET.weeks, lambda day: day - timedelta(days=day.isoweekday() % 7)),
        (MARKET.months, lambda day: day.replace(day=1)),
    ],
    ids=["week", "month"],
)
def test_weeks_and_months_are_the_aggregates_of_their_days(
    wider: Callable[[str, date, date], FakeBars], key: Callable[[date], date]
) -> None:
    first, last = date(2019, 1, 1), date(2025, 12, 31)
    bars, daily = wider("AAPL", first, last), MARKET.days("AAPL", first, last)
    keys = [key(day) for day in MARKET.sessions(first, last)]
    assert bars.start_ms.tolist() == [midnight_ms(day) for day in sorted(set(keys))]
    for place, start in enumerate(sorted(set(keys))):
        members = [at for at, day in enumerate(keys) if day == start]
        assert (bars.open[place], bars.close[place]) == (daily.open[members[0]], daily.close[members[-1]])
        assert (bars.high[place], bars.low[place]) == (daily.high[members].max(), daily.low[members].min())
        assert bars.volume[place] == daily.volume[members].sum()


def test_weeks_start_on_sunday_also_where_clocks_change() -> None:
    week = MARKET.weeks("AAPL", date(2025, 11, 3), date(2025, 11, 7))
    assert datetime.fromtimestamp(week.start_ms[0] / 1000, EXCHANGE_ZONE).isoformat() == "2025-11-02T00:00:00-04:00"


def test_a_half_day_has_210_regular_minutes_and_a_post_market_until_17() -> None:
    minutes = MARKET.minutes("AAPL", HALF_DAY)
    assert len(regular(minutes, HALF_DAY, 780)) == 210
    after = [minute for minute in clock(minutes, HALF_DAY) if minute >= 780]
    assert len(after) == round(240 * 0.6)
    assert max(after) < 17 * 60


def test_a_whole_day_has_every_regular_minute_and_a_share_of_the_others() -> None:
    day = date(2025, 11, 26)
    minutes = clock(MARKET.minutes("AAPL", day), day)
    assert [minute for minute in minutes if 570 <= minute < 960] == list(range(570, 960))
    assert len([minute for minute in minutes if minute < 570]) == round(330 * 0.6)
    assert len([minute for minute in minutes if minute >= 960]) == round(240 * 0.6)
    assert (min(minutes) >= 240, max(minutes) < 1200) == (True, True)


@pytest.mark.parametrize(("share", "count"), [(0.0, 390), (1.0, 960)])
def test_the_share_of_extended_minutes_can_be_none_or_all(share: float, count: int) -> None:
    day = date(2025, 11, 26)
    market = FakeMarket(extended_share=share)
    assert len(market.minutes("AAPL", day)) == count
    assert market.days("AAPL", day, day).volume == market.minutes("AAPL", day).volume.sum()


def test_the_same_seed_gives_the_same_bars_and_another_one_others() -> None:
    day = date(2024, 3, 1)
    assert same(FakeMarket(seed=7).minutes("IBM", day), FakeMarket(seed=7).minutes("IBM", day))
    assert not same(FakeMarket(seed=7).minutes("IBM", day), FakeMarket(seed=8).minutes("IBM", day))
    assert not same(FakeMarket(seed=7).minutes("IBM", day), FakeMarket(seed=7).minutes("MSFT", day))


def test_a_day_does_not_depend_on_the_range_it_is_asked_in() -> None:
    years = MARKET.days("IBM", date(2020, 1, 1), date(2024, 12, 31))
    day = MARKET.days("IBM", date(2022, 7, 5), date(2022, 7, 5))
    place = years.start_ms.tolist().index(day.start_ms[0])
    assert same(years.part(place, place + 1), day)


def test_prices_wander_without_leaps() -> None:
    closes = MARKET.days("AAPL", date(2010, 1, 1), date(2025, 12, 31)).close
    moves = np.abs(np.diff(np.log(closes)))
    assert moves.max() < 0.12
    assert 0.002 < np.median(moves) < 0.03


@pytest.mark.parametrize("split", [FORWARD, REVERSE], ids=["forward", "reverse"])
def test_adjusted_bars_are_those_of_a_market_without_the_split(split: FakeSplit) -> None:
    market, plain = FakeMarket(splits=[split]), FakeMarket()
    first, last = split.execution_date - timedelta(days=90), split.execution_date + timedelta(days=90)
    adjusted, never = market.days(split.ticker, first, last, adjusted=True), plain.days(split.ticker, first, last)
    assert np.allclose(adjusted.close, never.close, rtol=0.01)
    assert np.allclose(adjusted.volume, never.volume, rtol=0.01)
    raw = market.days(split.ticker, first, last)
    before = raw.start_ms < midnight_ms(split.execution_date)
    assert np.allclose(raw.close[before] / split.ratio, adjusted.close[before], atol=5e-5)
    assert np.allclose(raw.volume[before] * split.ratio, adjusted.volume[before])
    assert np.array_equal(raw.close[~before], adjusted.close[~before])
    assert (np.isclose(raw.close[before], never.close[before], rtol=0.2)).sum() == 0


def test_a_split_does_not_adjust_before_its_day() -> None:
    market = FakeMarket(splits=[FORWARD])
    day = date(2025, 6, 2)
    evening, morning = datetime(2025, 6, 9, 23, tzinfo=EXCHANGE_ZONE), datetime(2025, 6, 10, 1, tzinfo=EXCHANGE_ZONE)
    assert market.ratio("AAPL", day, evening) == 1.0
    assert market.ratio("AAPL", day, morning) == 4.0
    assert same(market.minutes("AAPL", day, now=evening, adjusted=True), market.minutes("AAPL", day))
    assert np.allclose(market.hours("AAPL", day, adjusted=True).close * 4, market.hours("AAPL", day).close)


def test_several_splits_multiply() -> None:
    market = FakeMarket(splits=[FakeSplit("AAPL", date(2025, 8, 1), 2, 3), FORWARD, REVERSE])
    assert market.ratio("AAPL", date(2025, 6, 9)) == 6.0
    assert market.ratio("AAPL", date(2025, 6, 10)) == 1.5
    assert market.ratio("CCC", date(2024, 5, 14)) == 0.1


@given(days, some.integers(0, 24 * 60))
def test_an_unfinished_day_is_the_aggregate_of_its_minutes_so_far(day: date, minute: int) -> None:
    now = datetime.fromtimestamp(midnight_ms(day) / 1000, UTC) + timedelta(minutes=minute)
    minutes = MARKET.minutes("AAPL", day, now=now)
    assert all(start + 1 <= minute for start in clock(minutes, day))
    close = int(MARKET.table.close_minute[MARKET.positions("AAPL", day, day)[0]])
    session, found = regular(minutes, day, close), MARKET.days("AAPL", day, day, now=now)
    assert len(found) == min(len(session), 1)
    if len(found):
        assert (found.open[0], found.close[0]) == (session.open[0], session.close[-1])
        assert found.volume[0] == minutes.volume.sum()
    if minute >= 20 * 60:
        assert same(found, MARKET.days("AAPL", day, day))


def test_nothing_exists_after_now() -> None:
    now = datetime(2025, 11, 26, 12, 30, tzinfo=EXCHANGE_ZONE)
    assert len(MARKET.minutes("AAPL", HALF_DAY, now=now)) == 0
    last = MARKET.days("AAPL", date(2025, 11, 1), date(2026, 3, 1), now=now)
    assert last.start_ms[-1] == midnight_ms(now.date())
    assert clock(MARKET.hours("AAPL", now.date(), now=now), now.date())[-1] == 12 * 60


def test_grouped_bars_are_the_days_of_all_symbols() -> None:
    day = date(2025, 6, 2)
    market = FakeMarket(splits=[FORWARD], unknown=["MSFT"], listed_from={"IBM": date(2025, 6, 3)})
    for now in (None, datetime(2025, 6, 30, tzinfo=UTC), datetime(2025, 6, 2, 15, tzinfo=UTC)):
        for adjusted in (False, True):
            names, bars = market.grouped(day, now=now, adjusted=adjusted)
            assert set(market.symbols) - set(names) == {"MSFT", "IBM"}
            for place, name in enumerate(names):
                alone = market.days(name, day, day, now=now, adjusted=adjusted)
                assert same(alone, bars.part(place, place + 1))


def test_a_day_without_a_session_has_no_bars() -> None:
    for day in (date(2025, 11, 27), date(2025, 11, 29)):
        assert len(MARKET.minutes("AAPL", day)) == len(MARKET.days("AAPL", day, day)) == 0
        assert len(MARKET.hours("AAPL", day)) == len(MARKET.weeks("AAPL", day, day)) == 0
        assert MARKET.grouped(day)[0] == ()


def test_bars_begin_where_a_symbol_is_listed_and_unknown_ones_have_none() -> None:
    market = FakeMarket(unknown=["NONE"], listed_from={"NEW": date(2025, 3, 15)})
    assert len(market.days("NONE", date(2003, 1, 1), date(2025, 1, 1))) == 0
    assert market.days("NEW", date(2003, 1, 1), date(2025, 12, 31)).start_ms[0] == midnight_ms(date(2025, 3, 17))
    assert len(market.minutes("NEW", date(2025, 3, 14))) == 0


@pytest.mark.parametrize(
    "text", ["AAPL:2025-06-10:1:4", "BRK.B:2010-01-21:1:50", "X:2024-05-15:10:1", "Y:2020-01-02:1.5:2"]
)
def test_a_split_is_read_from_text(text: str) -> None:
    split = parse_split(text)
    assert f"{split.ticker}:{split.execution_date}:{split.split_from:g}:{split.split_to:g}" == text


@pytest.mark.parametrize(
    "text", ["AAPL", "AAPL:2025-13-10:1:4", "AAPL:2025-06-10:1", ":2025-06-10:1:4", "A:2025-06-10:1.2.3:4"]
)
def test_another_text_is_no_split(text: str) -> None:
    with pytest.raises(BadInputError) as rejected:
        parse_split(text)
    assert str(rejected.value) == f"split {text!r} is not TICKER:YYYY-MM-DD:FROM:TO, as AAPL:2025-06-10:1:4"


def test_a_split_of_nothing_is_rejected() -> None:
    with pytest.raises(BadInputError) as rejected:
        parse_split("AAPL:2025-06-10:0:4")
    assert str(rejected.value) == "split of AAPL: 0:4 has a part not above 0"


def test_a_share_beyond_1_is_rejected() -> None:
    with pytest.raises(BadInputError) as rejected:
        FakeMarket(extended_share=1.2)
    assert str(rejected.value) == "extended_share is 1.2; it must be from 0 to 1"
