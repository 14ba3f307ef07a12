"""Logic with three values over arrays: true, false, and unknown where a value is missing."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamworkers.rules.truth import FALSE, TRUE, UNKNOWN

Truth = NDArray[np.int8]
_TRUE, _FALSE = np.int8(TRUE), np.int8(FALSE)


def negate(value: Truth) -> Truth:
    """The opposite; unknown stays unknown."""
    return -value


def all_of(values: Sequence[Truth]) -> Truth:
    """False where any is false, else unknown where any is unknown."""
    result: Truth = np.minimum.reduce(values)
    return result


def any_of(values: Sequence[Truth]) -> Truth:
    """True where any is true, else unknown where any is unknown."""
    result: Truth = np.maximum.reduce(values)
    return result


def at_least_of(count: int, values: Sequence[Truth]) -> Truth:
    """True where `count` are true, false where too few can become true, else unknown."""
    stacked = np.stack(values)
    true, possible = (stacked == TRUE).sum(axis=0), (stacked >= UNKNOWN).sum(axis=0)
    return np.where(true >= count, TRUE, np.where(possible < count, FALSE, UNKNOWN)).astype(np.int8)


def known_truth(true: NDArray[np.bool_], known: NDArray[np.bool_]) -> Truth:
    """True or false where it is known."""
    result: Truth = np.where(true, _TRUE, _FALSE) * known  # UNKNOWN is 0
    return result
