"""Detects patterns from their definitions, with TA-Lib's candle functions and the detectors of chart_patterns."""

from collections.abc import Callable, Iterator, Sequence
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
from streamworkers.analysis.history import (
    CONFIDENCE_BARS,
    PATTERN_BARS,
    History,
    HistoryWindows,
    Window,
    as_history,
    pattern_length,
)
from streamworkers.analysis.pattern_traits import PatternTraits
from streamworkers.analysis.ta_functions import ta_function
from streamworkers.errors import BadInputError
from streamworkers.market.bars.bars import Bars
from streamworkers.market.calendar.timeframes import TIMEFRAMES, Timeframe

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
    """A definition ready to be called: `signals` takes a series of at least `bars_needed` bars.

    `length` is that of the windows that it is computed on.
    """

    signals: Callable[[Bars], NDArray[np.int32]]
    bars_needed: int
    length: int
    traits: PatternTraits


def detect(
    definitions: Sequence[PatternDefinition],
    series: Bars | History,
    last_bars: int = 1,
    timeframe: Timeframe = TIMEFRAMES["day"],
) -> tuple[list[Detection], list[str]]:
    """Detect patterns at the last `last_bars` bars of a series.

    Returns the detections, and the names of the definitions that need a longer series. Detections are in the order of
    the definitions, oldest bar first; those below the confidence threshold of their definition are left out. Pattern
    and confidence are computed from windows before the bar, as indicators are; a pattern whose window a limit cut is
    not looked for. Raises BadInputError if `last_bars` is
    below 1.
    """
    if last_bars < 1:
        raise BadInputError(f"last_bars is {last_bars}, but must be 1 or more")
    history = as_history(series)
    windows = HistoryWindows(history, last_bars, timeframe)
    detections: list[Detection] = []
    missing: list[str] = []
    scores = _Scores(windows)
    for definition in definitions:
        bound = _bind(definition)
        found = windows.of_all_columns(bound.length)
        if len(history.recent) < bound.bars_needed or (found and found[-1].cut):
            missing.append(definition.name)
            continue
        for index, signal in _signals(bound, found):
            detection = _detection(definition, index, signal, scores.parts(bound.traits, index, signal))
            if detection.confidence >= definition.confidence_threshold:
                detections.append(detection)
    return detections, missing


def longest_pattern(definitions: Sequence[PatternDefinition]) -> int:
    """The length of the longest windows that patterns need."""
    return max((_bind(definition).length for definition in definitions), default=PATTERN_BARS)


def _signals(bound: _Bound, windows: Sequence[Window]) -> Iterator[tuple[int, int]]:
    """The indices of recent bars with a signal, and the signals."""
    for window in windows:
        # Where there is no detection, no row says from how many bars that was found: a cut window must not add one.
        if len(window.bars) < bound.bars_needed or window.cut:
            continue
        first, offset = window.first, window.offset
        for place, signal in enumerate(bound.signals(window.bars)[first:].tolist(), first):
            if signal:
                yield place + offset, signal


class _Scores:
    """The parts of the scores of detections, each from the window before its bar."""

    def __init__(self, windows: HistoryWindows) -> None:
        self._windows = windows
        self._contexts: dict[int, ConfidenceContext] = {}

    def parts(self, traits: PatternTraits, index: int, signal: int) -> dict[str, float]:
        """The parts of the score of a pattern with this signal at a recent bar."""
        window = self._windows.at(index, CONFIDENCE_BARS)
        context = self._contexts.get(window.offset)
        if context is None:
            context = self._contexts[window.offset] = ConfidenceContext(window.bars)
        return score_parts(context, traits, index - window.offset, signal)


def _detection(definition: PatternDefinition, index: int, signal: int, parts: dict[str, float]) -> Detection:
    neutral = _bind(definition).traits.neutral
    direction: Direction = "neutral" if neutral else ("bullish" if signal > 0 else "bearish")
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
        length = pattern_length(bars_needed)
        return _Bound(lambda series: candle(series)[0], bars_needed, length, CANDLE_TRAITS[definition.function])
    detector, params = chart.detect, definition.all_params()
    length = pattern_length(chart.bars_to_settle(params))
    return _Bound(lambda series: detector(series, **params), chart.bars_needed(params), length, chart.traits)
