"""Definitions that cannot be computed are rejected with an error that names the value and the rule."""

import inspect
from typing import Any

import pytest
import talib.abstract

from streamworkers.analysis.candles import CANDLE_TRAITS
from streamworkers.analysis.chart_patterns import CHART_PATTERNS
from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.analysis.own_indicators import OWN_INDICATORS
from streamworkers.analysis.ta_functions import REJECTED_FUNCTIONS, candle_functions, indicator_functions
from streamworkers.errors import BadInputError, UnknownNameError


def _message(kind: type, error: type[Exception], **row: Any) -> str:
    with pytest.raises(error) as caught:
        kind(**row)
    return str(caught.value)


@pytest.mark.parametrize(
    ("function", "params", "message"),
    [
        ("RSI", {"timeperiod": 1}, "timeperiod of RSI is 1, not in 2 to 100000"),
        ("RSI", {"timeperiod": 100_001}, "timeperiod of RSI is 100001, not in 2 to 100000"),
        ("RSI", {"timeperiod": 2**31}, "timeperiod of RSI is 2147483648, not in 2 to 100000"),
        ("RSI", {"timeperiod": -(2**31)}, "timeperiod of RSI is -2147483648, not in 2 to 100000"),
        ("SMA", {"timeperiod": 14.5}, "timeperiod of SMA is 14.5, not a whole number"),
        ("SMA", {"timeperiod": "14"}, "timeperiod of SMA is '14', not a whole number"),
        ("SMA", {"timeperiod": True}, "timeperiod of SMA is True, not a whole number"),
        ("MA", {"matype": 14}, "matype of MA is 14, not in 0 to 13"),
        ("BBANDS", {"nbdevup": float("nan")}, "nbdevup of BBANDS is nan, not a finite number"),
        ("BBANDS", {"nbdevup": "wide"}, "nbdevup of BBANDS is 'wide', not a finite number"),
        ("MAMA", {"fastlimit": 1.5}, "fastlimit of MAMA is 1.5, not in 0.01 to 0.99"),
        ("OBV", {"period": 3}, "OBV takes no parameters, but the definition gives 'period'"),
        ("CDLDOJI", {}, "function CDLDOJI of indicator x finds a candle pattern; define it as a pattern"),
        ("cmf", {"period": 0}, "period of cmf is 0, not in 1 to 100000"),
        ("cmf", {"period": 2.5}, "period of cmf is 2.5, not a whole number"),
        ("keltner", {"multiplier": 0}, "multiplier of keltner is 0, not in 0.01 to 100"),
        ("keltner", {"multiplier": None}, "multiplier of keltner is None, not a finite number"),
        ("anchored_vwap", {"anchor": "decade"},
         "anchor of anchored_vwap is 'decade', not one of year, quarter, month, day, session, start"),
        ("SMA", [14], "params of x is [14], not an object of parameter names and values"),
    ],
)  # fmt: skip
def test_an_indicator_value_that_breaks_a_rule_is_named_with_the_rule(function: str, params: Any, message: str) -> None:
    assert _message(IndicatorDefinition, BadInputError, name="x", function=function, params=params) == message


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("BETA", "it compares two symbols, and a definition has the bars of one"),
        ("MAVP", "it needs a period for each bar, which bars do not have"),
    ],
)
def test_a_ta_lib_function_that_needs_more_than_bars_is_rejected_with_the_reason(function: str, reason: str) -> None:
    found = _message(IndicatorDefinition, BadInputError, name="x", function=function, params={})
    assert found == f"TA-Lib function {function} cannot be an indicator: {reason}"


@pytest.mark.parametrize(
    ("function", "params", "message"),
    [
        ("SMMA", {}, "no indicator function is named 'SMMA'; did you mean 'SMA'?"),
        ("relative_volum", {}, "no indicator function is named 'relative_volum'; did you mean 'relative_volume'?"),
        ("SMA", {"period": 14}, "no parameter of SMA is named 'period'; did you mean 'timeperiod'?"),
        ("cmf", {"window": 14}, "no parameter of cmf is named 'window'; known: period"),
    ],
)
def test_an_unknown_indicator_name_suggests_the_nearest(function: str, params: dict[str, Any], message: str) -> None:
    found = _message(IndicatorDefinition, UnknownNameError, name="x", function=function, params=params)
    assert found == message


@pytest.mark.parametrize(
    ("function", "params", "threshold", "error", "message"),
    [
        ("CDLENGULFNG", {}, 0.0, UnknownNameError,
         "no pattern function is named 'CDLENGULFNG'; did you mean 'CDLENGULFING'?"),
        ("golden_cros", {}, 0.0, UnknownNameError,
         "no pattern function is named 'golden_cros'; did you mean 'golden_cross'?"),
        ("SMA", {}, 0.0, BadInputError, "function SMA of pattern x gives values; define it as an indicator"),
        ("cmf", {}, 0.0, BadInputError, "function cmf of pattern x gives values; define it as an indicator"),
        ("CDLDOJI", {"penetration": 0.3}, 0.0, BadInputError,
         "CDLDOJI takes no parameters, but the definition gives 'penetration'"),
        ("CDLMORNINGSTAR", {"penetration": -1}, 0.0, BadInputError,
         "penetration of CDLMORNINGSTAR is -1.0, not in 0 to 3e+37"),
        ("inside_bar", {"bars": 3}, 0.0, BadInputError,
         "inside_bar takes no parameters, but the definition gives 'bars'"),
        ("nr7", {"bars": 2}, 0.0, BadInputError, "bars of nr7 is 2, not in 3 to 100000"),
        ("nr7", {"width": 2}, 0.0, UnknownNameError, "no parameter of nr7 is named 'width'; known: bars"),
        ("nr7", {}, 1.5, BadInputError, "confidence_threshold of pattern x is 1.5, not in 0 to 1"),
        ("nr7", {}, "high", BadInputError, "confidence_threshold of pattern x is 'high', not a finite number"),
        ("nr7", None, 0.0, BadInputError, "params of x is None, not an object of parameter names and values"),
    ],
)  # fmt: skip
def test_a_pattern_that_breaks_a_rule_is_rejected(
    function: str, params: Any, threshold: Any, error: type[Exception], message: str
) -> None:
    row = {"name": "x", "function": function, "params": params, "confidence_threshold": threshold}
    assert _message(PatternDefinition, error, **row) == message


def test_a_definition_without_a_name_is_rejected() -> None:
    message = _message(IndicatorDefinition, BadInputError, name=" ", function="SMA", params={})
    assert message == "indicator ' ' is not a name of 1 to 64 letters, digits and . - _, neither . nor - first"
    message = _message(PatternDefinition, BadInputError, name=None, function="CDLDOJI", params={})
    assert message == "pattern None is not a name of 1 to 64 letters, digits and . - _, neither . nor - first"


def test_whole_floats_from_json_become_whole_numbers() -> None:
    definition = IndicatorDefinition("x", "SMA", {"timeperiod": 20.0})
    assert definition.params == {"timeperiod": 20}
    assert isinstance(definition.params["timeperiod"], int)


def test_changing_a_row_does_not_change_its_definition() -> None:
    row: dict[str, Any] = {"name": "x", "function": "SMA", "params": {"timeperiod": 20}}
    definition = IndicatorDefinition.from_row(row)
    row["params"]["timeperiod"] = 5
    assert definition.params == {"timeperiod": 20}


def test_definitions_are_equal_by_all_fields_and_equal_ones_have_equal_hashes() -> None:
    sma = IndicatorDefinition("x", "SMA", {"timeperiod": 20})
    assert sma == IndicatorDefinition("x", "SMA", {"timeperiod": 20})
    assert hash(sma) == hash(IndicatorDefinition("x", "SMA", {"timeperiod": 20}))
    assert sma != IndicatorDefinition("x", "SMA", {"timeperiod": 21})
    strict = PatternDefinition("p", "nr7", {}, 0.5)
    assert hash(strict) == hash(PatternDefinition("p", "nr7", {}))
    assert strict != PatternDefinition("p", "nr7", {})


def test_own_functions_declare_a_rule_for_each_parameter_and_accept_their_own_defaults() -> None:
    indicators = [(name, own.function, own.rules) for name, own in OWN_INDICATORS.items()]
    detectors = [(name, own.detect, own.rules) for name, own in CHART_PATTERNS.items()]
    for name, function, rules in indicators + detectors:
        parameters = {
            key: parameter.default
            for key, parameter in inspect.signature(function).parameters.items()
            if key != "series"
        }
        assert set(parameters) == set(rules), name
        for key, rule in rules.items():
            assert rule.validate(name, key, parameters[key]) == parameters[key]


def test_every_candle_function_has_traits_and_there_are_61() -> None:
    assert set(CANDLE_TRAITS) == set(candle_functions())
    assert len(CANDLE_TRAITS) == 61


@pytest.mark.parametrize("function", sorted(set(indicator_functions()) - set(REJECTED_FUNCTIONS)))
def test_every_ta_lib_function_accepts_its_own_defaults(function: str) -> None:
    defaults = vars(talib.abstract)["Function"](function).info["parameters"]
    assert IndicatorDefinition("x", function, dict(defaults)).params == dict(defaults)
