"""The vocabulary of alerts: columns of bars, and the indicators and patterns of `analysis`."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from streamworkers.analysis.candles import CANDLE_TRAITS
from streamworkers.analysis.chart_patterns import CHART_PATTERNS
from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.analysis.own_indicators import OWN_INDICATORS
from streamworkers.analysis.parameters import ParameterValue
from streamworkers.analysis.ta_functions import (
    REJECTED_FUNCTIONS,
    candle_functions,
    indicator_functions,
    ta_function,
)
from streamworkers.errors import BadInputError, UnknownNameError, UsageError
from streamworkers.rules.market_functions import (
    BAR_ALIASES,
    BAR_FIELDS,
    OWN_LOOKBACKS,
    anchor_days,
    dimension_of,
    has_origin,
)
from streamworkers.rules.problem import RuleError
from streamworkers.rules.tree import Field, Params, Pattern
from streamworkers.rules.vocabulary import GivenParams


class MarketVocabulary:
    """Names of bar columns, functions, and definitions.

    A function of TA-Lib is written in any case (`rsi`, `RSI`), unless an own function has the lower-case name: `cmf` is
    ours, `CMF` TA-Lib's. A name without parameters is that of a definition first, then that of a function with its
    defaults.
    """

    def __init__(
        self, indicators: Iterable[IndicatorDefinition] = (), patterns: Iterable[PatternDefinition] = ()
    ) -> None:
        self._indicators = {definition.name: definition for definition in indicators}
        self._patterns = {definition.name: definition for definition in patterns}

    def find_field(self, name: str, params: GivenParams, output: str | None) -> Field:
        """The field of this name. Raises UsageError for an unknown name, output or parameter."""
        column = BAR_ALIASES.get(name.lower(), name.lower())
        if column in BAR_FIELDS:
            if params or output is not None:
                raise BadInputError(f"{column} is a column of the bar: it has no parameters and no outputs")
            return Field(column, dimension=BAR_FIELDS[column])
        definition = self._indicators.get(name) if params is None else None
        if definition is None:
            function = _match_name(name, indicator_functions(), OWN_INDICATORS)
            if function is None or function in REJECTED_FUNCTIONS:
                raise self._unknown_field(name, function)
            with _of_member("params"):
                definition = IndicatorDefinition("field", function, _by_name(function, params))
        return _field(definition, output)

    def find_pattern(self, name: str, params: GivenParams) -> tuple[Pattern, float]:
        """The pattern of this name and its threshold. Raises UsageError for an unknown name or parameter."""
        definition = self._patterns.get(name) if params is None else None
        if definition is None:
            function = _match_name(name, candle_functions(), CHART_PATTERNS)
            if function is None:
                known = {*self._patterns, *CHART_PATTERNS, *map(str.lower, candle_functions())}
                raise UnknownNameError("pattern", name, known)
            with _of_member("params"):
                definition = PatternDefinition("pattern", function, _by_name(function, params))
        return _pattern(definition), definition.confidence_threshold

    def _unknown_field(self, name: str, function: str | None) -> UnknownNameError | BadInputError:
        if function is not None:
            return BadInputError(f"{name} cannot be a field: {REJECTED_FUNCTIONS[function]}")
        if _match_name(name, candle_functions(), CHART_PATTERNS) or name in self._patterns:
            return BadInputError(f"{name!r} is a pattern: write pattern {name}")
        known = {*BAR_FIELDS, *BAR_ALIASES, *self._indicators, *OWN_INDICATORS, *map(_shown, indicator_functions())}
        return UnknownNameError("field", name, known)


def function_of(name: str) -> str:
    """The function of `analysis` that a field or pattern of a tree names."""
    functions = (*indicator_functions(), *candle_functions())
    return _match_name(name, functions, {**OWN_INDICATORS, **CHART_PATTERNS}) or name


def _match_name(name: str, ta_functions: Iterable[str], own: Iterable[str]) -> str | None:
    """The function that a name stands for: exactly, or TA-Lib's in another case."""
    if name in own:
        return name
    return name.upper() if name.upper() in ta_functions else None


def _shown(function: str) -> str:
    """How the tree names a function: in lower case, unless that is the name of an own one."""
    lower = function.lower()
    return function if lower in OWN_INDICATORS or lower in CHART_PATTERNS else lower


def _field(definition: IndicatorDefinition, output: str | None) -> Field:
    function = definition.function
    own = OWN_INDICATORS.get(function)
    outputs = ta_function(function).outputs if own is None else own.outputs
    chosen = outputs[0] if output is None else output
    if chosen not in outputs:
        with _of_member("output"):
            raise UnknownNameError(f"output of {_shown(function)}", chosen, outputs)
    params = {**_defaults(function), **definition.params}
    if params.get("anchor") == "start":
        raise RuleError(("params",), f"anchor 'start' of {function} depends on the first bar read; use a period")
    dimension = None if function == "SAREXT" else dimension_of(function, chosen)
    return Field(
        name=_shown(function),
        params=_ordered(function, params),
        output=chosen if len(outputs) > 1 else None,
        dimension=dimension,
        lookback=OWN_LOOKBACKS[function](params) if own else ta_function(function).lookback(params),
        days=anchor_days(params),
        has_origin=has_origin(function),
    )


def _pattern(definition: PatternDefinition) -> Pattern:
    function = definition.function
    params = {**_defaults(function), **definition.params}
    chart = CHART_PATTERNS.get(function)
    traits = CANDLE_TRAITS[function] if chart is None else chart.traits
    needed = ta_function(function).lookback(params) if chart is None else chart.bars_needed(params) - 1
    return Pattern(_shown(function), _ordered(function, params), traits.neutral, needed)


@contextmanager
def _of_member(member: str) -> Iterator[None]:
    """Make an error of `analysis` one about a member of the field or pattern."""
    try:
        yield
    except UsageError as error:
        raise RuleError((member,), str(error)) from None


@cache
def _defaults(function: str) -> Mapping[str, ParameterValue]:
    """The parameters of a function in its own order, with their defaults."""
    if function in CHART_PATTERNS:
        return CHART_PATTERNS[function].complete_params({})
    if function in OWN_INDICATORS:
        signature = inspect.signature(OWN_INDICATORS[function].function).parameters.values()
        return {each.name: each.default for each in signature if each.default is not inspect.Parameter.empty}
    return ta_function(function).defaults


def _ordered(function: str, params: Mapping[str, ParameterValue]) -> Params:
    return tuple((name, params[name]) for name in _defaults(function))


def _by_name(function: str, params: GivenParams) -> Mapping[str, Any]:
    """Parameters by name, not validated. Raises BadInputError for more than the function has."""
    if isinstance(params, Mapping):
        return params
    names, given = list(_defaults(function)), params or ()
    if len(given) > len(names):
        takes = f"{len(names)}: {', '.join(names)}" if names else "none"
        raise BadInputError(f"{_shown(function)} is given {len(given)} parameters, but takes {takes}")
    return dict(zip(names, given, strict=False))
