"""The side of each crossing leaf: where its left value was last seen, carried from one evaluation to the next.

A side is one number: 1 above (inside of a channel), -1 below (outside), 0 not seen yet; 2 and -2 the same after it was
reached by a crossing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamworkers.rules.logic import Truth, known_truth

Order = NDArray[np.int8]  # 1, -1, or 0 where the side is kept


@dataclass(frozen=True, slots=True)
class SidePath:
    """The sides of one leaf at every bar of an evaluation.

    `side` holds 1, -1 and 0, `changed` is true where the side became another that was seen before, `crossed` where the
    present side was reached so. `known` is false where a value was missing.
    """

    side: Order
    changed: NDArray[np.bool_]
    crossed: NDArray[np.bool_]
    known: NDArray[np.bool_]

    @property
    def last(self) -> int:
        """The side after the last bar, to begin the next evaluation with."""
        return int(self.side[-1]) * (2 if self.crossed[-1] else 1)

    def crosses(self, target: int, held: bool) -> Truth:
        """True at bars where the side became `target` (0: any); with `held`, until it changes back."""
        moment = self.crossed if held else self.changed
        return known_truth(moment if target == 0 else moment & (self.side == target), self.known)


def follow_sides(order: Order, known: NDArray[np.bool_], start: int) -> SidePath:
    """The sides at each bar, from the order of the values at the bar and the side before the first.

    Equal and unknown values keep the side.
    """
    places = np.arange(len(order))
    side = _fill(order, np.where(order != 0, places, -1), np.sign(start))
    before = np.concatenate(([np.sign(start)], side[:-1]))
    changed = (side != before) & (before != 0)
    crossed = np.logical_or.accumulate(changed) | (abs(start) == 2)
    return SidePath(side, changed, crossed, known)


def _fill(order: Order, seen: NDArray[np.intp], start: int) -> Order:
    last = np.maximum.accumulate(seen)
    return np.where(last >= 0, order[np.maximum(last, 0)], start).astype(np.int8)
