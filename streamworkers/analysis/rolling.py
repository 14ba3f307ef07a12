"""Rolling windows in which each value depends only on its own window, and division that gives NaN."""

import numpy as np

from streamworkers.market.bars.bars import FloatArray

# For functions that divide: zero volume is common, and an overflow gives inf, which is never stored.
quiet = np.errstate(all="ignore")


def rolling_sum(values: FloatArray, period: int) -> FloatArray:
    """The sum of each value and the `period - 1` values before it; NaN for the first `period - 1` values.

    A running sum would accumulate the rounding errors of all earlier values, so that a result would depend on where the
    series starts. Here each window is the sum of blocks of 1, 2, 4, … values, one for each bit of `period`, and each
    block is the sum of two blocks of half its length: a few vector additions whatever the period.
    """
    length = len(values)
    if length < period:
        return np.full(length, np.nan)
    block, width = values, 1  # block[i] is the sum of `width` values from i on
    total, covered = values, 0  # total[i] is the sum of `covered` values from i on, once there are any
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


def shift(values: FloatArray, bars: int) -> FloatArray:
    """The value `bars` (1 or more) bars earlier; NaN for the first `bars` bars."""
    result = np.empty(len(values))
    result[:bars] = np.nan
    result[bars:] = values[:-bars]
    return result


def divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """numerator / denominator; NaN where the denominator is zero, negative or NaN.

    The caller must silence NumPy with `quiet`: dividing first and correcting afterwards is twice as fast.
    """
    result = numerator / denominator
    np.copyto(result, np.nan, where=denominator <= 0)
    return result
