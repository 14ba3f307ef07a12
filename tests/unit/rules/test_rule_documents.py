"""Rules in JSON: every malformed one is rejected with a path, under bounded work and without a traceback."""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from streamworkers.rules.build import parse_rule
from streamworkers.rules.json_input import MOST_BYTES, read_json, require_limits
from streamworkers.rules.market_vocabulary import MarketVocabulary
from streamworkers.rules.problem import RuleError
from streamworkers.rules.schema import RULE_SCHEMA, load_schema
from streamworkers.rules.text import parse_rule_text

MARKET = MarketVocabulary()
LEAF = {"indicator": "price", "operator": ">", "value": 150}


def _parse(text: str | bytes) -> object:
    return parse_rule(read_json(text), MARKET)


def _leaf(**changes: object) -> dict[str, object]:
    return {**LEAF, **changes}


def _group(*conditions: object) -> dict[str, object]:
    return {"operator": "and", "conditions": [*conditions]}


def test_the_schema_is_a_schema_and_takes_the_example_of_the_design() -> None:
    Draft202012Validator.check_schema(load_schema(*RULE_SCHEMA))
    rule = {
        "operator": "and",
        "conditions": [
            {"indicator": "rsi", "params": {"timeperiod": 14}, "operator": ">", "value": 70},
            LEAF,
            {"id": "x", **_leaf(operator="crosses_above", value={"indicator": "sma", "params": {"timeperiod": 50}})},
            _leaf(operator="moves_up_pct", value=0.03, bars=5),
            {"pattern": "CDLENGULFING", "direction": "bullish", "min_confidence": 0.7},
            {"operator": "not", "conditions": [{"indicator": "relative_volume", "operator": "<", "value": 1}]},
        ],
    }
    text = (
        "rsi(14) > 70 and price > 150 and price crosses_above sma(50) as x and price moves_up_pct 0.03 in 5 bars"
        " and pattern cdlengulfing bullish confidence 0.7 and not relative_volume(20) < 1"
    )
    assert parse_rule(rule, MARKET) == parse_rule_text(text, MARKET)


ERRORS: list[tuple[object, str]] = [
    (_leaf(value="seventy"), "$.value: 'seventy' is not a number or an object"),
    (_group(LEAF, _leaf(value=None)), "$.conditions[1].value: None is not a number or an object"),
    (_leaf(value=True), "$.value: True is not a number or an object"),
    (_leaf(value=[1, 2]), "$.value: [1, 2] is not a number or an object"),
    (_leaf(operator="gt"), "$.operator: 'gt' is not one of and, or, not, "),
    (_leaf(operator="cross_above"), "$.operator: 'cross_above' is not one of "),
    (_leaf(operator=None), "$.operator: None is not one of "),
    ({"indicator": "price", "value": 3}, "$: lacks 'operator'"),
    ({"indicator": "price", "operator": ">"}, "$: lacks 'value'"),
    ({"operator": ">", "value": 3}, "$: needs either 'indicator' or 'expression', but has neither"),
    (_leaf(valeu=3), "$.valeu: no member has this name here; did you mean 'value'?"),
    (
        _leaf(symbol="MSFT"),
        "$.symbol: fields are those of the rule's own symbol and timeframe; this member is reserved",
    ),
    (_leaf(value={"indicator": "price", "timeframe": "1h"}), "$.value.timeframe: fields are those of the rule's own"),
    (_leaf(value={}), "$.value: needs either 'indicator' or 'expression', but has neither"),
    (_leaf(value={"indicator": "low", "expression": {"op": "add", "of": [1, 2]}}), "$.value: needs either 'indicator'"),
    (
        _leaf(value={"expression": {"op": "add", "of": [1, 2]}, "output": "x"}),
        "$.value.output: belongs to an indicator",
    ),
    (
        _leaf(value={"expression": {"op": "pow", "of": [1, 2]}}),
        "$.value.expression.op: 'pow' is not one of add, sub, mul",
    ),
    (_leaf(value={"expression": {"op": "add", "of": [1]}}), "$.value.expression.of: has 1 values, fewer than 2"),
    (
        _leaf(value={"expression": {"op": "div", "of": [{"indicator": "low"}, 0]}}),
        "$.value.expression.of[1]: division by",
    ),
    (_leaf(value={"expression": {"op": "add"}}), "$.value.expression: lacks 'of'"),
    (_leaf(indicator="rsx"), "$.indicator: no field is named 'rsx'; did you mean 'rsi'?"),
    (_leaf(indicator=""), "$.indicator: is shorter than 1 characters"),
    (_leaf(indicator="x" * 65), "$.indicator: has 65 characters, more than 64"),
    (_leaf(indicator=5), "$.indicator: 5 is not text"),
    (_leaf(indicator="rsi", params={"timeperiod": -1}), "$.params: timeperiod of RSI is -1, not in 2 to 100000"),
    (_leaf(indicator="rsi", params={"timeperiod": 10**300}), "$.params: timeperiod of RSI is 1000000"),
    (_leaf(indicator="rsi", params={"timeperiod": None}), "$.params.timeperiod: None is not a number or text"),
    (_leaf(indicator="rsi", params="14"), "$.params: '14' is not an object or a list"),
    (_leaf(indicator="rsi", params=[14, 3]), "$.params: rsi is given 2 parameters, but takes 1: timeperiod"),
    (_leaf(indicator="rsi", params=[1] * 21), "$.params: has 21 values, more than 20"),
    (_leaf(indicator="obv"), "$.value: obv is a sum or position that counts from the first bar read"),
    (_leaf(operator="between", value=3), "$.value: 3 is not a list"),
    (_leaf(operator="between", value=[1]), "$.value: has 1 values, fewer than 2"),
    (_leaf(operator="between", value=[1, 2, 3]), "$.value: has 3 values, more than 2"),
    (_leaf(operator="between", value=[2, 1]), "$.value: the lower bound 2 is above the upper bound 1"),
    (_leaf(operator="moves_up", value=-1), "$.value: -1 is not more than 0"),
    (_leaf(operator="moves_up", value=1, bars=0), "$.bars: 0 is less than 1"),
    (_leaf(operator="moves_up", value=1, bars=1001), "$.bars: 1001 is more than 1000"),
    (_leaf(operator="moves_up", value=1, bars=1.5), "$.bars: 1.5 is not a whole number"),
    (_leaf(bars=3), "$.bars: no member has this name here"),
    (_leaf(tolerance=0.1), "$.tolerance: belongs to == and !=, not to >"),
    (_leaf(operator="==", tolerance=1), "$.tolerance: 1 is not less than 1"),
    (_leaf(id="1x"), "$.id: '1x' does not match ^[A-Za-z_]"),
    (_group(_leaf(id="x"), _leaf(id="x")), "$: the id 'x' belongs to several conditions"),
    (_group(), "$.conditions: has 0 values, fewer than 1"),
    ({"operator": "and"}, "$: lacks 'conditions'"),
    ({"operator": "and", "conditions": {}}, "$.conditions: {} is not a list"),
    ({"operator": "and", "conditions": [3]}, "$.conditions[0]: 3 is not an object"),
    ({"operator": "not", "conditions": [LEAF, LEAF]}, "$.conditions: has 2 values, more than 1"),
    ({"operator": "at_least", "conditions": [LEAF]}, "$: lacks 'count'"),
    ({"operator": "at_least", "count": 2, "conditions": [LEAF]}, "$.count: 2 is more than the 1 conditions"),
    ({"operator": "at_least", "count": 0, "conditions": [LEAF]}, "$.count: 0 is less than 1"),
    ({"pattern": "engulfin"}, "$.pattern: no pattern is named 'engulfin'"),
    ({"pattern": "CDLDOJI", "direction": "bullish"}, "$.direction: 'bullish', but pattern cdldoji has no direction"),
    ({"pattern": "CDLDOJI", "direction": "up"}, "$.direction: 'up' is not one of bullish, bearish"),
    ({"pattern": "CDLDOJI", "min_confidence": 1.5}, "$.min_confidence: 1.5 is more than 1"),
    ({"pattern": "CDLDOJI", "operator": ">"}, "$.operator: no member has this name here"),
    ([], "$: [] is not an object"),
    (None, "$: None is not an object"),
    ("price > 3", "$: 'price > 3' is not an object"),
    (3, "$: 3 is not an object"),
    (_leaf(value=float("nan")), "$.value: nan is not a finite number"),
    (_leaf(value=float("inf")), "$.value: inf is not a finite number"),
    (_leaf(value=10**400), "$.value: 1000000"),
    (_leaf(value={"indicator": "a\x00b"}), "$.value.indicator: 'a\\x00b' holds a character that cannot be stored"),
    (_leaf(value={"indicator": "\ud800"}), "$.value.indicator: '\\ud800' holds a character that cannot be stored"),
    ({**LEAF, "\x00": 1}, "$: the key '\\x00' is no text that can be stored"),
    (dict([*LEAF.items(), (5, 1)]), "$: the key 5 is no text that can be stored"),
    (_leaf(value=object), "$.value: <class 'object'> is no JSON"),
    (_group(*[LEAF] * 100), "$: 101 nodes are more than 100"),
]


@pytest.mark.parametrize(("document", "message"), ERRORS, ids=[message[:50] for _, message in ERRORS])
def test_an_error_names_path_value_and_rule(document: object, message: str) -> None:
    with pytest.raises(RuleError) as raised:
        parse_rule(document, MARKET)
    assert str(raised.value)[: len(message)] == message
    assert len(str(raised.value)) < 600


def _nested(levels: int, wrap: Callable[[Any], Any], inside: Any = LEAF) -> Any:
    for _ in range(levels):
        inside = wrap(inside)
    return inside


TEXTS: list[tuple[str | bytes, str]] = [
    ("", "$: no JSON: it is empty"),
    ("{", "$: no JSON: "),
    ('{"a": 1,}', "$: no JSON: "),
    ("[" * 5000, "$: nested deeper than 40 levels, at character 41"),
    ('{"a":' * 5000, "$: nested deeper than 40 levels"),
    ("[" * 41 + "]" * 41, "$: nested deeper than 40 levels"),
    ('{"indicator": "price", "indicator": "low", "operator": ">", "value": 1}', "$.indicator: this key occurs twice"),
    ('{"indicator": "rsi", "params": {"a": 1, "a": 1}, "operator": ">", "value": 1}', "$.params.a: this key occurs"),
    ('{"indicator": "price", "operator": ">", "value": NaN}', "$.value: nan is not a finite number"),
    ('{"indicator": "price", "operator": ">", "value": -Infinity}', "$.value: -inf is not a finite number"),
    ('{"indicator": "price", "operator": ">", "value": 1e600}', "$.value: inf is not a finite number"),
    ('{"indicator": "price", "operator": ">", "value": 1' + "0" * 600 + "}", "$.value: inf is not a finite number"),
    ('{"indicator": "price", "operator": ">", "value": 1' + "0" * 20_000 + "}", "$.value: inf is not a finite number"),
    ('"' + "x" * MOST_BYTES + '"', f"$: {MOST_BYTES + 2} bytes are more than {MOST_BYTES}"),
    ("x" * 2**20, "$: 1048576 bytes are more than 32768"),
    (b"\xff\xfe", "$: byte 0 is no UTF-8"),
    ('{"a": "\\u0000"}', "$.a: '\\x00' holds a character that cannot be stored"),
    ('{"a": "' + "[" * 50 + '"}', "$: lacks 'operator'"),
    ("[" + ",".join(["1"] * 9000) + "]", "$: has 9000 values, more than 4000"),
    ("[" + ",".join(["[1,1]"] * 3000) + "]", "$: more than 4000 values"),
    ("{" + ",".join(f'"{key}":1' for key in range(3000)) + ',"7":2}', "$.7: this key occurs twice in its object"),
]


@pytest.mark.parametrize(("text", "message"), TEXTS, ids=[repr(text[:30]) for text, _ in TEXTS])
def test_a_text_that_is_no_rule_is_rejected_before_anything_recurses(text: str | bytes, message: str) -> None:
    with pytest.raises(RuleError) as raised:
        _parse(text)
    assert str(raised.value)[: len(message)] == message


@pytest.mark.parametrize("levels", [8, 39, 5000])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda inside: {"operator": "not", "conditions": [inside]},
        lambda inside: {"operator": "and", "conditions": [inside, LEAF]},
        lambda inside: {"indicator": "price", "operator": ">", "value": inside},
        lambda inside: {
            "indicator": "price",
            "operator": ">",
            "value": {"expression": {"op": "add", "of": [inside, 1]}},
        },
        lambda inside: [inside],
    ],
)
def test_a_deep_document_is_rejected_whatever_it_is_made_of(wrap: Callable[[Any], Any], levels: int) -> None:
    depth = sys.getrecursionlimit()
    with pytest.raises(RuleError) as raised:
        parse_rule(_nested(levels, wrap), MARKET)
    assert str(raised.value).startswith("$")
    assert sys.getrecursionlimit() == depth


def test_seven_levels_above_a_leaf_are_allowed() -> None:
    rule = _nested(7, lambda inside: {"operator": "not", "conditions": [inside]})
    parse_rule(rule, MARKET)
    with pytest.raises(RuleError, match="9 levels of conditions and values are more than 8"):
        parse_rule({"operator": "not", "conditions": [rule]}, MARKET)


def test_a_document_that_contains_itself_is_rejected() -> None:
    circle: dict[str, Any] = {"operator": "not"}
    circle["conditions"] = [circle]
    with pytest.raises(RuleError, match="levels"):
        parse_rule(circle, MARKET)


def test_limits_hold_before_the_schema_is_asked() -> None:
    """The validator recurses, so a document that it would choke on must not reach it."""
    # As deep as the limit is now: a property test that ran before may have raised it.
    deep = _nested(sys.getrecursionlimit(), lambda inside: {"operator": "not", "conditions": [inside]})
    with pytest.raises(RecursionError):
        list(Draft202012Validator(load_schema(*RULE_SCHEMA)).iter_errors(deep))
    with pytest.raises(RuleError):
        require_limits(deep, rule_at=None)


BREAKS: list[object] = [None, True, -1, 10**30, "", "x", [], {}, [[]], {"operator": "and"}, {"expression": {}}]


def _places(document: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    below = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path, *(place for key, value in below for place in _places(value, (*path, key)))]


def _replace(document: Any, path: tuple[str | int, ...], value: object) -> Any:
    if not path:
        return value
    changed = json.loads(json.dumps(document))
    inside = changed
    for part in path[:-1]:
        inside = inside[part]
    inside[path[-1]] = value
    return changed


def test_two_hundred_and_more_broken_documents_are_rejected_with_their_path() -> None:
    """Every value of a rule with every kind of node is replaced by every kind of nonsense."""
    whole = {
        "operator": "or",
        "conditions": [
            {
                "indicator": "rsi",
                "params": {"timeperiod": 14},
                "operator": "crosses_below",
                "value": {"indicator": "mfi"},
            },
            {"operator": "at_least", "count": 1, "conditions": [LEAF]},
            {"expression": {"op": "div", "of": [{"indicator": "high"}, 2]}, "operator": "between", "value": [1, 3]},
            {"pattern": "CDLENGULFING", "direction": "bullish", "min_confidence": 0.5},
        ],
    }
    parse_rule(whole, MARKET)
    errors, accepted = [], 0
    for path in _places(whole):
        for value in BREAKS:
            try:
                parse_rule(_replace(whole, path, value), MARKET)
                accepted += 1
            except RuleError as error:
                errors.append((path, error))
    assert len(errors) >= 200
    assert accepted < len(errors) / 10  # such as another number for a value
    assert [str(error) for _, error in errors if not str(error).startswith("$")] == []
    # An error is at the broken value, below it, or at what surrounds it.
    elsewhere = [(path, error) for path, error in errors if error.path[: len(path) - 1] != path[:-1][: len(error.path)]]
    assert elsewhere == []
