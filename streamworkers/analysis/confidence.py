"""Scores how closely a pattern resembles its textbook form, from 0 to 1.

The score is a rule, not a probability: nothing here was fitted to outcomes. It is the weighted mean of up to four
parts, each from 0 to 1, where 0.5 is an ordinary bar. A part that cannot be computed, or that does not apply to the
pattern, is left out, and the weights of the others are scaled up; without any part the score is 0.5. The score depends
only on the pattern's bar and earlier ones.

- trend (weight 0.35): the move of the close over the 10 bars that end before the pattern, in ATRs. Three ATRs or more
  in the expected direction give 1, in the other direction 0, and no move 0.5. Reversals expect the opposite of their
  direction, continuations the same. Left out if the pattern expects no trend or has no direction.
- confirmation (0.25): where in its range the bar closed; 1 at the end that the direction points to. Left out if the
  pattern has no direction or the bar has no range.
- volume (0.25): the volume of the bar relative to the mean of the 20 bars before. The mean gives 0.5, twice the mean or
  more 1.
- range (0.15): high - low relative to the ATR of the bar before. One ATR gives 0.5, two or more 1. Inverted (no range
  gives 1) for patterns that consist in a narrow bar.

ATR is Wilder's average true range over 14 bars.
"""

from functools import cached_property

from streamworkers.analysis.own_indicators import relative_volume
from streamworkers.analysis.pattern_traits import PatternTraits
from streamworkers.analysis.ta_lib import talib
from streamworkers.market.bars.bars import Bars, FloatArray

CONFIDENCE_METHOD = "rule-v1"
CONFIDENCE_WEIGHTS = {"trend": 0.35, "confirmation": 0.25, "volume": 0.25, "range": 0.15}
TREND_BARS = 10
TREND_FULL_ATRS = 3.0
VOLUME_BARS = 20
ATR_BARS = 14
NO_PARTS = 0.5


class ConfidenceContext:
    """The ATR and relative volume of a series, each computed at most once, and only if a pattern is detected."""

    def __init__(self, series: Bars) -> None:
        self.series = series

    @cached_property
    def atr(self) -> FloatArray:
        """Average true range at each bar, in units of price; NaN where it is not defined yet."""
        series = self.series
        result: FloatArray = talib.ATR(series.high, series.low, series.close, ATR_BARS)
        return result

    @cached_property
    def relative_volume(self) -> FloatArray:
        """Volume at each bar divided by the mean of the bars before; NaN where that mean is not defined yet or zero."""
        return relative_volume(self.series, period=VOLUME_BARS)

    def atr_at(self, index: int) -> float | None:
        """The ATR at a bar, or None if it is not defined or zero."""
        atr = self.atr.item(index) if index >= 0 else 0.0
        return atr if atr > 0 else None


def score_parts(context: ConfidenceContext, traits: PatternTraits, index: int, signal: int) -> dict[str, float]:
    """The parts of the score, each from 0 to 1, of a pattern with this signal at the bar `index`, where computable."""
    side = 0 if traits.neutral else (1 if signal > 0 else -1)
    parts = {
        "trend": _trend(context, traits, index, side),
        "confirmation": _confirmation(context.series, index, side),
        "volume": _volume(context, index),
        "range": _range(context, traits, index),
    }
    return {name: part for name, part in parts.items() if part is not None}


def combine_parts(parts: dict[str, float]) -> float:
    """The weighted mean of the parts that are present, from 0 to 1."""
    if not parts:
        return NO_PARTS
    total = sum(CONFIDENCE_WEIGHTS[name] for name in parts)
    return sum(CONFIDENCE_WEIGHTS[name] * part for name, part in parts.items()) / total


def _trend(context: ConfidenceContext, traits: PatternTraits, index: int, side: int) -> float | None:
    end = index - traits.bars
    begin = end - TREND_BARS
    if side == 0 or traits.trend == "any" or begin < 0:
        return None
    atr = context.atr_at(end)
    if atr is None:
        return None
    close = context.series.close
    wanted = side if traits.trend == "same" else -side
    move = (close.item(end) - close.item(begin)) / (TREND_FULL_ATRS * atr)
    return _unit(0.5 + 0.5 * wanted * move)


def _confirmation(series: Bars, index: int, side: int) -> float | None:
    high, low, close = series.high.item(index), series.low.item(index), series.close.item(index)
    if side == 0 or high <= low:
        return None
    return _unit((close - low if side > 0 else high - close) / (high - low))


def _volume(context: ConfidenceContext, index: int) -> float | None:
    relative = context.relative_volume.item(index)
    return _unit(relative / 2.0) if relative >= 0 else None


def _range(context: ConfidenceContext, traits: PatternTraits, index: int) -> float | None:
    atr = context.atr_at(index - 1)
    if atr is None:
        return None
    width = (context.series.high.item(index) - context.series.low.item(index)) / (2.0 * atr)
    return 1.0 - _unit(width) if traits.narrow else _unit(width)


def _unit(score: float) -> float:
    return min(1.0, max(0.0, score))
