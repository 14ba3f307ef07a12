"""Properties of a pattern that its confidence depends on: length, expected trend, direction, narrow range."""

from dataclasses import dataclass
from typing import Literal

TrendBefore = Literal["opposite", "same", "any"]


@dataclass(frozen=True, slots=True)
class PatternTraits:
    """How the confidence of a pattern is scored.

    `bars` is the number of bars that the pattern spans. `trend` is the trend expected before it: `opposite` to its
    direction for a reversal, `same` for a continuation, `any` if it expects none. A `neutral` pattern has no direction.
    A `narrow` pattern is stronger the smaller the range of its bar is.
    """

    bars: int
    trend: TrendBefore
    neutral: bool = False
    narrow: bool = False
