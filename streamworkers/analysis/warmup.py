"""How many bars each function needs for the value that the symbol's whole history would give.

A function of a window needs its window: TA-Lib's lookback and the bar itself. A recursive one needs the bars after
which those before have no weight (decay.py). What counts or sums from the first bar, and what depends on its path
without a decay that is known beforehand, needs every bar: WHOLE. `tests/unit/analysis/test_warmup.py` measures each.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from streamworkers.analysis.decay import KAMA_SLOWEST, bars_to_forget, ema_bars, mean_bars, wilder_bars
from streamworkers.analysis.own_indicators import OWN_INDICATORS
from streamworkers.analysis.parameters import ParameterValue
from streamworkers.analysis.ta_functions import ta_function

Params: TypeAlias = Mapping[str, Any]
WHOLE: Final = None

_SUMS = ("AD", "CUMSUM", "NVI", "OBV", "PVI", "PVT", "VWAP", "WAD")
_INDICES = ("MAXINDEX", "MININDEX", "MINMAXINDEX")
_PATHS = (
    *("HT_DCPERIOD", "HT_DCPHASE", "HT_PHASOR", "HT_SINE", "HT_TRENDLINE", "HT_TRENDMODE"),
    *("MAMA", "SAR", "SAREXT"),
)
# The bands of Supertrend forget their path where the price passes or tightens them. No number of bars is certain: over
# the 450 complete series of five years of the S&P 500 it took 220 at most, the decay of the ATR included.
_SUPERTREND_BARS = 3500
_WHOLE_FUNCTIONS = frozenset((*_SUMS, *_INDICES, *_PATHS))
_MACDFIX_SLOW = 26


def _slowest(params: Params, stages: int, *names: str) -> int:
    """A cascade of EMAs, of which the slowest counts as all, and the window of each before it starts."""
    periods = [int(params[name]) for name in names]
    return bars_to_forget(2.0 / (max(periods) + 1), stages) + sum(periods)


def _wilder(stages: int) -> Callable[[Params], int]:
    return lambda params: wilder_bars(params["timeperiod"], stages) + 1


def _ema(stages: int) -> Callable[[Params], int]:
    return lambda params: ema_bars(params["timeperiod"], stages) + 1


def _mean(params: Params, line: str) -> int:
    return mean_bars(params[f"{line}matype"], params[f"{line}period"])


def _two_means(params: Params) -> int:
    return max(mean_bars(params["matype"], params[name]) for name in ("fastperiod", "slowperiod"))


def _stoch(params: Params) -> int:
    return int(params["fastk_period"]) + _mean(params, "slowk_") + _mean(params, "slowd_")


def macd_bars(params: Params) -> int:
    """The bars of a MACD with `fastperiod`, `slowperiod` and `signalperiod`."""
    return _slowest(params, 2, "fastperiod", "slowperiod", "signalperiod")


_RECURSIVE: Mapping[str, Callable[[Params], int]] = {
    "ADOSC": lambda params: _slowest(params, 1, "fastperiod", "slowperiod"),
    "ADX": _wilder(2),
    "ADXR": lambda params: wilder_bars(params["timeperiod"], 2) + params["timeperiod"],
    "APO": _two_means,
    "ATR": _wilder(1),
    "BBANDS": lambda params: mean_bars(params["matype"], params["timeperiod"]),
    "CMO": _wilder(1),
    "CVI": lambda params: ema_bars(params["timeperiod"]) + params["rocperiod"],
    "DEMA": _ema(2),
    "DX": _wilder(1),
    "EFI": _ema(1),
    "EMA": _ema(1),
    "ERI": _ema(1),
    "HA": lambda _: bars_to_forget(0.5) + 1,
    "KAMA": lambda params: bars_to_forget(KAMA_SLOWEST) + params["timeperiod"],
    "KC": lambda params: max(ema_bars(params["timeperiod"]), wilder_bars(params["atrperiod"]) + 1),
    "KDJ": _stoch,
    "MA": lambda params: mean_bars(params["matype"], params["timeperiod"]),
    "MACD": macd_bars,
    "MACDEXT": lambda params: max(_mean(params, "fast"), _mean(params, "slow")) + _mean(params, "signal"),
    "MACDFIX": lambda params: (
        bars_to_forget(2.0 / (max(params["signalperiod"], _MACDFIX_SLOW) + 1), 2)
        + params["signalperiod"]
        + _MACDFIX_SLOW
    ),
    "MASSI": lambda params: ema_bars(params["fastperiod"], 2) + params["slowperiod"],
    "MINUS_DI": _wilder(1),
    "MINUS_DM": _wilder(1),
    "NATR": _wilder(1),
    "PLUS_DI": _wilder(1),
    "PLUS_DM": _wilder(1),
    "PPO": _two_means,
    "PVO": _two_means,
    "RMA": _wilder(1),
    "RSI": _wilder(1),
    "RVI": lambda params: wilder_bars(params["timeperiod"]) + params["stddevperiod"] + 1,
    "SMI": lambda params: _slowest(params, 3, "fastperiod", "slowperiod", "signalperiod") + params["timeperiod"],
    "STOCH": _stoch,
    "STOCHF": lambda params: int(params["fastk_period"]) + _mean(params, "fastd_"),
    "STOCHRSI": lambda params: wilder_bars(params["timeperiod"]) + params["fastk_period"] + _mean(params, "fastd_"),
    "SUPERTREND": lambda params: wilder_bars(params["timeperiod"]) + _SUPERTREND_BARS,
    "T3": _ema(6),
    "TEMA": _ema(3),
    "TRIX": _ema(3),
    "TSI": lambda params: _slowest(params, 2, "firstperiod", "secondperiod") + 1,
    "ZLEMA": lambda params: ema_bars(params["timeperiod"]) + params["timeperiod"],
}

# The most bars of an anchored mean's period in each timeframe; one more shows that the period has begun inside.
_ANCHORED_DAYS = {"year": 366, "quarter": 92, "month": 31, "day": 1, "session": 1}
_BARS_OF_A_DAY = {"1min": 24 * 60, "hour": 24}
_DAYS_OF_A_BAR = {"day": 1, "week": 7, "month": 28}


def bars_needed(function: str, params: Mapping[str, ParameterValue], timeframe: str) -> int | None:
    """The bars that an indicator's function needs up to and including a bar, or WHOLE (None).

    `params` are complete. The result does not depend on the timeframe, but for means that are anchored in the calendar.
    """
    if function in _WHOLE_FUNCTIONS or params.get("anchor") == "start":
        return WHOLE
    if function == "anchored_vwap":
        days = _ANCHORED_DAYS[str(params["anchor"])]
        if timeframe in _BARS_OF_A_DAY:
            return days * _BARS_OF_A_DAY[timeframe] + 1
        return days // _DAYS_OF_A_BAR[timeframe] + 2
    if function in _RECURSIVE:
        return _RECURSIVE[function](params)
    if function in OWN_INDICATORS:
        return _own_bars(function, params)
    return ta_function(function).lookback(params) + 1


def _own_bars(function: str, params: Params) -> int:
    if function == "supertrend":
        return wilder_bars(params["period"]) + _SUPERTREND_BARS
    if function == "keltner":
        return max(ema_bars(params["period"]), wilder_bars(params["atr_period"]) + 1)
    return int(params["period"]) + 1


def input_columns(function: str) -> tuple[str, ...]:
    """The columns of the bars that an indicator's function reads."""
    own = OWN_INDICATORS.get(function)
    return ta_function(function).inputs if own is None else own.inputs
