"""Indicators that TA-Lib lacks or defines differently; docs/reference/indicators.md lists their formulas.

Every function takes a Bars and keyword parameters. It returns a float64 array, or a tuple of such arrays, as long
as the series and NaN at bars where the value is not defined yet. The value at a bar depends only on that bar and
earlier ones. Division by a volume, range or price of zero gives NaN unless the function states otherwise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from streamworkers.analysis.new_york import days_in_new_york, is_outside_session
from streamworkers.analysis.parameters import Choice, RealNumber, Rule, WholeNumber, complete_params
from streamworkers.analysis.rolling import divide, quiet, rolling_sum, shift
from streamworkers.analysis.ta_lib import talib
from streamworkers.market.bars.bars import Bars, FloatArray

_ANCHOR_MONTHS = {"year": 12, "quarter": 3, "month": 1}


@quiet
def relative_volume(series: Bars, *, period: int = 20) -> FloatArray:
    """Volume divided by the mean volume of the `period` bars before; 1 is ordinary, NaN if the mean is 0.

    The bar itself is not part of the mean, so that a spike does not dilute its own value.
    """
    return divide(series.volume, shift(rolling_sum(series.volume, period), 1) / period)


@quiet
def high_52w_distance(series: Bars, *, period: int = 252) -> FloatArray:
    """Distance of the close from the highest high of the last `period` bars, in percent, 0 or negative."""
    return (divide(series.close, talib.MAX(series.high, period)) - 1.0) * 100.0


@quiet
def low_52w_distance(series: Bars, *, period: int = 252) -> FloatArray:
    """Distance of the close from the lowest low of the last `period` bars, in percent, 0 or positive."""
    return (divide(series.close, talib.MIN(series.low, period)) - 1.0) * 100.0


@quiet
def rolling_vwap(series: Bars, *, period: int = 20) -> FloatArray:
    """Mean typical price (high + low + close) / 3 of the last `period` bars, weighted by volume."""
    traded = _typical_price(series) * series.volume
    return divide(rolling_sum(traded, period), rolling_sum(series.volume, period))


@quiet
def anchored_vwap(series: Bars, *, anchor: str = "year") -> FloatArray:
    """Volume-weighted mean typical price since the first bar of the period that the bar is in.

    Years, quarters and months are those of `series.times` (UTC for intraday bars). A day is that of New York, and a
    session its 09:30 to 16:00; bars outside of a session have no value. Bars before the first boundary inside the
    series are NaN, because the series may lack the beginning of their period. With the anchor "start" the sum begins at
    the first bar of the series.
    """
    volume, traded = series.volume, _typical_price(series) * series.volume
    outside = None
    if anchor == "session" and series.times.dtype != "datetime64[D]":
        outside = is_outside_session(series.starts)
        volume, traded = np.where(outside, 0.0, volume), np.where(outside, 0.0, traded)
    traded_since, volume_since = np.full(len(series), np.nan), np.full(len(series), np.nan)
    for begin, end in pairwise((*_anchors(series, anchor), len(series))):
        np.add.accumulate(traded[begin:end], out=traded_since[begin:end])
        np.add.accumulate(volume[begin:end], out=volume_since[begin:end])
    if outside is not None:
        traded_since[outside] = np.nan
    return divide(traded_since, volume_since)


def _anchors(series: Bars, anchor: str) -> list[int]:
    """The indices of bars that begin a period and have a bar of an earlier period before them."""
    if anchor == "start":
        return [0]
    if anchor in ("day", "session"):
        days = series.starts if series.times.dtype == "datetime64[D]" else days_in_new_york(series.starts)
        begins: list[int] = (np.flatnonzero(np.diff(days)) + 1).tolist()
        return begins
    months = _ANCHOR_MONTHS[anchor]
    first, last = (int(series.times[end].astype("datetime64[M]").astype(np.int64)) for end in (0, -1))
    boundaries = np.arange((first // months + 1) * months, last + 1, months).astype("datetime64[M]")
    # If a month has no bar, two boundaries have the same index.
    return sorted(set(np.searchsorted(series.times, boundaries.astype(series.times.dtype)).tolist()))


@quiet
def returns(series: Bars, *, period: int = 1) -> FloatArray:
    """close / close `period` bars earlier - 1, as a fraction: 0.02 is a rise of two percent."""
    return divide(series.close, shift(series.close, period)) - 1.0


@quiet
def cmf(series: Bars, *, period: int = 20) -> FloatArray:
    """Chaikin money flow, -1 to 1: volume weighted by where in its range each bar closed, divided by all volume.

    Source: Marc Chaikin. A bar whose high equals its low counts as closed in the middle; `period` bars without any
    volume give NaN.
    """
    width = series.high - series.low
    lean = (series.close - series.low) - (series.high - series.close)
    place = np.where(width > 0, lean / np.where(width > 0, width, 1.0), 0.0)
    return divide(rolling_sum(place * series.volume, period), rolling_sum(series.volume, period))


@quiet
def keltner(
    series: Bars, *, period: int = 20, atr_period: int = 10, multiplier: float = 2.0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Keltner channel (upper, middle, lower): the EMA of the close, and `multiplier` ATRs above and below it.

    Source: Chester Keltner, in Linda Raschke's form. TA-Lib's KC uses the EMA of the typical price instead.
    """
    middle = talib.EMA(series.close, period)
    reach = multiplier * talib.ATR(series.high, series.low, series.close, atr_period)
    middle = np.where(np.isnan(reach), np.nan, middle)
    return middle + reach, middle, middle - reach


@quiet
def donchian(series: Bars, *, period: int = 20) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Donchian channel (upper, middle, lower): highest high, lowest low and their mean over `period` bars.

    Source: Richard Donchian. The bar itself is part of the window.
    """
    upper, lower = talib.MAX(series.high, period), talib.MIN(series.low, period)
    return upper, (upper + lower) / 2.0, lower


def supertrend(series: Bars, *, period: int = 10, multiplier: float = 3.0) -> tuple[FloatArray, FloatArray]:
    """Supertrend (value, direction): the stop line, and 1 in an uptrend or -1 in a downtrend.

    Source: Olivier Seban. Bands are (high + low) / 2 ± `multiplier` ATRs. Each band only tightens until the close
    crosses it, which reverses the trend. The first defined bar is in an uptrend. Computed by TA-Lib's SUPERTREND, whose
    direction of 0 for "not defined yet" becomes NaN here.
    """
    value, trend = talib.SUPERTREND(series.high, series.low, series.close, period, multiplier)
    return value, np.where(np.isnan(value), np.nan, trend)


def _typical_price(series: Bars) -> FloatArray:
    result: FloatArray = talib.TYPPRICE(series.high, series.low, series.close)
    return result


@dataclass(frozen=True, slots=True)
class OwnIndicator:
    """An own function, the columns that it reads, the names of its outputs, and the rules of its parameters."""

    function: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    rules: Mapping[str, Rule]

    def complete_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The given parameters, completed with the defaults of the others."""
        return complete_params(self.function, params)


_WINDOW = WholeNumber(1)
_EXTREME_WINDOW = WholeNumber(2)  # the shortest that TA-Lib's MAX and MIN take
_MULTIPLIER = RealNumber(0.01, 100.0)
_RANGE = ("high", "low", "close")
_TRADED = (*_RANGE, "volume")

OWN_INDICATORS: Mapping[str, OwnIndicator] = {
    "relative_volume": OwnIndicator(relative_volume, ("volume",), ("value",), {"period": _WINDOW}),
    "high_52w_distance": OwnIndicator(high_52w_distance, ("high", "close"), ("value",), {"period": _EXTREME_WINDOW}),
    "low_52w_distance": OwnIndicator(low_52w_distance, ("low", "close"), ("value",), {"period": _EXTREME_WINDOW}),
    "rolling_vwap": OwnIndicator(rolling_vwap, _TRADED, ("value",), {"period": _WINDOW}),
    "anchored_vwap": OwnIndicator(
        anchored_vwap, _TRADED, ("value",), {"anchor": Choice(("year", "quarter", "month", "day", "session", "start"))}
    ),
    "returns": OwnIndicator(returns, ("close",), ("value",), {"period": _WINDOW}),
    "cmf": OwnIndicator(cmf, _TRADED, ("value",), {"period": _WINDOW}),
    "keltner": OwnIndicator(
        keltner,
        _RANGE,
        ("upper", "middle", "lower"),
        {"period": _EXTREME_WINDOW, "atr_period": _WINDOW, "multiplier": _MULTIPLIER},
    ),
    "donchian": OwnIndicator(donchian, ("high", "low"), ("upper", "middle", "lower"), {"period": _EXTREME_WINDOW}),
    "supertrend": OwnIndicator(
        supertrend, _RANGE, ("value", "direction"), {"period": _EXTREME_WINDOW, "multiplier": _MULTIPLIER}
    ),
}
