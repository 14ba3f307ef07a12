"""Validated rows of indicator_definitions and pattern_definitions: every instance can be computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from streamworkers.analysis.chart_patterns import CHART_PATTERNS
from streamworkers.analysis.own_indicators import OWN_INDICATORS
from streamworkers.analysis.parameters import ParameterValue, RealNumber, validate_params
from streamworkers.analysis.ta_functions import candle_functions, indicator_functions, ta_function
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.names import require_name

_THRESHOLD = RealNumber(0.0, 1.0)


@dataclass(frozen=True, slots=True)
class IndicatorDefinition:
    """An indicator to compute: a name, a function and its parameters.

    Functions of TA-Lib have upper-case names, own functions lower-case ones. Parameters that are not given have the
    defaults of the function. Raises UnknownNameError if the function or a parameter does not exist, and BadInputError
    if a value breaks its rule.
    """

    name: str
    function: str
    params: Mapping[str, ParameterValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_name("indicator", self.name)
        object.__setattr__(self, "params", _indicator_params(self.name, self.function, self.params))

    def __hash__(self) -> int:
        # Definitions are looked up in a cache for every series, and hashing the parameters as well would cost more.
        return hash(self.name)

    def all_params(self) -> dict[str, ParameterValue]:
        """The parameters, completed with the defaults of those that are not given."""
        own = OWN_INDICATORS.get(self.function)
        return _with_defaults(self.function, self.params) if own is None else own.complete_params(self.params)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """A definition from a row with name, function, and params (a decoded JSON object)."""
        return cls(name=row["name"], function=row["function"], params=row["params"])


@dataclass(frozen=True, slots=True)
class PatternDefinition:
    """A pattern to detect: a name, a TA-Lib candle function or own detector, its parameters, and a threshold.

    Detections with a confidence below `confidence_threshold` (0 to 1) are left out. Raises the same errors as
    IndicatorDefinition.
    """

    name: str
    function: str
    params: Mapping[str, ParameterValue] = field(default_factory=dict)
    confidence_threshold: float = 0.0

    def __post_init__(self) -> None:
        require_name("pattern", self.name)
        object.__setattr__(self, "params", _pattern_params(self.name, self.function, self.params))
        threshold = _THRESHOLD.validate(f"pattern {self.name}", "confidence_threshold", self.confidence_threshold)
        object.__setattr__(self, "confidence_threshold", threshold)

    def __hash__(self) -> int:
        return hash(self.name)

    def all_params(self) -> dict[str, ParameterValue]:
        """The parameters, completed with the defaults of those that are not given."""
        own = CHART_PATTERNS.get(self.function)
        return _with_defaults(self.function, self.params) if own is None else own.complete_params(self.params)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """A definition from a row with name, function, params and confidence_threshold."""
        return cls(
            name=row["name"],
            function=row["function"],
            params=row["params"],
            confidence_threshold=row["confidence_threshold"],
        )


def _require_object(name: str, params: object) -> Mapping[str, object]:
    if not isinstance(params, Mapping):
        raise BadInputError(f"params of {name} is {params!r}, not an object of parameter names and values")
    return params


def _with_defaults(function: str, params: Mapping[str, ParameterValue]) -> dict[str, ParameterValue]:
    return {**ta_function(function).defaults, **params}


def _indicator_params(name: str, function: str, params: object) -> dict[str, ParameterValue]:
    given = _require_object(name, params)
    if function in OWN_INDICATORS:
        return validate_params(function, OWN_INDICATORS[function].rules, given)
    if function in candle_functions():
        raise BadInputError(f"function {function} of indicator {name} finds a candle pattern; define it as a pattern")
    if function not in indicator_functions():
        raise UnknownNameError("indicator function", function, (*indicator_functions(), *OWN_INDICATORS))
    return ta_function(function).validate_params(given)


def _pattern_params(name: str, function: str, params: object) -> dict[str, ParameterValue]:
    given = _require_object(name, params)
    if function in CHART_PATTERNS:
        return validate_params(function, CHART_PATTERNS[function].rules, given)
    if function in indicator_functions() or function in OWN_INDICATORS:
        raise BadInputError(f"function {function} of pattern {name} gives values; define it as an indicator")
    if function not in candle_functions():
        raise UnknownNameError("pattern function", function, (*candle_functions(), *CHART_PATTERNS))
    return ta_function(function).validate_params(given)
