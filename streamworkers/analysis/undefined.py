"""Bars at which an indicator has no value, because its formula divides by zero there.

TA-Lib returns 0, or another number that looks like a value, where its formula is 0/0: an RSI of 0 on constant prices
says "oversold". Here such bars have no value. A true 0, whose denominator is not zero, stays: the RSI of a straight
fall.

What counts as zero is in flat.py; docs/reference/indicators.md lists the rule of each function.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from streamworkers.analysis.decay import mean_bars, wilder_bars
from streamworkers.analysis.flat import (
    FLAT,
    all_in_window,
    any_in_window,
    changes,
    narrow,
    no_mean_change,
    no_range,
    no_true_range,
    still,
    wilder_mean,
)
from streamworkers.analysis.rolling import shift
from streamworkers.analysis.ta_lib import talib
from streamworkers.market.bars.bars import Bars, Mask

_RSI_SCALE = 100.0
_CYCLE_BARS = 64  # what TA-Lib's Hilbert transform looks back on

Params: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UndefinedRule:
    """Where a function is undefined: a mask from series and complete parameters.

    `windows` are parameters: a window as long as the shortest of them has to be calm (see `longest_calm`), so that most
    series are done without a mask. Without any, the mask is computed for every series.
    """

    mask: Callable[[Bars, Params], Mask]
    windows: tuple[str, ...] = ()

    def least_calm(self, params: Params) -> int:
        """The number of calm bars in a row without which the mask is empty."""
        # The first bar of a window is calm only in relation to those after it.
        return max(0, min((int(params[name]) for name in self.windows), default=0) - 1)


def _no_direction(series: Bars, params: Params) -> Mask:
    """DX: neither +DI nor -DI, or no true range that they are relative to."""
    period = params["timeperiod"]
    moves = talib.PLUS_DM(series.high, series.low, period) + talib.MINUS_DM(series.high, series.low, period)
    none: Mask = moves <= FLAT * np.abs(series.high)
    return none


def _rsi(series: Bars, params: Params) -> Mask:
    return no_mean_change(series.close, params["timeperiod"])


def _di(series: Bars, params: Params) -> Mask:
    return no_true_range(series, params["timeperiod"])


def _adx(series: Bars, params: Params) -> Mask:
    none = _no_direction(series, params)
    return any_in_window(none, wilder_bars(params["timeperiod"])) if none.any() else none


def _adxr(series: Bars, params: Params) -> Mask:
    none = _adx(series, params)
    return none | (shift(none.astype(np.float64), max(1, params["timeperiod"] - 1)) > 0)


def _stoch(series: Bars, params: Params) -> Mask:
    none = no_range(series.high, series.low, params["fastk_period"])
    return _smoothed(_smoothed(none, params, "slowk"), params, "slowd")


def _stochf(series: Bars, params: Params) -> Mask:
    return _smoothed(no_range(series.high, series.low, params["fastk_period"]), params, "fastd")


def _smoothed(none: Mask, params: Params, line: str) -> Mask:
    """Bars whose mean would take in a bar without a value."""
    if not none.any():
        return none
    return any_in_window(none, mean_bars(params[f"{line}_matype"], params[f"{line}_period"]))


def _stochrsi(series: Bars, params: Params) -> Mask:
    rsi = talib.RSI(series.close, params["timeperiod"])
    none = no_range(rsi, rsi, params["fastk_period"], _RSI_SCALE)
    flat = _rsi(series, params)
    if flat.any():
        none |= any_in_window(flat, params["fastk_period"])
    return _smoothed(none, params, "fastd")


def _willr(series: Bars, params: Params) -> Mask:
    return no_range(series.high, series.low, params["timeperiod"])


def _smi(series: Bars, params: Params) -> Mask:
    period = params["timeperiod"]
    width = talib.MAX(series.high, period) - talib.MIN(series.low, period) if period > 1 else series.high - series.low
    mean = talib.EMA(talib.EMA(width, params["slowperiod"]), params["fastperiod"])
    none: Mask = mean <= FLAT * np.abs(series.high)
    return any_in_window(none, mean_bars(1, params["signalperiod"])) if none.any() else none


def _mfi(series: Bars, params: Params) -> Mask:
    typical = talib.TYPPRICE(series.high, series.low, series.close)
    return all_in_window(still(typical) | (series.volume <= 0), params["timeperiod"])


def _cci(series: Bars, params: Params) -> Mask:
    typical = talib.TYPPRICE(series.high, series.low, series.close)
    return no_range(typical, typical, params["timeperiod"])


def _still_window(series: Bars, params: Params) -> Mask:
    return all_in_window(still(series.close), params["timeperiod"])


def _no_true_range_window(*names: str) -> Callable[[Bars, Params], Mask]:
    def mask(series: Bars, params: Params) -> Mask:
        true_range = talib.TRANGE(series.high, series.low, series.close)
        flat = true_range <= FLAT * np.abs(series.close)
        return all_in_window(flat, min(params[name] for name in names))

    return mask


def _imi(series: Bars, params: Params) -> Mask:
    flat = np.abs(series.close - series.open) <= FLAT * np.abs(series.close)
    return all_in_window(flat, params["timeperiod"])


def _cmf(series: Bars, params: Params) -> Mask:
    period = params["period"] if "period" in params else params["timeperiod"]
    return all_in_window(narrow(series) | (series.volume <= 0), period)


def _no_volume(series: Bars, params: Params) -> Mask:
    del params
    result: Mask = series.volume <= 0
    return result


def _no_volume_window(series: Bars, params: Params) -> Mask:
    return all_in_window(series.volume <= 0, params["timeperiod"])


def _no_volume_before(series: Bars, params: Params) -> Mask:
    result: Mask = shift(_no_volume_window(series, params).astype(np.float64), 1) > 0
    return result


def _no_volume_yet(series: Bars, params: Params) -> Mask:
    del params
    result: Mask = np.add.accumulate(series.volume) <= 0
    return result


def _no_mean_volume(series: Bars, params: Params) -> Mask:
    slow = talib.MA(series.volume, max(params["fastperiod"], params["slowperiod"]), params["matype"])
    result: Mask = slow <= FLAT
    return result


def _tsi(series: Bars, params: Params) -> Mask:
    mean = talib.EMA(talib.EMA(changes(series.close), params["firstperiod"]), params["secondperiod"])
    result: Mask = mean <= FLAT * np.abs(series.close)
    return result


def _massi(series: Bars, params: Params) -> Mask:
    once = talib.EMA(series.high - series.low, params["fastperiod"])
    none = talib.EMA(once, params["fastperiod"]) <= FLAT * np.abs(series.high)
    return any_in_window(none, params["slowperiod"])


def _cvi(series: Bars, params: Params) -> Mask:
    mean = talib.EMA(series.high - series.low, params["timeperiod"])
    result: Mask = shift(mean, params["rocperiod"]) <= FLAT * shift(np.abs(series.high), params["rocperiod"])
    return result


def _rvi(series: Bars, params: Params) -> Mask:
    """No deviation on any bar that moved, in Wilder's mean of both."""
    deviation = talib.STDDEV(series.close, params["stddevperiod"], 1.0)
    deviation[still(series.close) | no_range(series.close, series.close, params["stddevperiod"])] = 0.0
    result: Mask = wilder_mean(deviation, params["timeperiod"]) <= FLAT * np.abs(series.close)
    return result


def _correl(series: Bars, params: Params) -> Mask:
    period = params["timeperiod"]
    flat_volume = no_range(series.volume, series.volume, period)
    return flat_volume | no_range(series.close, series.close, period)


def _bop(series: Bars, params: Params) -> Mask:
    del params
    return narrow(series)


def _cycle(series: Bars, params: Params) -> Mask:
    del params
    return no_range(series.close, series.close, _CYCLE_BARS)


def _price_before(series: Bars, params: Params) -> Mask:
    result: Mask = shift(series.close, params["timeperiod"]) <= 0
    return result


def _coppock(series: Bars, params: Params) -> Mask:
    none = np.zeros(len(series), np.bool_)
    for name in ("roc1period", "roc2period"):
        none |= shift(series.close, params[name]) <= 0
    return any_in_window(none, params["wmaperiod"])


def _close(series: Bars, params: Params) -> Mask:
    del params
    result: Mask = series.close <= 0
    return result


def _slow_mean(series: Bars, params: Params) -> Mask:
    slow = talib.MA(series.close, max(params["fastperiod"], params["slowperiod"]), params["matype"])
    result: Mask = slow <= 0
    return result


def _trix(series: Bars, params: Params) -> Mask:
    mean = series.close
    for _ in range(3):
        mean = talib.EMA(mean, params["timeperiod"])
    result: Mask = shift(mean, 1) <= 0
    return result


UNDEFINED: Mapping[str, UndefinedRule] = {
    "ADX": UndefinedRule(_adx),
    "ADXR": UndefinedRule(_adxr),
    "BOP": UndefinedRule(_bop),
    "CCI": UndefinedRule(_cci, ("timeperiod",)),
    "CMF": UndefinedRule(_cmf, ("timeperiod",)),
    "CMO": UndefinedRule(_rsi, ("timeperiod",)),
    "CMOU": UndefinedRule(_still_window, ("timeperiod",)),
    "COPPOCK": UndefinedRule(_coppock),
    "CORREL": UndefinedRule(_correl),
    "CVI": UndefinedRule(_cvi),
    "DX": UndefinedRule(_no_direction),
    "ER": UndefinedRule(_still_window, ("timeperiod",)),
    "FOSC": UndefinedRule(_close),
    "HT_DCPERIOD": UndefinedRule(_cycle),
    "HT_DCPHASE": UndefinedRule(_cycle),
    "HT_SINE": UndefinedRule(_cycle),
    "HT_TRENDMODE": UndefinedRule(_cycle),
    "IMI": UndefinedRule(_imi),
    "KDJ": UndefinedRule(_stoch, ("fastk_period",)),
    "MARKETFI": UndefinedRule(_no_volume),
    "MASSI": UndefinedRule(_massi),
    "MFI": UndefinedRule(_mfi, ("timeperiod",)),
    "MINUS_DI": UndefinedRule(_di, ("timeperiod",)),
    "NATR": UndefinedRule(_close, ("timeperiod",)),
    "PLUS_DI": UndefinedRule(_di, ("timeperiod",)),
    "PPO": UndefinedRule(_slow_mean, ("fastperiod", "slowperiod")),
    "PVO": UndefinedRule(_no_mean_volume),
    "ROC": UndefinedRule(_price_before, ("timeperiod",)),
    "ROCP": UndefinedRule(_price_before, ("timeperiod",)),
    "ROCR": UndefinedRule(_price_before, ("timeperiod",)),
    "ROCR100": UndefinedRule(_price_before, ("timeperiod",)),
    "RSI": UndefinedRule(_rsi, ("timeperiod",)),
    "RVI": UndefinedRule(_rvi),
    "RVOL": UndefinedRule(_no_volume_before, ("timeperiod",)),
    "SMI": UndefinedRule(_smi),
    "STOCH": UndefinedRule(_stoch, ("fastk_period",)),
    "STOCHF": UndefinedRule(_stochf, ("fastk_period",)),
    "STOCHRSI": UndefinedRule(_stochrsi),
    "TRIX": UndefinedRule(_trix, ("timeperiod",)),
    "TSI": UndefinedRule(_tsi),
    "ULTOSC": UndefinedRule(
        _no_true_range_window("timeperiod1", "timeperiod2", "timeperiod3"),
        ("timeperiod1", "timeperiod2", "timeperiod3"),
    ),
    "VHF": UndefinedRule(_still_window, ("timeperiod",)),
    "VORTEX": UndefinedRule(_no_true_range_window("timeperiod"), ("timeperiod",)),
    "VWAP": UndefinedRule(_no_volume_yet),
    "VWMA": UndefinedRule(_no_volume_window, ("timeperiod",)),
    "WILLR": UndefinedRule(_willr, ("timeperiod",)),
    "cmf": UndefinedRule(_cmf, ("period",)),
}
