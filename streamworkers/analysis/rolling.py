"""Windows over arrays in which every value depends on its own window only, and division that gives NaN."""

import numpy as np

from streamworkers.market.bars.bars import FloatArray

# Decorates what divides: zero volume is no news, and an overflow gives inf, which is never stored.
quiet = np.errstate(all="ignore")


def rolling_sum(values: FloatArray, period: int) -> FloatArray:
    """The sum of each bar and the `period - 1` before it, NaN for the first `period - 1` bars.

    A running sum would carry the rounding error of every bar it ever saw, so that a value would depend on where
    the series starts. Here each window is the sum of blocks of 1, 2, 4, … bars, one for each bit of `period`, and
    each block is two of half its length: a few vector additions whatever the period.
    """
    length = len(values)
    if length < period:
        return np.full(length, np.nan)
    block, width = values, 1  # block[i] is the sum of `width` bars from i on
    total, covered = values, 0  # total[i] is the sum of `covered` bars from i on, once there are any
    while True:
        if period & width:
            total = total[:-width] + block[covered:] if covered else block
            covered += width
        if covered == period:
            break
        block, width = block[:-width] + block[width:], width * 2
    result = np.empty(length)
    result[: period - 1] = np.nan
    result[period - 1 :] = total
    return result


def shifted(values: FloatArray, bars: int) -> FloatArray:
    """The value `bars` (1 or more) bars earlier, NaN for the first `bars` bars."""
    result = np.empty(len(values))
    result[:bars] = np.nan
    result[bars:] = values[:-bars]
    return result


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """numerator / denominator, NaN where the denominator is not above zero or not defined.

    Divides first and corrects after, which is twice as fast, so the caller silences NumPy with `quiet`.
    """
    result = numerator / denominator
    np.copyto(result, np.nan, where=denominator <= 0)
    return result
