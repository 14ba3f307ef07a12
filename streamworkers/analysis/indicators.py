"""Computes indicators by their definitions: TA-Lib's functions and our own behind one call."""

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
    """An indicator at one bar: its main value, and every output by name where there are several."""

    bar_index: int
    value: float
    outputs: dict[str, float] | None


@dataclass(frozen=True, slots=True)
class IndicatorValues:
    """Values by definition name, oldest bar first, and the names without a value at the last bar."""

    values: dict[str, list[BarValue]]
    missing: list[str]


class _Bound(NamedTuple):
    """A definition made ready to call: `call` takes a series of one bar or more."""

    call: Callable[[Bars], tuple[FloatArray, ...]]
    outputs: tuple[str, ...]


def compute(definition: IndicatorDefinition, series: Bars) -> dict[str, FloatArray]:
    """Every output by name, the main one first: float64, as long as the series, NaN where not defined yet.

    TA-Lib's outputs keep TA-Lib's names (`real` where there is one); own functions name theirs `value`
    where there is one. The bars must be finite: call `series.require_valid()` first.
    """
    bound = _bind(definition)
    if len(series) == 0:
        return {output: np.empty(0) for output in bound.outputs}
    return dict(zip(bound.outputs, bound.call(series), strict=True))


def indicator_values(definitions: Sequence[IndicatorDefinition], series: Bars, last_bars: int = 1) -> IndicatorValues:
    """The values of each definition at the last `last_bars` bars, as they would be stored.

    A bar counts where every output is finite; elsewhere it is left out, and a definition without a value at
    the last bar is also named in `missing`. Raises BadInputError where `last_bars` is below 1.
    """
    if last_bars < 1:
        raise BadInputError(f"last_bars is {last_bars}; at least one bar must be asked for")
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
