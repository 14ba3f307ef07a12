"""The confidence rule, part by part, on bars whose ATR, mean volume and trend are known."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from streamworkers.analysis.confidence import (
    CONFIDENCE_WEIGHTS,
    ConfidenceContext,
    combine_parts,
    score_parts,
)
from streamworkers.analysis.pattern_traits import PatternTraits
from streamworkers.market.bars.bars import Bars

SeriesMaker = Callable[..., Bars]
REVERSAL, CONTINUATION = PatternTraits(1, "opposite"), PatternTraits(1, "same")


def _drifting(bars_of: SeriesMaker, step: float, bars: int = 40) -> Bars:
    """Closes that move by `step` a bar, every true range 2, every volume 1000; the last bar closes mid-range."""
    close = 100.0 + step * np.arange(bars)
    return bars_of(close=close.tolist(), high=(close + 1).tolist(), low=(close - 1).tolist())


def _parts(series: Bars, traits: PatternTraits, signal: int = 100) -> dict[str, float]:
    return score_parts(ConfidenceContext(series), traits, len(series) - 1, signal)


@pytest.mark.parametrize(
    ("step", "traits", "signal", "expected"),
    [
        # Ten steps of 0.3 are 1.5 ATRs of 2, half of the three that give 1.
        (-0.3, REVERSAL, 100, 0.75), (0.3, REVERSAL, 100, 0.25), (0.3, REVERSAL, -100, 0.75),
        (0.3, CONTINUATION, 100, 0.75), (-0.3, CONTINUATION, 100, 0.25), (-0.3, CONTINUATION, -100, 0.75),
        (0.0, REVERSAL, 100, 0.5), (-0.9, REVERSAL, 100, 1.0), (0.9, REVERSAL, 200, 0.0),
    ],
)  # fmt: skip
def test_trend_rewards_reversals_against_it_and_continuations_with_it(
    bars_of: SeriesMaker, step: float, traits: PatternTraits, signal: int, expected: float
) -> None:
    assert _parts(_drifting(bars_of, step), traits, signal)["trend"] == pytest.approx(expected)


def test_trend_is_measured_before_the_pattern_not_in_it(bars_of: SeriesMaker) -> None:
    series = _drifting(bars_of, 0.0)
    series.close[-3:] = 150.0
    assert _parts(series, PatternTraits(3, "opposite"))["trend"] == 0.5


@pytest.mark.parametrize(("close", "signal", "expected"), [(141.0, 100, 1.0), (139.5, 100, 0.25), (139.5, -100, 0.75)])
def test_confirmation_is_where_the_bar_closed_in_its_range(
    bars_of: SeriesMaker, close: float, signal: int, expected: float
) -> None:
    series = _drifting(bars_of, 1.0, bars=41)
    series.close[-1] = close
    assert (series.high[-1], series.low[-1]) == (141.0, 139.0)
    assert _parts(series, REVERSAL, signal)["confirmation"] == expected


@pytest.mark.parametrize(("volume", "expected"), [(0.0, 0.0), (1000.0, 0.5), (1500.0, 0.75), (9000.0, 1.0)])
def test_volume_is_compared_with_its_mean_over_the_20_bars_before(
    bars_of: SeriesMaker, volume: float, expected: float
) -> None:
    series = _drifting(bars_of, 0.0)
    series.volume[-1] = volume
    assert _parts(series, REVERSAL)["volume"] == pytest.approx(expected)


@pytest.mark.parametrize(("width", "expected"), [(1.0, 0.25), (2.0, 0.5), (4.0, 1.0), (9.0, 1.0)])
def test_range_is_compared_with_the_atr_before_and_inverted_for_narrow_patterns(
    bars_of: SeriesMaker, width: float, expected: float
) -> None:
    series = _drifting(bars_of, 0.0)
    series.high[-1] = series.low[-1] + width
    assert _parts(series, REVERSAL)["range"] == pytest.approx(expected)
    narrow = PatternTraits(1, "any", neutral=True, narrow=True)
    assert _parts(series, narrow)["range"] == pytest.approx(1.0 - expected)


def test_the_score_is_the_weighted_mean_of_all_parts() -> None:
    assert sum(CONFIDENCE_WEIGHTS.values()) == pytest.approx(1.0)
    parts = {"trend": 1.0, "confirmation": 0.5, "volume": 0.2, "range": 0.4}
    assert combine_parts(parts) == pytest.approx(0.35 + 0.125 + 0.05 + 0.06)


def test_missing_parts_scale_up_the_other_weights_and_no_part_gives_a_half() -> None:
    assert combine_parts({"volume": 1.0, "range": 0.0}) == pytest.approx(0.25 / 0.40)
    assert combine_parts({}) == 0.5


def test_neutral_patterns_have_no_trend_and_no_confirmation(bars_of: SeriesMaker) -> None:
    assert set(_parts(_drifting(bars_of, 0.3), PatternTraits(1, "any", neutral=True))) == {"volume", "range"}


def test_patterns_that_expect_no_trend_leave_it_out(bars_of: SeriesMaker) -> None:
    parts = _parts(_drifting(bars_of, 0.3), PatternTraits(1, "any"))
    assert set(parts) == {"confirmation", "volume", "range"}


@pytest.mark.parametrize(
    ("bars", "known"),
    [
        (1, {"confirmation"}),
        (15, {"confirmation"}),
        (16, {"confirmation", "range", "trend"}),
        (21, {"confirmation", "range", "trend", "volume"}),
    ],
)
def test_parts_with_too_few_bars_are_left_out(bars_of: SeriesMaker, bars: int, known: set[str]) -> None:
    assert set(_parts(_drifting(bars_of, 0.1, bars), REVERSAL)) == known


def test_parts_that_would_divide_by_zero_are_left_out(bars_of: SeriesMaker) -> None:
    flat = bars_of(close=[100.0] * 40)
    assert _parts(replace(flat, volume=np.zeros(40)), REVERSAL) == {}
