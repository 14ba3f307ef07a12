"""Results at a bar do not change when later bars arrive."""

from collections.abc import Callable

import numpy as np
import pytest

from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.analysis.indicators import compute, compute_last_bars
from streamworkers.analysis.patterns import detect
from streamworkers.market.bars.bars import Bars

SeriesMaker = Callable[..., Bars]
Cut = Callable[[Bars, int], Bars]
CUTS = (1, 2, 3, 15, 33, 34, 60, 141, 201, 252, 253, 317, 420, 599)


def test_default_indicators_at_a_bar_are_identical_with_and_without_later_bars(
    random_series: SeriesMaker, cut: Cut, default_indicators: list[IndicatorDefinition]
) -> None:
    series = random_series(600)
    for definition in default_indicators:
        full = compute(definition, series)
        for bars in CUTS:
            for output, values in compute(definition, cut(series, bars)).items():
                np.testing.assert_array_equal(values, full[output][:bars], err_msg=f"{definition.name} {bars}")


def test_stored_values_equal_those_of_the_series_cut_at_their_bar(
    random_series: SeriesMaker, cut: Cut, default_indicators: list[IndicatorDefinition]
) -> None:
    series = random_series(420)
    backfill = compute_last_bars(default_indicators, series, last_bars=50).values
    for bars in range(371, 421):
        nightly = compute_last_bars(default_indicators, cut(series, bars)).values
        for name, values in nightly.items():
            assert values[0] == next(value for value in backfill[name] if value.bar_index == bars - 1)


@pytest.mark.parametrize("seed", [3, 11])
def test_patterns_and_confidence_at_a_bar_are_identical_with_and_without_later_bars(
    random_series: SeriesMaker, cut: Cut, all_patterns: list[PatternDefinition], seed: int
) -> None:
    series = random_series(600, seed=seed)
    full, _ = detect(all_patterns, series, last_bars=600)
    for bars in range(1, 600, 3):
        nightly, _ = detect(all_patterns, cut(series, bars))
        assert nightly == [detection for detection in full if detection.bar_index == bars - 1]
    assert len({detection.pattern_name for detection in full}) > 40
