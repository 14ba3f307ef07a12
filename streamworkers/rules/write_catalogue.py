"""Describes the functions of `analysis` as data: `python -m streamworkers.rules.write_catalogue` writes the file."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from streamworkers.analysis.chart_patterns import CHART_PATTERNS
from streamworkers.analysis.own_indicators import OWN_INDICATORS
from streamworkers.analysis.parameters import Choice, Rule, WholeNumber
from streamworkers.analysis.ta_functions import TaFunction, ta_function
from streamworkers.rules.market_vocabulary import AnalysisFacts

Edge = Callable[[TaFunction, str, int], float]
_FACTS = AnalysisFacts()


def describe_functions(find_edge: Edge = TaFunction.edge) -> dict[str, Any]:
    """All functions by name, in the form of `functions.json`.

    `find_edge` finds the last value that TA-Lib accepts for a parameter below (-1) or above (1) its default.
    """
    found = {name: _own("own_field", name, OWN_INDICATORS[name].rules) for name in OWN_INDICATORS}
    found |= {name: _own("own_pattern", name, CHART_PATTERNS[name].rules) for name in CHART_PATTERNS}
    found |= {name: _ta("ta_field", name, find_edge) for name in _FACTS.ta_fields if name not in _FACTS.rejected}
    found |= {name: _ta("ta_pattern", name, find_edge) for name in _FACTS.ta_patterns}
    return {"rejected": dict(_FACTS.rejected), "functions": dict(sorted(found.items()))}


def show_catalogue(catalogue: dict[str, Any]) -> str:
    """The text of the file, one function a line."""
    functions = ",\n".join(f"  {json.dumps(name)}: {json.dumps(each)}" for name, each in catalogue["functions"].items())
    return f'{{"rejected": {json.dumps(catalogue["rejected"])},\n "functions": {{\n{functions}\n}}}}\n'


def _own(kind: str, name: str, rules: Mapping[str, Rule]) -> dict[str, Any]:
    defaults = _FACTS.defaults(name)
    return _function(kind, name, {each: {"default": defaults[each]} | _limits(rules[each]) for each in defaults})


def _limits(rule: Rule) -> dict[str, Any]:
    if isinstance(rule, Choice):
        return {"options": list(rule.options)}
    return {"whole": isinstance(rule, WholeNumber), "minimum": rule.minimum, "maximum": rule.maximum}


def _ta(kind: str, name: str, find_edge: Edge) -> dict[str, Any]:
    function = ta_function(name)
    params = {
        each: {"default": default, "minimum": find_edge(function, each, -1), "maximum": find_edge(function, each, 1)}
        for each, default in function.defaults.items()
    }
    return _function(kind, name, params)


def _function(kind: str, name: str, params: dict[str, Any]) -> dict[str, Any]:
    if kind.endswith("_field"):
        return {"kind": kind, "params": params, "outputs": list(_FACTS.outputs(name))}
    return {"kind": kind, "params": params, "neutral": _FACTS.is_neutral(name)}


if __name__ == "__main__":
    Path(__file__).with_name("functions.json").write_text(show_catalogue(describe_functions()), encoding="utf-8")
