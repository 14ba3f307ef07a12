"""Each chart pattern detector: a crafted example, its nearest counterexample, and the bars it needs."""

from collections.abc import Callable

import numpy as np
import pytest

from streamworkers.analysis import chart_patterns as charts
from streamworkers.analysis.definitions import PatternDefinition
from streamworkers.analysis.patterns import detect
from streamworkers.market.bars.bars import Bars

SeriesMaker = Callable[..., Bars]


def _fired(signals: charts.SignalArray) -> dict[int, int]:
    assert signals.dtype == np.int32
    return {int(index): int(signals[index]) for index in np.flatnonzero(signals)}


def test_golden_cross_fires_once_where_the_fast_mean_rises_above_the_slow(bars_of: SeriesMaker) -> None:
    series = bars_of(close=[10.0, 9.0, 8.0, 7.0, 9.0, 12.0, 13.0, 14.0])
    # Means of 2 and 4 bars: 7.5 and 8.5, 8 and 8.25, then 10.5 and 9.
    assert _fired(charts.golden_cross(series, fast=2, slow=4)) == {5: 100}
    assert _fired(charts.death_cross(series, fast=2, slow=4)) == {}


def test_death_cross_fires_once_where_the_fast_mean_falls_below_the_slow(bars_of: SeriesMaker) -> None:
    series = bars_of(close=[10.0, 11.0, 12.0, 13.0, 11.0, 8.0, 7.0, 6.0])
    assert _fired(charts.death_cross(series, fast=2, slow=4)) == {5: -100}
    assert _fired(charts.golden_cross(series, fast=2, slow=4)) == {}


def test_crosses_by_default_compare_50_and_200_bars(random_series: SeriesMaker) -> None:
    series = random_series(900)
    difference = [series.close[end - 50 : end].mean() - series.close[end - 200 : end].mean() for end in range(200, 901)]
    sides = np.sign(difference)
    expected = {199 + i: int(sides[i]) * 100 for i in range(1, 701) if sides[i] != sides[i - 1]}
    assert _fired(charts.golden_cross(series) + charts.death_cross(series)) == expected
    assert set(expected.values()) == {100, -100}


def test_a_new_52_week_high_is_above_all_251_highs_before_it(bars_of: SeriesMaker) -> None:
    quiet = [100.0] * 251
    assert _fired(charts.new_52_week_high(bars_of(close=[*quiet, 100.01]))) == {251: 100}
    assert _fired(charts.new_52_week_high(bars_of(close=[*quiet, 100.0]))) == {}
    assert _fired(charts.new_52_week_high(bars_of(close=[*quiet[1:], 100.01]))) == {}
    forgotten = bars_of(close=[200.0, *quiet, 100.01])
    assert _fired(charts.new_52_week_high(forgotten)) == {252: 100}
    remembered = bars_of(close=[*quiet[:100], 200.0, *quiet[:150], 100.01])
    assert _fired(charts.new_52_week_high(remembered)) == {}


def test_a_new_52_week_low_is_below_all_251_lows_before_it(bars_of: SeriesMaker) -> None:
    quiet = [100.0] * 251
    assert _fired(charts.new_52_week_low(bars_of(close=[*quiet, 99.99]))) == {251: -100}
    assert _fired(charts.new_52_week_low(bars_of(close=[*quiet, 100.0]))) == {}
    assert _fired(charts.new_52_week_low(bars_of(close=[*quiet[1:], 99.99]))) == {}


@pytest.mark.parametrize(("opening", "expected"), [(112.3, {1: 100}), (112.0, {}), (100.0, {})])
def test_gap_up_opens_by_more_than_the_percentage_above_the_previous_high(
    bars_of: SeriesMaker, opening: float, expected: dict[int, int]
) -> None:
    series = bars_of(open=[100.0, opening], high=[110.0, 115.0], low=[95.0, 99.0], close=[105.0, 114.0])
    assert _fired(charts.gap_up(series, min_percent=2.0)) == expected
    assert _fired(charts.gap_down(series, min_percent=2.0)) == {}


@pytest.mark.parametrize(("opening", "expected"), [(92.9, {1: -100}), (93.2, {}), (110.0, {})])
def test_gap_down_opens_by_more_than_the_percentage_below_the_previous_low(
    bars_of: SeriesMaker, opening: float, expected: dict[int, int]
) -> None:
    series = bars_of(open=[100.0, opening], high=[105.0, 111.0], low=[95.0, 90.0], close=[101.0, 94.0])
    assert _fired(charts.gap_down(series, min_percent=2.0)) == expected
    assert _fired(charts.gap_up(series, min_percent=20.0)) == {}


@pytest.mark.parametrize(
    ("high", "low", "expected"), [(109.0, 96.0, {1: 100}), (110.0, 96.0, {}), (109.0, 95.0, {}), (115.0, 90.0, {})]
)
def test_inside_bar_lies_strictly_within_the_bar_before(
    bars_of: SeriesMaker, high: float, low: float, expected: dict[int, int]
) -> None:
    series = bars_of(close=[100.0, 100.0], high=[110.0, high], low=[95.0, low])
    assert _fired(charts.inside_bar(series)) == expected


def test_nr7_is_the_strictly_narrowest_of_seven(bars_of: SeriesMaker) -> None:
    widths = [0.5, 3.0, 4.0, 5.0, 3.0, 4.0, 3.0, 2.0, 2.0]
    series = bars_of(close=[100.0] * 9, high=[100.0 + width for width in widths], low=[100.0] * 9)
    assert _fired(charts.nr7(series)) == {7: 100}
    assert _fired(charts.nr7(series, bars=8)) == {}


def test_nr7_ignores_rounding(bars_of: SeriesMaker) -> None:
    high, low = [1.1] * 6 + [100.3], [1.0] * 6 + [100.2]
    assert high[-1] - low[-1] < high[0] - low[0]  # both are ten cents
    assert _fired(charts.nr7(bars_of(close=high, high=high, low=low))) == {}


def test_bollinger_squeeze_fires_only_when_the_bands_reach_their_lowest_width(
    bars_of: SeriesMaker,
) -> None:
    wild, calm = [100.0 + 10 * (-1) ** i for i in range(20)], [100.0 + 0.1 * (-1) ** i for i in range(8)]
    wider = [100.0 + 12 * (-1) ** i for i in range(4)]
    series = bars_of(close=wild + wider + calm)
    # Bar 25 is the first whose four closes spread less than before; the bars after it spread even less.
    assert _fired(charts.bollinger_squeeze(series, period=4, window=10)) == {25: 100}
    growing = bars_of(close=[100.0 + i * (-1) ** i for i in range(40)])
    assert _fired(charts.bollinger_squeeze(growing, period=4, window=10)) == {}


def test_macd_cross_fires_both_ways(bars_of: SeriesMaker) -> None:
    falling, rising = np.linspace(100.0, 60.0, 60), np.linspace(60.0, 100.0, 30)
    up = _fired(charts.macd_cross(bars_of(close=[*falling, *rising])))
    assert [value for index, value in up.items() if 60 <= index < 66] == [100]
    down = _fired(charts.macd_cross(bars_of(close=[*(200 - falling), *(200 - rising)])))
    assert [value for index, value in down.items() if 60 <= index < 66] == [-100]
    assert _fired(charts.macd_cross(bars_of(close=[100.0] * 90))) == {}


@pytest.mark.parametrize(
    ("volume", "close", "expected"),
    [(3000.0, 11.0, {20: 100}), (3000.0, 9.0, {20: -100}), (2999.0, 11.0, {}), (3000.0, 10.0, {})],
)
def test_volume_spike_is_three_times_the_previous_mean_in_the_direction_of_its_bar(
    bars_of: SeriesMaker, volume: float, close: float, expected: dict[int, int]
) -> None:
    series = bars_of(open=[10.0] * 21, close=[10.0] * 20 + [close], volume=[1000.0] * 20 + [volume])
    assert _fired(charts.volume_spike(series)) == expected


@pytest.mark.parametrize(
    ("function", "bars"),
    [
        ("golden_cross", 201), ("death_cross", 201), ("new_52_week_high", 252), ("new_52_week_low", 252),
        ("gap_up", 2), ("gap_down", 2), ("inside_bar", 2), ("nr7", 7), ("bollinger_squeeze", 140),
        ("macd_cross", 35), ("volume_spike", 21),
    ],
)  # fmt: skip
def test_a_detector_with_too_few_bars_is_named_as_missing(random_series: SeriesMaker, function: str, bars: int) -> None:
    definition = PatternDefinition("x", function)
    assert detect([definition], random_series(bars - 1))[1] == ["x"]
    assert detect([definition], random_series(bars))[1] == []


@pytest.mark.parametrize("function", sorted(charts.CHART_PATTERNS))
def test_no_detector_has_a_signal_before_its_bars_needed(random_series: SeriesMaker, function: str) -> None:
    pattern = charts.CHART_PATTERNS[function]
    needed = pattern.bars_needed(pattern.complete_params({}))
    fired = [_fired(pattern.detect(random_series(900, seed=seed))) for seed in range(12)]
    assert min(min(found, default=900) for found in fired) >= needed - 1
    assert any(fired)
