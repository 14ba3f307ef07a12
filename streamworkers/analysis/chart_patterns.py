"""Chart pattern detectors that TA-Lib lacks: crosses, new extremes, gaps, narrow ranges, volume.

Every detector takes a Bars and keyword parameters, and returns an int32 array as long as the series: 0 for no
pattern at that bar, 100 for bullish, -100 for bearish. The neutral patterns (inside bar, NR7, squeeze) return 100. The
signal at a bar depends only on that bar and earlier ones. Two values that differ by less than a billionth of their
scale count as equal, because rounding in TA-Lib's running sums would otherwise give crosses on flat prices.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamworkers.analysis.own_indicators import relative_volume
from streamworkers.analysis.parameters import RealNumber, Rule, WholeNumber, complete_params
from streamworkers.analysis.pattern_traits import PatternTraits
from streamworkers.analysis.rolling import divide, quiet, shift
from streamworkers.analysis.ta_functions import ta_function
from streamworkers.analysis.ta_lib import talib
from streamworkers.analysis.warmup import macd_bars
from streamworkers.market.bars.bars import Bars, FloatArray

SignalArray = NDArray[np.int32]
_EQUAL_WITHIN = 1e-9


@quiet
def golden_cross(series: Bars, *, fast: int = 50, slow: int = 200) -> SignalArray:
    """Bullish where the fast simple mean of the close rises above the slow one."""
    return np.maximum(_mean_crossings(series, fast, slow), 0)


@quiet
def death_cross(series: Bars, *, fast: int = 50, slow: int = 200) -> SignalArray:
    """Bearish where the fast simple mean of the close falls below the slow one."""
    return np.minimum(_mean_crossings(series, fast, slow), 0)


def new_52_week_high(series: Bars, *, period: int = 252) -> SignalArray:
    """Bullish where the high is above the highs of the `period - 1` bars before: the highest of `period` bars."""
    return _signal(bullish=series.high > shift(talib.MAX(series.high, period - 1), 1))


def new_52_week_low(series: Bars, *, period: int = 252) -> SignalArray:
    """Bearish where the low is below the lows of the `period - 1` bars before: the lowest of `period` bars."""
    return _signal(bearish=series.low < shift(talib.MIN(series.low, period - 1), 1))


@quiet
def gap_up(series: Bars, *, min_percent: float = 1.0) -> SignalArray:
    """Bullish where the open is more than `min_percent` percent above the high of the bar before."""
    return _signal(bullish=series.open > shift(series.high, 1) * (1.0 + min_percent / 100.0))


@quiet
def gap_down(series: Bars, *, min_percent: float = 1.0) -> SignalArray:
    """Bearish where the open is more than `min_percent` percent below the low of the bar before."""
    return _signal(bearish=series.open < shift(series.low, 1) * (1.0 - min_percent / 100.0))


def inside_bar(series: Bars) -> SignalArray:
    """Neutral: the high is below the previous high, and the low above the previous low."""
    return _signal((series.high < shift(series.high, 1)) & (series.low > shift(series.low, 1)))


@quiet
def nr7(series: Bars, *, bars: int = 7) -> SignalArray:
    """Neutral: the range is the narrowest of the last `bars` bars. Source: Toby Crabel."""
    width = series.high - series.low
    before = shift(talib.MIN(width, bars - 1), 1)
    return _signal(width < before - _EQUAL_WITHIN * np.abs(series.high))


@quiet
def bollinger_squeeze(series: Bars, *, period: int = 20, deviations: float = 2.0, window: int = 120) -> SignalArray:
    """Neutral: the width of the Bollinger bands falls to its lowest of `window` bars.

    Only the first bar at the low is a signal. Width is (upper - lower) / middle. Source: John Bollinger,
    Bollinger on Bollinger Bands, "the squeeze".
    """
    # The stubs want an enum that they do not export.
    upper, middle, lower = talib.BBANDS(series.close, period, deviations, deviations, 0)  # type: ignore[arg-type]
    width = divide(upper - lower, middle)
    width[width < _EQUAL_WITHIN] = 0.0
    lowest = talib.MIN(width, window)
    at_low = width <= lowest
    entering = at_low[1:] & ~at_low[:-1] & np.isfinite(lowest[:-1])
    return _signal(np.concatenate(([False], entering)))


@quiet
def macd_cross(series: Bars, *, fast: int = 12, slow: int = 26, signal: int = 9) -> SignalArray:
    """Bullish where the MACD line rises above its signal line, bearish where it falls below."""
    line, smoothed, _ = talib.MACD(series.close, fast, slow, signal)
    return _crossings(line - smoothed, series.close)


@quiet
def volume_spike(series: Bars, *, period: int = 20, multiple: float = 3.0) -> SignalArray:
    """Volume of at least `multiple` times the mean of the `period` bars before, in the direction of the bar.

    Bullish where the bar closes above its open, bearish where it closes below. A bar that closes at its open has no
    direction and no signal.
    """
    spike = relative_volume(series, period=period) >= multiple
    return _signal(spike & (series.close > series.open), spike & (series.close < series.open))


def _signal(bullish: NDArray[np.bool_] | None = None, bearish: NDArray[np.bool_] | None = None) -> SignalArray:
    either = bullish if bullish is not None else bearish
    signals = np.zeros(0 if either is None else len(either), np.int32)
    if bullish is not None:
        signals[bullish] = 100
    if bearish is not None:
        signals[bearish] = -100
    return signals


def _mean_crossings(series: Bars, fast: int, slow: int) -> SignalArray:
    return _crossings(talib.SMA(series.close, fast) - talib.SMA(series.close, slow), series.close)


def _crossings(difference: FloatArray, scale: FloatArray) -> SignalArray:
    """100 where the difference becomes positive, -100 where it becomes negative, from zero or the other side."""
    zero = np.abs(scale) * _EQUAL_WITHIN
    above, below, defined = difference > zero, difference < -zero, ~np.isnan(difference)
    signals = np.zeros(len(difference), np.int32)
    signals[1:][above[1:] & ~above[:-1] & defined[:-1]] = 100
    signals[1:][below[1:] & ~below[:-1] & defined[:-1]] = -100
    return signals


def _bars_for_mean_crossings(params: Mapping[str, Any]) -> int:
    return int(max(params["fast"], params["slow"])) + 1


def _macd_periods(params: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}period": params[name] for name in ("fast", "slow", "signal")}


def _bars_for_macd_crossings(params: Mapping[str, Any]) -> int:
    return ta_function("MACD").lookback(_macd_periods(params)) + 2


def _bars_to_settle_macd(params: Mapping[str, Any]) -> int:
    return macd_bars(_macd_periods(params)) + 1


@dataclass(frozen=True, slots=True)
class ChartPattern:
    """A detector, its traits, and the rules of its parameters.

    `bars_needed` computes, from all parameters, the length of the shortest series that can have a signal, and
    `settles_after`, if that is longer, `bars_to_settle`. The defaults of the parameters are in the signature of the
    detector only.
    """

    detect: Callable[..., SignalArray]
    bars_needed: Callable[[Mapping[str, Any]], int]
    rules: Mapping[str, Rule]
    traits: PatternTraits
    settles_after: Callable[[Mapping[str, Any]], int] | None = None

    def complete_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The given parameters, completed with the defaults of the others."""
        return complete_params(self.detect, params)

    def bars_to_settle(self, params: Mapping[str, Any]) -> int:
        """The length of the series from which on no earlier bar changes a signal, from all parameters."""
        return self.bars_needed(params) if self.settles_after is None else self.settles_after(params)


_CROSS_RULES: Mapping[str, Rule] = {"fast": WholeNumber(2), "slow": WholeNumber(2)}
_EXTREME_RULES: Mapping[str, Rule] = {"period": WholeNumber(3)}
_GAP_RULES: Mapping[str, Rule] = {"min_percent": RealNumber(0.0, 100.0)}
_FOLLOWING = PatternTraits(1, "same")
_FREE = PatternTraits(1, "any")
_NARROW = PatternTraits(1, "any", neutral=True, narrow=True)

CHART_PATTERNS: Mapping[str, ChartPattern] = {
    "golden_cross": ChartPattern(golden_cross, _bars_for_mean_crossings, _CROSS_RULES, _FOLLOWING),
    "death_cross": ChartPattern(death_cross, _bars_for_mean_crossings, _CROSS_RULES, _FOLLOWING),
    "new_52_week_high": ChartPattern(new_52_week_high, itemgetter("period"), _EXTREME_RULES, _FOLLOWING),
    "new_52_week_low": ChartPattern(new_52_week_low, itemgetter("period"), _EXTREME_RULES, _FOLLOWING),
    "gap_up": ChartPattern(gap_up, lambda _: 2, _GAP_RULES, _FREE),
    "gap_down": ChartPattern(gap_down, lambda _: 2, _GAP_RULES, _FREE),
    "inside_bar": ChartPattern(inside_bar, lambda _: 2, {}, _NARROW),
    "nr7": ChartPattern(nr7, itemgetter("bars"), {"bars": WholeNumber(3)}, _NARROW),
    "bollinger_squeeze": ChartPattern(
        bollinger_squeeze,
        lambda params: params["period"] + params["window"],
        {"period": WholeNumber(2), "deviations": RealNumber(0.1, 10.0), "window": WholeNumber(2)},
        _NARROW,
    ),
    "macd_cross": ChartPattern(
        macd_cross,
        _bars_for_macd_crossings,
        {"fast": WholeNumber(2), "slow": WholeNumber(2), "signal": WholeNumber(1)},
        _FREE,
        _bars_to_settle_macd,
    ),
    "volume_spike": ChartPattern(
        volume_spike,
        lambda params: params["period"] + 1,
        {"period": WholeNumber(1), "multiple": RealNumber(1.0, 1000.0)},
        _FREE,
    ),
}
