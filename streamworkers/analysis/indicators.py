"""Computes indicators from their definitions, with TA-Lib's functions and those of own_indicators."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from streamworkers.analysis.definitions import IndicatorDefinition
from streamworkers.analysis.flat import longest_calm
from streamworkers.analysis.history import History, HistoryWindows, Window, as_history, definition_length
from streamworkers.analysis.own_indicators import OWN_INDICATORS
from streamworkers.analysis.rolling import quiet
from streamworkers.analysis.ta_functions import ta_function
from streamworkers.analysis.undefined import UNDEFINED
from streamworkers.errors import BadInputError
from streamworkers.market.bars.bars import Bars, FloatArray, Mask
from streamworkers.market.calendar.timeframes import TIMEFRAMES, Timeframe


class BarValue(NamedTuple):
    """An indicator at one bar: the main value, and every output by name if there are several."""

    bar_index: int
    value: float
    outputs: dict[str, float] | None


@dataclass(frozen=True, slots=True)
class IndicatorValues:
    """The values of each definition, oldest bar first, and the names of definitions without a value at the last bar.

    `bars_used` has, for each value, the number of bars that it was computed from.
    """

    values: dict[str, list[BarValue]]
    missing: list[str]
    bars_used: dict[str, list[int]] = field(default_factory=dict)


class _Bound(NamedTuple):
    """A definition ready to be called: `call` takes a series of one bar or more."""

    call: Callable[[Bars], tuple[FloatArray, ...]]
    outputs: tuple[str, ...]
    undefined: Callable[[Bars], Mask] | None
    least_calm: int

    def compute(self, series: Bars, calm: int) -> tuple[FloatArray, ...]:
        """The outputs, with NaN where the indicator is undefined; `calm` is `longest_calm` of the series."""
        arrays = self.call(series)
        if self.undefined is None or calm < self.least_calm:
            return arrays
        undefined = self.undefined(series)
        if not undefined.any():
            return arrays
        return tuple(np.where(undefined, np.nan, array) for array in arrays)


def compute(definition: IndicatorDefinition, series: Bars) -> dict[str, FloatArray]:
    """Compute every output of an indicator, by name, the main output first.

    The arrays are float64, as long as the series, and NaN at bars where the output is not defined yet. TA-Lib's outputs
    have TA-Lib's names (a single one is `real`); a single output of an own function is `value`. Bars at which the
    formula divides by zero have NaN, too (undefined.py). The bars must be finite: call `series.require_valid()` first.
    """
    bound = _bind(definition)
    if len(series) == 0:
        return {output: np.empty(0) for output in bound.outputs}
    return dict(zip(bound.outputs, bound.compute(series, longest_calm(series)), strict=True))


def compute_last_bars(
    definitions: Sequence[IndicatorDefinition],
    series: Bars | History,
    last_bars: int = 1,
    timeframe: Timeframe = TIMEFRAMES["day"],
) -> IndicatorValues:
    """Compute each definition at the last `last_bars` bars, in the form in which values are stored.

    Each is computed from the window before its bar that history.py gives it, so a value does not depend on how many
    bars are asked for. Bars at which an output is not finite are left out; a definition without a value at the last bar
    is named in `missing`. Bar indices count from the first of the recent bars. Raises BadInputError if `last_bars` is
    below 1.
    """
    if last_bars < 1:
        raise BadInputError(f"last_bars is {last_bars}, but must be 1 or more")
    history = as_history(series)
    last = len(history.recent) - 1
    found, windows = IndicatorValues({}, []), HistoryWindows(history, last_bars, timeframe)
    for definition in definitions:
        values, used = _compute_windows(definition, windows.of_length(_length(definition, timeframe.name)))
        if values:
            found.values[definition.name], found.bars_used[definition.name] = values, used
        if not values or values[-1].bar_index != last:
            found.missing.append(definition.name)
    return found


def _compute_windows(definition: IndicatorDefinition, windows: Sequence[Window]) -> tuple[list[BarValue], list[int]]:
    """The values of a definition, and the bars that each was computed from."""
    bound = _bind(definition)
    values: list[BarValue] = []
    used: list[int] = []
    for window in windows:
        arrays, first, offset = bound.compute(window.bars, window.calm), window.first, window.offset
        for index, row in enumerate(zip(*(array[first:].tolist() for array in arrays), strict=True), first):
            if all(map(isfinite, row)):
                outputs = dict(zip(bound.outputs, row, strict=True)) if len(row) > 1 else None
                values.append(BarValue(index + offset, row[0], outputs))
                used.append(index + 1)
    return values, used


@lru_cache(maxsize=4096)
def _length(definition: IndicatorDefinition, timeframe: str) -> int | None:
    # The hash of a text is computed once, that of a timeframe at each call.
    return definition_length(definition, TIMEFRAMES[timeframe])


@lru_cache(maxsize=4096)
def _bind(definition: IndicatorDefinition) -> _Bound:
    own, params = OWN_INDICATORS.get(definition.function), definition.all_params()
    undefined = _bind_undefined(definition.function, params)
    if own is None:
        function = ta_function(definition.function)
        return _Bound(function.bind_floats(params), function.outputs, *undefined)
    compute_own, single = own.function, len(own.outputs) == 1

    def call(series: Bars) -> tuple[FloatArray, ...]:
        result = compute_own(series, **params)
        return (result,) if single else result

    return _Bound(call, own.outputs, *undefined)


def _bind_undefined(function: str, params: Mapping[str, Any]) -> tuple[Callable[[Bars], Mask] | None, int]:
    rule = UNDEFINED.get(function)
    if rule is None:
        return None, 0
    return quiet(lambda series: rule.mask(series, params)), rule.least_calm(params)
