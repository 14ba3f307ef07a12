"""Computes indicators from their definitions, with TA-Lib's functions and those of own_indicators."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import NamedTuple

import numpy as np

from streamworkers.analysis.definitions import IndicatorDefinition
from streamworkers.analysis.own_indicators import OWN_INDICATORS
from streamworkers.analysis.ta_functions import ta_function
from streamworkers.errors import BadInputError
from streamworkers.market.bars.bars import Bars, FloatArray


class BarValue(NamedTuple):
    """An indicator at one bar: the main value, and every output by name if there are several."""

    bar_index: int
    value: float
    outputs: dict[str, float] | None


@dataclass(frozen=True, slots=True)
class IndicatorValues:
    """The values of each definition, oldest bar first, and the names of definitions without a value at the last bar."""

    values: dict[str, list[BarValue]]
    missing: list[str]


class _Bound(NamedTuple):
    """A definition ready to be called: `call` takes a series of one bar or more."""

    call: Callable[[Bars], tuple[FloatArray, ...]]
    outputs: tuple[str, ...]


def compute(definition: IndicatorDefinition, series: Bars) -> dict[str, FloatArray]:
    """Compute every output of an indicator, by name, the main output first.

    The arrays are float64, as long as the series, and NaN at bars where the output is not defined yet. TA-Lib's outputs
    have TA-Lib's names (a single one is `real`); a single output of an own function is `value`. The bars must be
    finite: call `series.require_valid()` first.
    """
    bound = _bind(definition)
    if len(series) == 0:
        return {output: np.empty(0) for output in bound.outputs}
    return dict(zip(bound.outputs, bound.call(series), strict=True))


def compute_last_bars(definitions: Sequence[IndicatorDefinition], series: Bars, last_bars: int = 1) -> IndicatorValues:
    """Compute each definition at the last `last_bars` bars, in the form in which values are stored.

    Bars at which an output is not finite are left out; a definition without a value at the last bar is named in
    `missing`. Raises BadInputError if `last_bars` is below 1.
    """
    if last_bars < 1:
        raise BadInputError(f"last_bars is {last_bars}, but must be 1 or more")
    if len(series) == 0:
        return IndicatorValues({}, [definition.name for definition in definitions])
    first, last = max(0, len(series) - last_bars), len(series) - 1
    values: dict[str, list[BarValue]] = {}
    missing: list[str] = []
    for definition in definitions:
        bound = _bind(definition)
        found = _finite_bars(bound.call(series), bound.outputs, first)
        if found:
            values[definition.name] = found
        if not found or found[-1].bar_index != last:
            missing.append(definition.name)
    return IndicatorValues(values, missing)


def _finite_bars(arrays: tuple[FloatArray, ...], outputs: tuple[str, ...], first: int) -> list[BarValue]:
    if len(arrays) == 1:
        column = arrays[0][first:].tolist()
        return [BarValue(index, value, None) for index, value in enumerate(column, first) if isfinite(value)]
    rows = zip(*(array[first:].tolist() for array in arrays), strict=True)
    return [
        BarValue(index, row[0], dict(zip(outputs, row, strict=True)))
        for index, row in enumerate(rows, first)
        if all(map(isfinite, row))
    ]


@lru_cache(maxsize=4096)
def _bind(definition: IndicatorDefinition) -> _Bound:
    own = OWN_INDICATORS.get(definition.function)
    if own is None:
        function = ta_function(definition.function)
        return _Bound(function.bind_floats(definition.params), function.outputs)
    compute_own, params, single = own.function, dict(definition.params), len(own.outputs) == 1

    def call(series: Bars) -> tuple[FloatArray, ...]:
        result = compute_own(series, **params)
        return (result,) if single else result

    return _Bound(call, own.outputs)
