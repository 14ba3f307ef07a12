"""Own indicators compared with formulas written out bar by bar and with TA-Lib, and edge cases."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import talib
from numpy.typing import NDArray

from streamworkers.analysis import own_indicators as own
from streamworkers.analysis.rolling import rolling_sum
from streamworkers.market.bars.bars import Bars
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE

SeriesMaker = Callable[..., Bars]


def _agree(found: NDArray[np.float64], expected: list[float]) -> None:
    assert np.isfinite(expected).any()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("period", [1, 2, 3, 7, 20, 64, 100])
@pytest.mark.parametrize("bars", [1, 19, 20, 100])
def test_a_rolling_sum_is_the_exact_sum_of_each_window(random_series: SeriesMaker, bars: int, period: int) -> None:
    values = random_series(bars).close
    expected = [math.fsum(values[end - period : end]) if end >= period else math.nan for end in range(1, bars + 1)]
    np.testing.assert_allclose(rolling_sum(values, period), expected, rtol=1e-13)


def test_a_rolling_sum_forgets_a_huge_value_that_left_its_window() -> None:
    values = np.array([1e17, 0.1, 0.2, 0.3])
    assert rolling_sum(values, 2).tolist()[2:] == [pytest.approx(0.3), pytest.approx(0.5)]


def test_relative_volume_leaves_the_bar_itself_out_of_the_mean(bars_of: SeriesMaker) -> None:
    series = bars_of(close=[10.0] * 4, volume=[100.0, 200.0, 300.0, 800.0])
    assert own.relative_volume(series, period=3).tolist()[3] == 4.0
    assert np.isnan(own.relative_volume(series, period=3)[:3]).all()


def test_relative_volume_equals_ta_libs(random_series: SeriesMaker) -> None:
    series = random_series(300)
    _agree(own.relative_volume(series), talib.RVOL(series.volume, 20).tolist())


def test_relative_volume_after_only_zero_volume_is_not_defined(bars_of: SeriesMaker) -> None:
    series = bars_of(close=[10.0] * 4, volume=[0.0, 0.0, 0.0, 800.0])
    assert np.isnan(own.relative_volume(series, period=3)).all()


def test_distances_from_the_52_week_extremes_are_percentages_of_them(bars_of: SeriesMaker) -> None:
    series = bars_of(close=[95.0, 120.0, 90.0], high=[100.0, 150.0, 95.0], low=[90.0, 110.0, 80.0])
    assert own.high_52w_distance(series, period=2)[1:].tolist() == [
        pytest.approx(-20.0),
        pytest.approx(-40.0),
    ]
    assert own.low_52w_distance(series, period=2)[1:].tolist() == [
        pytest.approx(100.0 / 3),
        pytest.approx(12.5),
    ]


def test_distances_need_their_whole_window(random_series: SeriesMaker) -> None:
    series = random_series(252)
    for function in (own.high_52w_distance, own.low_52w_distance):
        assert np.isfinite(function(series)).tolist() == [False] * 251 + [True]


def test_rolling_vwap_is_the_volume_weighted_typical_price_of_its_window(random_series: SeriesMaker) -> None:
    series = random_series(300)
    typical = (series.high + series.low + series.close) / 3
    expected = [math.nan] * 19 + [
        math.fsum(typical[end - 20 : end] * series.volume[end - 20 : end]) / math.fsum(series.volume[end - 20 : end])
        for end in range(20, 301)
    ]
    _agree(own.rolling_vwap(series), expected)


@pytest.mark.parametrize(("anchor", "months"), [("year", 12), ("quarter", 3), ("month", 1)])
def test_anchored_vwap_restarts_with_each_period_and_not_before_the_first(
    random_series: SeriesMaker, anchor: str, months: int
) -> None:
    series = random_series(800, first_day="2022-02-10")
    days = series.times.astype("datetime64[D]").tolist()
    units = [(day.year * 12 + day.month - 1) // months for day in days]
    expected = []
    for index, unit in enumerate(units):
        begin = units.index(unit)
        window = slice(begin, index + 1)
        typical = (series.high[window] + series.low[window] + series.close[window]) / 3
        total = math.fsum(series.volume[window])
        expected.append(math.fsum(typical * series.volume[window]) / total if begin > 0 else math.nan)
    assert sum(map(math.isnan, expected)) > 0
    _agree(own.anchored_vwap(series, anchor=anchor), expected)


def test_anchored_vwap_skips_a_month_without_bars(bars_of: SeriesMaker) -> None:
    series = bars_of(close=[10.0, 20.0, 30.0])
    series.times[:] = np.array(["2024-01-31", "2024-04-01", "2024-04-02"], dtype="datetime64[D]")
    found = own.anchored_vwap(series, anchor="month")
    assert np.isnan(found[0])
    assert found[1:].tolist() == [20.0, 25.0]


def _intraday(bars_of: SeriesMaker, first: str, hours: int, minutes: int) -> Bars:
    """Bars every so many minutes, from a moment in New York on, that never pause."""
    begin = datetime.fromisoformat(first).replace(tzinfo=EXCHANGE_ZONE).timestamp()
    count = hours * 60 // minutes
    rng = np.random.default_rng(3)
    series = bars_of(close=rng.uniform(90, 110, count).tolist(), volume=rng.integers(0, 50, count).tolist())
    starts = (begin + 60 * minutes * np.arange(count)) * 1000
    return replace(series, times=starts.astype(np.int64).view("datetime64[ms]"))


@pytest.mark.parametrize(("anchor", "opens", "closes"), [("day", 0, 24 * 60), ("session", 9 * 60 + 30, 16 * 60)])
@pytest.mark.parametrize("first", ["2024-03-08T07:00", "2024-11-01T07:00"])
def test_vwap_of_a_day_or_session_begins_anew_in_new_york_also_when_clocks_change(
    bars_of: SeriesMaker, anchor: str, opens: int, closes: int, first: str
) -> None:
    series = _intraday(bars_of, first, 24 * 5, 15)
    moments = [datetime.fromtimestamp(start / 1000, UTC).astimezone(EXCHANGE_ZONE) for start in series.starts.tolist()]
    expected = []
    for index, moment in enumerate(moments):
        inside = [
            place
            for place, other in enumerate(moments[: index + 1])
            if other.date() == moment.date() and opens <= other.hour * 60 + other.minute < closes
        ]
        total = math.fsum(series.volume[inside])
        has_value = index in inside and moment.date() != moments[0].date() and total > 0
        expected.append(math.fsum(series.close[inside] * series.volume[inside]) / total if has_value else math.nan)
    assert sum(map(math.isnan, expected)) < len(expected)
    _agree(own.anchored_vwap(series, anchor=anchor), expected)


def test_the_hour_that_holds_the_opening_begins_the_session(bars_of: SeriesMaker) -> None:
    series = _intraday(bars_of, "2024-03-04T16:00", 24, 60)
    found = np.isfinite(own.anchored_vwap(replace(series, volume=np.ones(24)), anchor="session"))
    assert np.flatnonzero(found).tolist() == list(range(17, 24))


def test_a_bar_of_a_day_is_its_own_session(bars_of: SeriesMaker) -> None:
    series = bars_of(close=[10.0, 20.0, 30.0])
    for anchor in ("day", "session"):
        assert own.anchored_vwap(series, anchor=anchor)[1:].tolist() == [20.0, 30.0]


def test_vwap_from_the_start_includes_the_first_bar(bars_of: SeriesMaker) -> None:
    series = bars_of(close=[10.0, 20.0], volume=[1.0, 3.0])
    assert own.anchored_vwap(series, anchor="start").tolist() == [10.0, 17.5]


def test_vwap_without_volume_is_not_defined(bars_of: SeriesMaker) -> None:
    series = bars_of(close=[10.0] * 3, volume=[0.0] * 3)
    assert np.isnan(own.rolling_vwap(series, period=2)).all()
    assert np.isnan(own.anchored_vwap(series, anchor="start")).all()


def test_returns_are_fractions(bars_of: SeriesMaker) -> None:
    series = bars_of(close=[100.0, 102.0, 51.0])
    assert own.returns(series)[1:].tolist() == [pytest.approx(0.02), -0.5]
    assert own.returns(series, period=2)[2] == pytest.approx(-0.49)
    assert np.isnan(own.returns(series, period=2)[:2]).all()


def test_returns_agree_with_the_closes_of_a_random_walk(random_series: SeriesMaker) -> None:
    close = random_series(300).close.tolist()
    expected = [math.nan] * 21 + [close[i] / close[i - 21] - 1 for i in range(21, 300)]
    _agree(own.returns(random_series(300), period=21), expected)


def test_cmf_equals_ta_libs(random_series: SeriesMaker) -> None:
    series = random_series(300)
    _agree(own.cmf(series), talib.CMF(series.high, series.low, series.close, series.volume, 20).tolist())


def test_cmf_counts_a_bar_without_a_range_as_closed_in_its_middle(bars_of: SeriesMaker) -> None:
    series = bars_of(close=[12.0, 10.0], high=[12.0, 10.0], low=[8.0, 10.0], volume=[100.0, 300.0])
    assert own.cmf(series, period=2)[1] == 0.25


def test_cmf_without_volume_is_not_defined(bars_of: SeriesMaker) -> None:
    assert np.isnan(own.cmf(bars_of(close=[10.0] * 3, volume=[0.0] * 3), period=2)).all()


def test_keltner_is_the_ema_of_the_close_and_two_atrs_around_it(random_series: SeriesMaker) -> None:
    series = random_series(300)
    upper, middle, lower = own.keltner(series, period=5, atr_period=12)
    atr = talib.ATR(series.high, series.low, series.close, 12)
    np.testing.assert_array_equal(middle[12:], talib.EMA(series.close, 5)[12:])
    np.testing.assert_allclose(upper[12:] - middle[12:], 2 * atr[12:], rtol=1e-9)
    np.testing.assert_allclose(middle[12:] - lower[12:], 2 * atr[12:], rtol=1e-9)
    assert np.isnan(np.stack([upper, middle, lower])[:, :12]).all()


def test_donchian_equals_ta_libs(random_series: SeriesMaker) -> None:
    series = random_series(300)
    for found, expected in zip(own.donchian(series), talib.DONCHIAN(series.high, series.low, 20), strict=True):
        _agree(found, expected.tolist())


def _plain_supertrend(series: Bars, period: int, multiplier: float) -> tuple[list[float], list[float]]:
    middle = (series.high + series.low) / 2
    reach = multiplier * talib.ATR(series.high, series.low, series.close, period)
    upper, lower, close = (middle + reach).tolist(), (middle - reach).tolist(), series.close.tolist()
    values, directions = [math.nan] * period, [math.nan] * period
    top, bottom, side = upper[period], lower[period], 1
    for index in range(period, len(close)):
        if index > period:
            top = upper[index] if upper[index] < top or close[index - 1] > top else top
            bottom = lower[index] if lower[index] > bottom or close[index - 1] < bottom else bottom
            side = (-1 if close[index] < bottom else 1) if side > 0 else (1 if close[index] > top else -1)
        values.append(bottom if side > 0 else top)
        directions.append(side)
    return values, directions


def test_supertrend_follows_the_tightening_band_until_the_close_crosses_it(random_series: SeriesMaker) -> None:
    series = random_series(500)
    value, direction = own.supertrend(series, period=10, multiplier=2.0)
    expected_value, expected_direction = _plain_supertrend(series, 10, 2.0)
    _agree(value, expected_value)
    np.testing.assert_array_equal(direction, expected_direction)
    assert set(direction[10:].tolist()) == {1.0, -1.0}
