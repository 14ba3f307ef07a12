"""Detections: TA-Lib's signals, directions, thresholds, order, and missing patterns."""

from collections.abc import Callable

import numpy as np
import pytest
import talib

from streamworkers.analysis.definitions import PatternDefinition
from streamworkers.analysis.patterns import Detection, detect
from streamworkers.analysis.ta_functions import candle_functions
from streamworkers.errors import BadInputError
from streamworkers.market.bars.bars import Bars

SeriesMaker = Callable[..., Bars]
NEUTRAL = {
    "CDLDOJI", "CDLLONGLEGGEDDOJI", "CDLDRAGONFLYDOJI", "CDLGRAVESTONEDOJI", "CDLRICKSHAWMAN", "CDLTAKURI",
    "CDLHIGHWAVE", "CDLSPINNINGTOP", "CDLSHORTLINE",
}  # fmt: skip


def _then(bars_of: SeriesMaker, *last: tuple[float, float, float, float]) -> Bars:
    """Twenty falling bars with bodies of 1 and ranges of 2, then the given (open, high, low, close) bars."""
    falling = [(120.0 - i, 120.5 - i, 118.5 - i, 119.0 - i) for i in range(20)]
    columns = zip(*(falling + list(last)), strict=True)
    return bars_of(**dict(zip(("open", "high", "low", "close"), map(list, columns), strict=True)))


@pytest.mark.parametrize("function", candle_functions())
def test_every_candle_signal_equals_ta_libs_on_the_same_arrays(random_series: SeriesMaker, function: str) -> None:
    series = random_series(3000)
    signals = getattr(talib, function)(series.open, series.high, series.low, series.close)
    found, missing = detect([PatternDefinition("x", function)], series, last_bars=3000)
    assert {one.bar_index: one.signal for one in found} == {
        int(index): int(signals[index]) for index in np.flatnonzero(signals)
    }
    assert missing == []
    for one in found:
        expected = "neutral" if function in NEUTRAL else "bullish" if one.signal > 0 else "bearish"
        assert one.direction == expected


def test_a_bullish_engulfing_bar_is_bullish(bars_of: SeriesMaker) -> None:
    found, _ = detect([PatternDefinition("engulfing", "CDLENGULFING")], _then(bars_of, (99.0, 102.0, 98.9, 101.5)))
    assert [(one.pattern_name, one.bar_index, one.direction, one.signal) for one in found] == [
        ("engulfing", 20, "bullish", 100)
    ]


@pytest.mark.parametrize(
    ("function", "bar"),
    [
        ("CDLDOJI", (100.0, 101.0, 99.0, 100.0)),
        ("CDLGRAVESTONEDOJI", (100.0, 102.0, 100.0, 100.0)),
        ("CDLDRAGONFLYDOJI", (100.0, 100.0, 98.0, 100.0)),
    ],
)
def test_a_doji_is_neutral_although_its_signal_is_positive(
    bars_of: SeriesMaker, function: str, bar: tuple[float, float, float, float]
) -> None:
    (one,) = detect([PatternDefinition("x", function)], _then(bars_of, bar))[0]
    assert (one.signal, one.direction) == (100, "neutral")
    assert set(one.metadata["parts"]) == {"volume", "range"}


def test_pattern_params_reach_ta_lib(bars_of: SeriesMaker) -> None:
    # A long black bar, a small one below it, and a white one that closes 30 % into the first.
    star = _then(bars_of, (100.0, 100.2, 94.8, 95.0), (93.0, 93.4, 92.6, 93.2), (94.0, 97.0, 93.8, 96.9))
    shallow = PatternDefinition("shallow", "CDLMORNINGSTAR", {"penetration": 0.3})
    deep = PatternDefinition("deep", "CDLMORNINGSTAR", {"penetration": 0.6})
    assert [one.pattern_name for one in detect([shallow, deep], star)[0]] == ["shallow"]


def test_detections_below_the_threshold_are_left_out(random_series: SeriesMaker) -> None:
    series = random_series(500)
    everything, _ = detect([PatternDefinition("x", "CDLENGULFING")], series, last_bars=500)
    confidences = sorted(one.confidence for one in everything)
    threshold = confidences[len(confidences) // 2]
    kept, _ = detect([PatternDefinition("x", "CDLENGULFING", {}, threshold)], series, last_bars=500)
    assert kept == [one for one in everything if one.confidence >= threshold]
    assert 0 < len(kept) < len(everything)
    assert threshold in {one.confidence for one in kept}


def test_metadata_holds_the_parts_of_the_confidence(random_series: SeriesMaker) -> None:
    found, _ = detect([PatternDefinition("x", "CDLENGULFING")], random_series(500), last_bars=500)
    for one in found[5:]:
        assert one.metadata["confidence_method"] == "rule-v1"
        assert one.metadata["function"] == "CDLENGULFING"
        assert set(one.metadata["parts"]) == {"trend", "confirmation", "volume", "range"}
        assert all(part == round(part, 4) for part in one.metadata["parts"].values())
        assert one.confidence == round(one.confidence, 4)


def test_only_the_last_bars_are_reported_in_the_order_of_definitions_then_bars(
    random_series: SeriesMaker, all_patterns: list[PatternDefinition]
) -> None:
    series = random_series(400)
    everything, _ = detect(all_patterns, series, last_bars=400)
    some, _ = detect(all_patterns, series, last_bars=30)
    assert some == [one for one in everything if one.bar_index >= 370]
    names = [definition.name for definition in all_patterns]
    order = [(names.index(one.pattern_name), one.bar_index) for one in everything]
    assert order == sorted(order)


def test_a_candle_with_too_few_bars_is_missing_and_the_others_are_not(random_series: SeriesMaker) -> None:
    definitions = [PatternDefinition("engulfing", "CDLENGULFING"), PatternDefinition("doji", "CDLDOJI")]
    assert detect(definitions, random_series(10))[1] == ["doji"]
    assert detect(definitions, random_series(11))[1] == []
    assert detect(definitions, random_series(0)) == ([], ["engulfing", "doji"])


def test_zero_last_bars_are_rejected(random_series: SeriesMaker) -> None:
    with pytest.raises(BadInputError, match="last_bars is 0, but must be 1 or more"):
        detect([], random_series(5), last_bars=0)


def test_a_detection_cannot_be_changed() -> None:
    one = Detection("x", 1, "bullish", 100, 0.5, {})
    with pytest.raises(AttributeError):
        one.signal = 0  # type: ignore[misc]
