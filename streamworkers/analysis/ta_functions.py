"""What TA-Lib says about its functions: inputs, outputs, parameters and ranges, asked once per function."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np
import talib
import talib.abstract
from numpy.typing import NDArray

from streamworkers.analysis.parameters import ParameterValue, real_number, require_known, whole_number
from streamworkers.errors import BadInputError
from streamworkers.market.bars.bars import Bars, FloatArray

# The stubs of talib leave out the two functions that describe all others.
_describe: Callable[..., Any] = vars(talib.abstract)["Function"]
_ALL_FUNCTIONS: tuple[str, ...] = tuple(vars(talib)["get_functions"]())
CANDLE_FUNCTIONS = tuple(name for name in _ALL_FUNCTIONS if name.startswith("CDL"))
INDICATOR_FUNCTIONS = tuple(name for name in _ALL_FUNCTIONS if not name.startswith("CDL"))

REJECTED_FUNCTIONS = {
    "BETA": "it compares two symbols, and a definition sees the bars of one",
    "MAVP": "it needs a period for each bar, which bars do not carry",
}
# talib.abstract pairs high with low here, whose correlation says nothing.
_INPUTS = {"CORREL": ("close", "volume")}
_INT32 = 2**31 - 1


@dataclass(frozen=True, slots=True)
class TaFunction:
    """One TA-Lib function: how to call it, and what it takes and gives."""

    name: str
    function: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    defaults: Mapping[str, int | float]

    def lookback(self, params: Mapping[str, ParameterValue]) -> int:
        """The index of the first bar with a defined output; -1 where TA-Lib rejects a parameter."""
        return int(_describe(self.name, **params).lookback)

    def checked_params(self, params: Mapping[str, object]) -> dict[str, ParameterValue]:
        """The parameters in the types that TA-Lib takes.

        Raises UnknownNameError for a parameter it does not know and BadInputError for a value it does not
        accept.
        """
        require_known(self.name, params, self.defaults)
        return {name: self._checked(name, value) for name, value in params.items()}

    def _checked(self, name: str, value: object) -> int | float:
        whole = isinstance(self.defaults[name], int)
        number = whole_number(self.name, name, value) if whole else real_number(self.name, name, value)
        if not self._accepts(name, number):
            low, high = self._edge(name, -1), self._edge(name, 1)
            raise BadInputError(f"{name} of {self.name} is {number}, not in {low:g} to {high:g}")
        return number

    def _accepts(self, name: str, number: float) -> bool:
        # -2**31 is TA-Lib's own mark for "take the default", so it is no value.
        in_type = not isinstance(number, int) or -_INT32 <= number <= _INT32
        return in_type and self.lookback({name: number}) >= 0

    def _edge(self, name: str, side: int) -> int | float:
        """The last accepted value on one side of the default: TA-Lib tells its ranges only by rejecting."""
        inside = self.defaults[name]
        whole = isinstance(inside, int)
        outside: int | float = side * (_INT32 + 1 if whole else 1e300)
        while True:
            middle = (inside + outside) // 2 if whole else (inside + outside) / 2
            if middle in (inside, outside):
                return inside
            if self._accepts(name, middle):
                inside = middle
            else:
                outside = middle

    def bind(self, params: Mapping[str, ParameterValue]) -> Callable[[Bars], tuple[NDArray[Any], ...]]:
        """A function from a series of one bar or more to the outputs exactly as TA-Lib gives them."""
        function, arguments, take = self.function, dict(params), attrgetter(*self.inputs)
        single_input, single_output = len(self.inputs) == 1, len(self.outputs) == 1

        def call(series: Bars) -> tuple[NDArray[Any], ...]:
            arrays = (take(series),) if single_input else take(series)
            result = function(*arrays, **arguments)
            return (result,) if single_output else result

        return call

    def bind_floats(self, params: Mapping[str, ParameterValue]) -> Callable[[Bars], tuple[FloatArray, ...]]:
        """As `bind`, with whole-number outputs as float64 and NaN where TA-Lib fills in a 0 for "not yet"."""
        call, lookback = self.bind(params), self.lookback(params)
        if not self._gives_whole_numbers():
            return call

        def call_floats(series: Bars) -> tuple[FloatArray, ...]:
            return tuple(_with_nan(array, lookback) for array in call(series))

        return call_floats

    def _gives_whole_numbers(self) -> bool:
        result = self.function(*(np.ones(1) for _ in self.inputs))
        return any(array.dtype != np.float64 for array in (result if isinstance(result, tuple) else (result,)))


def _with_nan(array: NDArray[Any], lookback: int) -> FloatArray:
    floats = array.astype(np.float64)
    floats[:lookback] = np.nan
    return floats


@cache
def ta_function(name: str) -> TaFunction:
    """The TA-Lib function of that name, which must be one of CANDLE_FUNCTIONS or INDICATOR_FUNCTIONS.

    Functions of two price series (ADD, SUB, MULT, DIV) take high and low, as talib.abstract has it; CORREL
    takes close and volume. Raises BadInputError for the functions in REJECTED_FUNCTIONS.
    """
    if name in REJECTED_FUNCTIONS:
        raise BadInputError(f"TA-Lib function {name} cannot be an indicator: {REJECTED_FUNCTIONS[name]}")
    info = _describe(name).info
    inputs: list[str] = []
    for source in info["input_names"].values():
        inputs.extend(source if isinstance(source, list) else [source])
    return TaFunction(
        name=name,
        # The public function is wrapped for pandas and polars; arrays need none of that.
        function=inspect.unwrap(getattr(talib, name)),
        inputs=_INPUTS.get(name, tuple(inputs)),
        outputs=tuple(info["output_names"]),
        defaults=dict(info["parameters"]),
    )
