"""Bars and windows without a change, a range or volume: what indicators cannot divide by.

Floats leave residue where prices are equal, so a denominator counts as zero if it is at most FLAT of its scale: the
price for ranges, changes and true ranges, 100 for the range of an RSI. Sums over a window are not tested by their size,
because TA-Lib's running sums keep residue of bars that left the window; a window is flat if each of its bars is.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from streamworkers.analysis.rolling import quiet, rolling_sum, shift
from streamworkers.analysis.ta_lib import talib
from streamworkers.market.bars.bars import Bars, FloatArray, Mask

FLAT = 1e-12


@quiet
def longest_calm(series: Bars) -> int:
    """The most bars in a row that each lack something that is divided by: a change, a range or volume.

    A few bars with very little of all may count as well. With a close of zero, which is divided by too, all bars count.
    """
    high, close = series.high, series.close
    if len(close) == 0 or close.min() <= 0.0:
        return len(close)
    width = high - series.low
    typical = width + 2.0 * series.low + close
    factors = (width[1:], np.abs(close[1:] - close[:-1]), np.abs(typical[1:] - typical[:-1]), series.volume[1:])
    lively = np.flatnonzero(factors[0] * factors[1] * factors[2] * factors[3] > _least_product(factors, high))
    if len(lively) == 0:
        return len(close)
    # The first bar has no change: it counts as calm.
    return max(int(lively[0]) + 1, len(close) - 2 - int(lively[-1]), int((lively[1:] - lively[:-1]).max(initial=1)) - 1)


def _least_product(factors: Sequence[FloatArray], high: FloatArray) -> float:
    """What the product of a bar's factors exceeds if none of them is flat."""
    most = [float(factor.max(initial=0.0)) for factor in factors]
    others = max(prod(most[:place] + most[place + 1 :]) for place in range(len(most)))
    return 4.0 * FLAT * float(high.max()) * others


def still(values: FloatArray) -> Mask:
    """Bars whose value is that of the bar before; not the first bar."""
    same = np.zeros(len(values), np.bool_)
    np.less_equal(np.abs(values[1:] - values[:-1]), FLAT * np.abs(values[1:]), out=same[1:])
    return same


def narrow(series: Bars) -> Mask:
    """Bars whose high is their low."""
    result: Mask = series.high - series.low <= FLAT * np.abs(series.high)
    return result


def all_in_window(bars: Mask, period: int) -> Mask:
    """Bars that are, with the `period - 1` bars before, all among the bars."""
    result: Mask = rolling_sum(bars.astype(np.float64), period) == period
    return result


def any_in_window(bars: Mask, period: int) -> Mask:
    """Bars with at least one of the bars among the last `period`, or among all if there are fewer."""
    before = np.concatenate((np.zeros(period - 1, np.bool_), bars))
    result: Mask = rolling_sum(before.astype(np.float64), period)[period - 1 :] > 0
    return result


def no_range(high: FloatArray, low: FloatArray, period: int, scale: float | None = None) -> Mask:
    """Bars whose last `period` bars have a highest high that is their lowest low."""
    top, bottom = (high, low) if period == 1 else (talib.MAX(high, period), talib.MIN(low, period))
    result: Mask = top - bottom <= FLAT * (np.abs(top) if scale is None else scale)
    return result


def wilder_mean(values: FloatArray, period: int) -> FloatArray:
    """Wilder's mean, which starts as the simple mean of the first `period` values."""
    result: FloatArray = talib.RMA(values, period)
    return result


def changes(values: FloatArray) -> FloatArray:
    """The size of the change from the bar before."""
    return np.abs(values - shift(values, 1))


def no_mean_change(values: FloatArray, period: int) -> Mask:
    """Bars at which Wilder's mean of the changes is zero."""
    result: Mask = wilder_mean(changes(values), period) <= FLAT * np.abs(values)
    return result


def no_true_range(series: Bars, period: int) -> Mask:
    """Bars at which Wilder's mean of the true range is zero."""
    true_range = talib.TRANGE(series.high, series.low, series.close)
    result: Mask = wilder_mean(true_range, period) <= FLAT * np.abs(series.close)
    return result
