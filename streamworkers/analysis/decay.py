"""How many bars recursive smoothings need until the bars before have no influence on their value.

An exponential mean with the factor `alpha` gives the state before its last `bars` bars the weight (1 - alpha) ** bars.
A cascade of such means (an EMA of an EMA, or Wilder's mean of a ratio of Wilder's means) gives it the probability of
fewer than `stages` successes in `bars` trials of probability `alpha`: its impulse response is the negative binomial
distribution. `bars_to_forget` is the number of bars from which on that weight is below FORGOTTEN, where the rounding of
64-bit floats is larger.
"""

from functools import cache
from math import comb, isqrt

FORGOTTEN = 1e-15
KAMA_SLOWEST = (2.0 / 31.0) ** 2  # the smoothing of KAMA when prices go nowhere: its slowest mean is of 30 bars
_STAGES = {1: 1, 3: 2, 4: 3, 8: 6, 12: 1}  # TA-Lib's matype: the EMAs inside EMA, DEMA, TEMA, T3 and ZLEMA
_WINDOWS = (0, 2, 5, 11)  # SMA, WMA, TRIMA, and TA-Lib's default, which is SMA
_KAMA, _MAMA, _HMA, _DISABLED, _ZLEMA, _RMA = 6, 7, 9, 10, 12, 13
_MAMA_SLOWEST = 0.05 / 2  # the slow limit that TA-Lib's MA gives to MAMA, halved for its second mean


@cache
def bars_to_forget(alpha: float, stages: int = 1) -> int:
    """The bars after which a cascade of exponential means no longer depends on what came before.

    Raises ValueError unless 0 < alpha <= 1.
    """
    if not 0.0 < alpha <= 1.0:
        raise ValueError(f"alpha is {alpha}, not above 0 and at most 1")
    high = stages
    while _weight_before(alpha, stages, high) >= FORGOTTEN:
        high *= 2
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        if _weight_before(alpha, stages, middle) >= FORGOTTEN:
            low = middle
        else:
            high = middle
    return high


def _weight_before(alpha: float, stages: int, bars: int) -> float:
    rest = 1.0 - alpha
    if rest == 0.0:
        return 0.0 if bars >= stages else 1.0
    return sum(comb(bars, hits) * alpha**hits * rest ** (bars - hits) for hits in range(min(stages, bars + 1)))


def ema_bars(period: int, stages: int = 1) -> int:
    """The bars that an EMA of `period` needs, or one of several EMAs of each other."""
    return bars_to_forget(2.0 / (period + 1), stages) + stages * (period - 1)


def wilder_bars(period: int, stages: int = 1) -> int:
    """The bars that Wilder's mean of `period` needs (TA-Lib's RMA, and those inside RSI, ATR and ADX)."""
    return bars_to_forget(1.0 / period, stages) + stages * (period - 1)


def mean_bars(matype: int, period: int) -> int:
    """The bars that a mean needs, by TA-Lib's number of its kind (`matype`), including those of its window.

    Raises ValueError for a number that is no mean of its own.
    """
    if matype == _DISABLED:
        return 1
    if matype in _WINDOWS:
        return period
    if matype in _STAGES:
        return ema_bars(period, _STAGES[matype]) + (period if matype == _ZLEMA else 0)
    if matype == _RMA:
        return wilder_bars(period)
    if matype == _HMA:
        return period + isqrt(period)
    if matype == _KAMA:
        return bars_to_forget(KAMA_SLOWEST) + period
    if matype == _MAMA:
        return bars_to_forget(_MAMA_SLOWEST, 2)
    raise ValueError(f"matype is {matype}, which is no kind of mean")
