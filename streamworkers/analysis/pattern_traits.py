"""What is known of a pattern besides its detector: length, trend wanted, whether it has a direction."""

from dataclasses import dataclass
from typing import Literal

TrendBefore = Literal["opposite", "same", "any"]


@dataclass(frozen=True, slots=True)
class PatternTraits:
    """How the confidence rule is to see a pattern.

    `bars` is how many bars the pattern itself spans. `trend` is the trend wanted before it: `opposite` to
    its direction for a reversal, the `same` for a continuation, `any` where the pattern asks for none. A
    `neutral` pattern has no direction. A `narrow` one is the stronger the smaller the range of its bar.
    """

    bars: int
    trend: TrendBefore
    neutral: bool = False
    narrow: bool = False
