"""The catalogue of functions says what TA-Lib and the own functions do, in the same words, without loading them."""

import json
import subprocess
import sys
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.analysis.ta_functions import TaFunction
from streamworkers.errors import UsageError
from streamworkers.rules.canonical import rule_to_json
from streamworkers.rules.catalogue import CatalogueVocabulary, NamedFunction
from streamworkers.rules.market_vocabulary import MarketVocabulary
from streamworkers.rules.text import parse_rule_text
from streamworkers.rules.tree import lookback
from streamworkers.rules.vocabulary import Vocabulary
from streamworkers.rules.write_catalogue import describe_functions, show_catalogue

TEXT = files("streamworkers.rules").joinpath("functions.json").read_text(encoding="utf-8")
FUNCTIONS: dict[str, Any] = json.loads(TEXT)["functions"]
CATALOGUE = CatalogueVocabulary(
    [NamedFunction("slow", "SMA", {"timeperiod": 200})], [NamedFunction("engulf", "CDLENGULFING", {}, 0.6)]
)
MARKET = MarketVocabulary(
    [IndicatorDefinition("slow", "SMA", {"timeperiod": 200})], [PatternDefinition("engulf", "CDLENGULFING", {}, 0.6)]
)


def test_the_file_is_what_the_functions_are() -> None:
    def read_edge(function: TaFunction, param: str, side: int) -> float:  # a bisection takes seconds for all of them
        edge: float = FUNCTIONS[function.name]["params"][param]["minimum" if side < 0 else "maximum"]
        assert function.accepts(param, edge)
        step = side if isinstance(edge, int) else side * max(abs(edge), 1e-300) * 1e-9
        assert not function.accepts(param, edge + step)
        return edge

    assert show_catalogue(describe_functions(read_edge)) == TEXT, "run python -m streamworkers.rules.write_catalogue"
    assert len(FUNCTIONS) > 200


def _find(vocabulary: Vocabulary, name: str, params: Any, output: str | None) -> list[Any]:
    answers: list[Any] = []
    for find in (lambda: vocabulary.find_field(name, params, output), lambda: vocabulary.find_pattern(name, params)):
        try:
            answers.append(find())
        except UsageError as error:
            answers.append((type(error), str(error)))
    return answers


def test_every_function_without_parameters_is_the_same() -> None:
    for name in [*FUNCTIONS, *map(str.lower, FUNCTIONS), "BETA", "MAVP", "price", "Close", "slow", "engulf", "nothing"]:
        choices: list[Any] = [None, [], {}]
        for params in choices:
            assert _find(CATALOGUE, name, params, None) == _find(MARKET, name, params, None), name


def test_outputs_and_edges_are_the_same() -> None:
    for name, function in FUNCTIONS.items():
        for output in [*function.get("outputs", ()), "nothing"]:
            assert _find(CATALOGUE, name, None, output) == _find(MARKET, name, None, output), (name, output)

    for name in (
        "RSI",
        "BBANDS",
        "STOCHRSI",
        "SAR",
        "CDLDARKCLOUDCOVER",
        "supertrend",
        "golden_cross",
        "anchored_vwap",
    ):
        for param, limits in FUNCTIONS[name]["params"].items():
            for edge in {limits.get("minimum", 0), limits.get("maximum", 0)}:
                for value in (edge, edge - 1, edge + 1):
                    given = {param: value}
                    assert _find(CATALOGUE, name, given, None) == _find(MARKET, name, given, None), (name, given)


_values = st.one_of(
    st.integers(-5, 300),
    st.floats(-5, 300),
    st.sampled_from(["year", "start", "x", float("nan"), 2**31, -(2**31), True]),
)


@settings(max_examples=150)
@given(st.data(), st.sampled_from(sorted(FUNCTIONS)))
def test_any_parameters_are_accepted_or_rejected_in_the_same_words(data: st.DataObject, name: str) -> None:
    names = st.sampled_from([*FUNCTIONS[name]["params"], "other"])
    params = data.draw(st.one_of(st.dictionaries(names, _values, max_size=3), st.lists(_values, max_size=4)))
    assert _find(CATALOGUE, name, params, None) == _find(MARKET, name, params, None)


@pytest.mark.parametrize("text", ["price > slow", "pattern engulf bullish", "rsi < 30 and price crosses_above sma(50)"])
def test_rules_are_the_same_trees(text: str) -> None:
    here, there = parse_rule_text(text, CATALOGUE), parse_rule_text(text, MARKET)
    assert here == there
    assert rule_to_json(here) == rule_to_json(there)


@pytest.mark.parametrize("text", ["price > sma(50)", "pattern golden_cross", "price > 1 or rsi crosses_above 70"])
def test_nobody_computes_with_a_tree_whose_look_back_is_unknown(text: str) -> None:
    assert lookback(parse_rule_text(text, MARKET)) > 0
    with pytest.raises(ValueError, match="does not know how many bars a rule needs"):
        lookback(parse_rule_text(text, CATALOGUE))


def test_it_loads_neither_numpy_nor_talib() -> None:
    code = (
        "import sys; from streamworkers.alerts.alert_text import parse_alert_text;"
        "from streamworkers.alerts.store import alerts, changes, mutes;"
        "from streamworkers.rules.catalogue import CatalogueVocabulary;"
        "parse_alert_text('AAPL rsi(14) < 30', CatalogueVocabulary());"
        "print([name for name in ('numpy', 'pandas', 'talib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
