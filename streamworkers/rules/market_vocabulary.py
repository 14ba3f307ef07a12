"""The vocabulary of alerts for those who compute them: the functions of `analysis` themselves."""

import inspect
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache

from streamworkers.analysis.candles import CANDLE_TRAITS
from streamworkers.analysis.chart_patterns import CHART_PATTERNS
from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.analysis.own_indicators import OWN_INDICATORS
from streamworkers.analysis.parameters import ParameterValue, validate_params
from streamworkers.analysis.ta_functions import (
    REJECTED_FUNCTIONS,
    candle_functions,
    indicator_functions,
    ta_function,
)
from streamworkers.rules.function_facts import GivenValues
from streamworkers.rules.market_functions import OWN_LOOKBACKS
from streamworkers.rules.named_vocabulary import NamedVocabulary, match_name


class AnalysisFacts:
    """The functions of `analysis` as they are computed."""

    own_fields: Collection[str] = OWN_INDICATORS
    own_patterns: Collection[str] = CHART_PATTERNS
    rejected: Mapping[str, str] = REJECTED_FUNCTIONS

    @property
    def ta_fields(self) -> Collection[str]:
        return indicator_functions()

    @property
    def ta_patterns(self) -> Collection[str]:
        return candle_functions()

    def defaults(self, function: str) -> Mapping[str, ParameterValue]:
        """The parameters in the order of the function, with their defaults."""
        return _defaults(function)

    def validate(self, function: str, params: GivenValues) -> Mapping[str, ParameterValue]:
        """The given parameters in the types of the function. Raises UsageError."""
        own = OWN_INDICATORS.get(function) or CHART_PATTERNS.get(function)
        if own is not None:
            return validate_params(function, own.rules, params)
        return ta_function(function).validate_params(params)

    def outputs(self, function: str) -> Sequence[str]:
        """The names of what an indicator returns."""
        own = OWN_INDICATORS.get(function)
        return ta_function(function).outputs if own is None else own.outputs

    def lookback(self, function: str, params: GivenValues) -> int:
        """The bars before a bar that its value needs."""
        if function in OWN_LOOKBACKS:
            return OWN_LOOKBACKS[function](params)
        chart = CHART_PATTERNS.get(function)
        return ta_function(function).lookback(params) if chart is None else chart.bars_needed(params) - 1

    def is_neutral(self, function: str) -> bool:
        """True for a pattern without a direction."""
        chart = CHART_PATTERNS.get(function)
        return CANDLE_TRAITS[function].neutral if chart is None else chart.traits.neutral


class MarketVocabulary(NamedVocabulary):
    """The vocabulary of rules that are evaluated: it knows how many bars each field needs."""

    def __init__(
        self, indicators: Iterable[IndicatorDefinition] = (), patterns: Iterable[PatternDefinition] = ()
    ) -> None:
        super().__init__(AnalysisFacts(), indicators, patterns)


def function_of(name: str) -> str:
    """The function of `analysis` that a field or pattern of a tree names."""
    functions = (*indicator_functions(), *candle_functions())
    return match_name(name, functions, {**OWN_INDICATORS, **CHART_PATTERNS}) or name


@cache
def _defaults(function: str) -> Mapping[str, ParameterValue]:
    if function in CHART_PATTERNS:
        return CHART_PATTERNS[function].complete_params({})
    if function in OWN_INDICATORS:
        signature = inspect.signature(OWN_INDICATORS[function].function).parameters.values()
        return {each.name: each.default for each in signature if each.default is not inspect.Parameter.empty}
    return ta_function(function).defaults
