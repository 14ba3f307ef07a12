"""A volume that is not known: its indicators have no value, and all others the same one."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.analysis.indicators import compute
from streamworkers.analysis.patterns import detect
from streamworkers.market.bars.aggregate import Aggregator
from streamworkers.market.bars.bars import UNKNOWN_VOLUME, Bars, whole_volume

OF_THE_VOLUME = {"AD", "ADOSC", "OBV", "MFI", "CORREL", "relative_volume", "rolling_vwap", "anchored_vwap", "cmf"}


def without_volume(series: Bars, places: slice) -> Bars:
    volume = series.volume.copy()
    volume[places] = np.nan
    return replace(series, volume=volume)


@pytest.mark.parametrize("places", [slice(None), slice(300, 301), slice(0, 1)], ids=["all", "one", "first"])
def test_only_indicators_of_the_volume_have_no_value_without_it(
    default_indicators: list[IndicatorDefinition], random_series: Callable[..., Bars], places: slice
) -> None:
    series = random_series(400)
    unknown = without_volume(series, places)
    unknown.require_valid("A")
    first = places.start or 0
    seen = set()
    for definition in default_indicators:
        known, found = compute(definition, series), compute(definition, unknown)
        for name, values in found.items():
            if definition.function not in OF_THE_VOLUME:
                np.testing.assert_array_equal(values, known[name])
                continue
            seen.add(definition.function)
            np.testing.assert_array_equal(values[:first], known[name][:first])
            # `relative_volume` divides by the volumes before the bar.
            assert np.isnan(values[first])
            both = np.isfinite(values)
            np.testing.assert_allclose(values[both], known[name][both])
            if places == slice(None):
                assert not both.any()
    assert seen >= {"OBV", "MFI", "relative_volume", "rolling_vwap", "anchored_vwap", "cmf"}


def test_cumulative_indicators_have_no_value_after_a_bar_of_unknown_volume(random_series: Callable[..., Bars]) -> None:
    unknown = without_volume(random_series(400), slice(300, 301))
    for function in ("OBV", "AD", "MFI"):
        (values,) = compute(IndicatorDefinition("x", function, {}), unknown).values()
        assert np.isnan(values[300:]).all()
        assert np.isfinite(values[200:300]).all()


def test_patterns_are_found_without_a_volume_but_for_those_of_it(
    all_patterns: list[PatternDefinition], random_series: Callable[..., Bars]
) -> None:
    series = random_series(300)
    known, _ = detect(all_patterns, series, 100)
    found, _ = detect(all_patterns, without_volume(series, slice(None)), 100)
    names = {(each.pattern_name, each.bar_index) for each in known if each.pattern_name != "volume_spike"}
    assert names - {(each.pattern_name, each.bar_index) for each in found} == set()
    assert all(0 <= each.confidence <= 1 for each in found)
    assert "volume_spike" not in {each.pattern_name for each in found}


def test_a_wide_bar_of_one_that_is_not_known_is_not_known(random_series: Callable[..., Bars]) -> None:
    bars = whole_volume(without_volume(random_series(30), slice(3, 4)))
    assert bars.volume[3] == UNKNOWN_VOLUME
    wide = Aggregator(lambda starts: starts - starts % 10)
    found = wide.add(bars), wide.finish()
    volumes = [volume for part in found for volume in part.volume.tolist()]
    assert volumes.count(UNKNOWN_VOLUME) == 1
    assert sum(volumes) - UNKNOWN_VOLUME <= int(bars.volume.sum()) - UNKNOWN_VOLUME
