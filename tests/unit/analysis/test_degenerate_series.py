"""Flat prices, no volume, one bar, and any other finite bars: no warning, and no infinite result."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.analysis.indicators import compute_last_bars
from streamworkers.analysis.patterns import detect
from streamworkers.market.bars.bars import Bars

SeriesMaker = Callable[..., Bars]


def _check_all(indicators: list[IndicatorDefinition], patterns: list[PatternDefinition], series: Bars) -> None:
    found = compute_last_bars(indicators, series, last_bars=10)
    for values in found.values.values():
        for value in values:
            assert math.isfinite(value.value)
            assert all(map(math.isfinite, (value.outputs or {}).values()))
    last = {name for name, values in found.values.items() if values[-1].bar_index == len(series) - 1}
    assert last.isdisjoint(found.missing)
    assert last | set(found.missing) == {definition.name for definition in indicators}
    for detection in detect(patterns, series, last_bars=10)[0]:
        assert 0.0 <= detection.confidence <= 1.0
        assert all(0.0 <= part <= 1.0 for part in detection.metadata["parts"].values())


@pytest.mark.parametrize("bars", [0, 1, 2, 3, 5, 20, 21, 300])
@pytest.mark.parametrize("price", [0.0, 0.0001, 100.1])
@pytest.mark.parametrize("volume", [0.0, 1000.0])
def test_flat_prices_and_no_volume_are_computed_without_warnings(
    bars_of: SeriesMaker,
    default_indicators: list[IndicatorDefinition],
    all_patterns: list[PatternDefinition],
    bars: int,
    price: float,
    volume: float,
) -> None:
    series = bars_of(close=[price] * bars, volume=[volume] * bars)
    _check_all(default_indicators, all_patterns, series)


@pytest.mark.parametrize("bars", [1, 2])
def test_one_or_two_bars_give_only_results_that_need_no_more(
    random_series: SeriesMaker,
    default_indicators: list[IndicatorDefinition],
    all_patterns: list[PatternDefinition],
    bars: int,
) -> None:
    series = random_series(bars)
    found = compute_last_bars(default_indicators, series)
    # On days, each bar is a day and a session of its own.
    from_two = {"obv", "returns_1", "day_vwap", "session_vwap"}
    assert set(found.values) == ({"obv"} if bars == 1 else from_two)
    _, missing = detect(all_patterns, series)
    told = {definition.name for definition in all_patterns} - set(missing)
    assert told == (set() if bars == 1 else {"gap_up", "gap_down", "inside_bar"})


def test_prices_that_become_flat_give_no_crosses_from_rounding(
    random_series: SeriesMaker, bars_of: SeriesMaker
) -> None:
    walk = random_series(300)
    close = np.concatenate((walk.close, np.full(900, walk.close[-1]))).tolist()
    definitions = [
        PatternDefinition(name, name) for name in ("golden_cross", "death_cross", "macd_cross", "bollinger_squeeze")
    ]
    detections, missing = detect(definitions, bars_of(close=close), last_bars=500)
    assert detections == []
    assert missing == []


_price = st.floats(0.0, 1e12, allow_nan=False)
_bar = st.tuples(_price, _price, _price, _price, st.integers(0, 10**13))


@settings(max_examples=60, deadline=None)
@given(bars=st.lists(_bar, min_size=1, max_size=40), repeats=st.integers(1, 12))
def test_any_finite_bars_are_computed_without_warnings(
    default_indicators: list[IndicatorDefinition],
    all_patterns: list[PatternDefinition],
    bars: list[tuple[float, float, float, float, int]],
    repeats: int,
) -> None:
    rows = np.array(bars * repeats, dtype=np.float64).T.copy()
    times = np.datetime64("2020-12-01", "D") + np.arange(rows.shape[1])
    series = Bars(times, rows[0], rows[:4].max(axis=0), rows[:4].min(axis=0), rows[3], rows[4])
    _check_all(default_indicators, all_patterns, series)


def test_results_beyond_the_range_of_floats_are_missing_not_infinite(
    random_series: SeriesMaker,
    default_indicators: list[IndicatorDefinition],
    all_patterns: list[PatternDefinition],
) -> None:
    walk = random_series(60)
    open_, high, low, close = (prices * 1e305 for prices in (walk.open, walk.high, walk.low, walk.close))
    series = Bars(walk.times, open_, high, low, close, walk.volume)
    _check_all(default_indicators, all_patterns, series)
    assert "rolling_vwap_20" in compute_last_bars(default_indicators, series).missing
