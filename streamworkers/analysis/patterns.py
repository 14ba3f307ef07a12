"""Detects patterns from their definitions, with TA-Lib's candle functions and the detectors of chart_patterns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamworkers.analysis.candles import CANDLE_TRAITS
from streamworkers.analysis.chart_patterns import CHART_PATTERNS
from streamworkers.analysis.confidence import (
    CONFIDENCE_METHOD,
    ConfidenceContext,
    combine_parts,
    score_parts,
)
from streamworkers.analysis.definitions import PatternDefinition
from streamworkers.analysis.pattern_traits import PatternTraits
from streamworkers.analysis.ta_functions import ta_function
from streamworkers.errors import BadInputError
from streamworkers.market.bars.bars import Bars

Direction = Literal["bullish", "bearish", "neutral"]


@dataclass(frozen=True, slots=True)
class Detection:
    """A pattern detected at one bar.

    `bar_index` is the index of the bar in the series. `signal` is the value of the function: ±100, with TA-Lib also ±80
    and ±200. `confidence` is the score of confidence.py, from 0 to 1, rounded to four decimals. `metadata` holds the
    `parts` of the score, the `confidence_method` and the `function`.
    """

    pattern_name: str
    bar_index: int
    direction: Direction
    signal: int
    confidence: float
    metadata: dict[str, Any]


class _Bound(NamedTuple):
    """A definition ready to be called: `signals` takes a series of at least `bars_needed` bars."""

    signals: Callable[[Bars], NDArray[np.int32]]
    bars_needed: int
    traits: PatternTraits


def detect(
    definitions: Sequence[PatternDefinition], series: Bars, last_bars: int = 1
) -> tuple[list[Detection], list[str]]:
    """Detect patterns at the last `last_bars` bars of a series.

    Returns the detections, and the names of the definitions that need a longer series. Detections are in the order of
    the definitions, oldest bar first; those below the confidence threshold of their definition are left out. Raises
    BadInputError if `last_bars` is below 1.
    """
    if last_bars < 1:
        raise BadInputError(f"last_bars is {last_bars}, but must be 1 or more")
    length = len(series)
    first = max(0, length - last_bars)
    context = ConfidenceContext(series)
    detections: list[Detection] = []
    missing: list[str] = []
    for definition in definitions:
        bound = _bind(definition)
        if length < bound.bars_needed:
            missing.append(definition.name)
            continue
        for index, signal in enumerate(bound.signals(series)[first:].tolist(), first):
            if signal:
                detection = _detection(definition, bound.traits, context, index, signal)
                if detection.confidence >= definition.confidence_threshold:
                    detections.append(detection)
    return detections, missing


def _detection(
    definition: PatternDefinition, traits: PatternTraits, context: ConfidenceContext, index: int, signal: int
) -> Detection:
    parts = score_parts(context, traits, index, signal)
    direction: Direction = "neutral" if traits.neutral else ("bullish" if signal > 0 else "bearish")
    return Detection(
        pattern_name=definition.name,
        bar_index=index,
        direction=direction,
        signal=signal,
        confidence=round(combine_parts(parts), 4),
        metadata={
            "parts": {name: round(part, 4) for name, part in parts.items()},
            "confidence_method": CONFIDENCE_METHOD,
            "function": definition.function,
        },
    )


@lru_cache(maxsize=4096)
def _bind(definition: PatternDefinition) -> _Bound:
    chart = CHART_PATTERNS.get(definition.function)
    if chart is None:
        function = ta_function(definition.function)
        params = definition.all_params()
        candle, bars_needed = function.bind(params), function.lookback(params) + 1
        return _Bound(lambda series: candle(series)[0], bars_needed, CANDLE_TRAITS[definition.function])
    detector, params = chart.detect, definition.all_params()
    return _Bound(lambda series: detector(series, **params), chart.bars_needed(params), chart.traits)
