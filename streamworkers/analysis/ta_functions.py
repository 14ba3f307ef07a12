"""TA-Lib's functions with their inputs, outputs, parameters and ranges, as TA-Lib describes them."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamworkers.analysis.parameters import ParameterValue, require_known, to_real_number, to_whole_number
from streamworkers.analysis.ta_lib import talib
from streamworkers.errors import BadInputError
from streamworkers.market.bars.bars import Bars, FloatArray

REJECTED_FUNCTIONS = {
    "BETA": "it compares two symbols, and a definition has the bars of one",
    "MAVP": "it needs a period for each bar, which bars do not have",
}
# talib.abstract takes high and low here, whose correlation is meaningless.
_INPUTS = {"CORREL": ("close", "volume")}
_INT32 = 2**31 - 1


def _list_functions() -> list[str]:
    # The stubs of TA-Lib lack the types of this function.
    names: list[str] = talib.get_functions()  # type: ignore[no-untyped-call]
    return names


@cache
def candle_functions() -> tuple[str, ...]:
    """The names of TA-Lib's candle patterns."""
    return tuple(name for name in _list_functions() if name.startswith("CDL"))


@cache
def indicator_functions() -> tuple[str, ...]:
    """The names of TA-Lib's functions that are no candle patterns."""
    return tuple(name for name in _list_functions() if not name.startswith("CDL"))


def _describe(name: str, **params: ParameterValue) -> Any:
    """TA-Lib's own description of a function: inputs, outputs, defaults, and the lookback with these parameters."""
    return importlib.import_module("talib.abstract").Function(name, **params)


@dataclass(frozen=True, slots=True)
class TaFunction:
    """One TA-Lib function: how to call it, its inputs and outputs, and the defaults of its parameters."""

    name: str
    function: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    defaults: Mapping[str, int | float]

    def lookback(self, params: Mapping[str, ParameterValue]) -> int:
        """The index of the first bar with a defined output; -1 if TA-Lib rejects a parameter."""
        return int(_describe(self.name, **params).lookback)

    def validate_params(self, params: Mapping[str, object]) -> dict[str, ParameterValue]:
        """The parameters in the types that TA-Lib takes.

        Raises UnknownNameError for a parameter that the function does not have, and BadInputError for a value that
        TA-Lib does not accept.
        """
        require_known(self.name, params, self.defaults)
        return {name: self._validate(name, value) for name, value in params.items()}

    def _validate(self, name: str, value: object) -> int | float:
        whole = isinstance(self.defaults[name], int)
        number = to_whole_number(self.name, name, value) if whole else to_real_number(self.name, name, value)
        if not self.accepts(name, number):
            low, high = self.edge(name, -1), self.edge(name, 1)
            raise BadInputError(f"{name} of {self.name} is {number}, not in {low:g} to {high:g}")
        return number

    def accepts(self, name: str, number: float) -> bool:
        """True if TA-Lib takes this value of a parameter, the others at their defaults."""
        # -2**31 stands for "use the default" in TA-Lib, so it is not a value.
        in_type = not isinstance(number, int) or -_INT32 <= number <= _INT32
        return in_type and self.lookback({name: number}) >= 0

    def edge(self, name: str, side: int) -> int | float:
        """The last accepted value on one side of the default, by bisection: TA-Lib does not publish its ranges."""
        inside = self.defaults[name]
        whole = isinstance(inside, int)
        outside: int | float = side * (_INT32 + 1 if whole else 1e300)
        while True:
            middle = (inside + outside) // 2 if whole else (inside + outside) / 2
            if middle in (inside, outside):
                return inside
            if self.accepts(name, middle):
                inside = middle
            else:
                outside = middle

    def bind(self, params: Mapping[str, ParameterValue]) -> Callable[[Bars], tuple[NDArray[Any], ...]]:
        """A function from a series of at least one bar to TA-Lib's outputs, unchanged."""
        function, arguments, take = self.function, dict(params), attrgetter(*self.inputs)
        single_input, single_output = len(self.inputs) == 1, len(self.outputs) == 1

        def call(series: Bars) -> tuple[NDArray[Any], ...]:
            arrays = (take(series),) if single_input else take(series)
            result = function(*arrays, **arguments)
            return (result,) if single_output else result

        return call

    def bind_floats(self, params: Mapping[str, ParameterValue]) -> Callable[[Bars], tuple[FloatArray, ...]]:
        """As `bind`, with integer outputs as float64, and NaN where TA-Lib has a 0 for "not defined yet".

        A function of the volume has no value from the first bar on of which it is not known.
        """
        call, lookback = self.bind(params), self.lookback(params)
        if not self._gives_whole_numbers():
            return _until_unknown(call) if "volume" in self.inputs else call

        def call_floats(series: Bars) -> tuple[FloatArray, ...]:
            return tuple(_with_nan(array, lookback) for array in call(series))

        return call_floats

    def _gives_whole_numbers(self) -> bool:
        result = self.function(*(np.ones(1) for _ in self.inputs))
        return any(array.dtype != np.float64 for array in (result if isinstance(result, tuple) else (result,)))


def _until_unknown(call: Callable[[Bars], tuple[FloatArray, ...]]) -> Callable[[Bars], tuple[FloatArray, ...]]:
    """Give no value from the first bar on whose volume is NaN: in TA-Lib's running sums it would stay, or be lost."""

    def call_until_unknown(series: Bars) -> tuple[FloatArray, ...]:
        unknown = np.isnan(series.volume)
        if not unknown.any():
            return call(series)
        arrays = call(replace(series, volume=np.where(unknown, 0.0, series.volume)))
        for array in arrays:
            array[int(unknown.argmax()) :] = np.nan
        return arrays

    return call_until_unknown


def _with_nan(array: NDArray[Any], lookback: int) -> FloatArray:
    floats = array.astype(np.float64)
    floats[:lookback] = np.nan
    return floats


@cache
def ta_function(name: str) -> TaFunction:
    """The TA-Lib function of that name, which must be one of `candle_functions()` or `indicator_functions()`.

    Functions of two price series (ADD, SUB, MULT, DIV) use high and low, as talib.abstract does; CORREL uses close and
    volume. Raises BadInputError for the functions in REJECTED_FUNCTIONS.
    """
    if name in REJECTED_FUNCTIONS:
        raise BadInputError(f"TA-Lib function {name} cannot be an indicator: {REJECTED_FUNCTIONS[name]}")
    info = _describe(name).info
    inputs: list[str] = []
    for source in info["input_names"].values():
        inputs.extend(source if isinstance(source, list) else [source])
    return TaFunction(
        name=name,
        function=getattr(talib, name),
        inputs=_INPUTS.get(name, tuple(inputs)),
        outputs=tuple(info["output_names"]),
        defaults=dict(info["parameters"]),
    )
