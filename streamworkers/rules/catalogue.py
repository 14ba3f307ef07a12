"""The vocabulary of alerts for those who only read and write them: functions from a file, without TA-Lib or NumPy.

It accepts and rejects what `MarketVocabulary` does, in the same words, and gives equal trees; only how many bars a
field needs is unknown. `python -m streamworkers.rules.write_catalogue` writes `functions.json`, and a test compares.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from streamworkers.analysis.parameters import (
    Choice,
    ParameterValue,
    RealNumber,
    Rule,
    WholeNumber,
    require_known,
    to_real_number,
    to_whole_number,
)
from streamworkers.errors import BadInputError
from streamworkers.rules.function_facts import GivenValues
from streamworkers.rules.named_vocabulary import NamedVocabulary
from streamworkers.rules.tree import UNKNOWN_LOOKBACK


class NamedFunction(NamedTuple):
    """A row of the indicator or pattern definitions, as the tables have it."""

    name: str
    function: str
    params: Mapping[str, Any]
    confidence_threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class TaNumber:
    """A parameter of TA-Lib, in the range that it accepts."""

    is_whole: bool
    minimum: float
    maximum: float

    def validate(self, owner: str, name: str, value: object) -> int | float:
        """The value in TA-Lib's type. Raises BadInputError."""
        number = to_whole_number(owner, name, value) if self.is_whole else to_real_number(owner, name, value)
        if not self.minimum <= number <= self.maximum:
            raise BadInputError(f"{name} of {owner} is {number}, not in {self.minimum:g} to {self.maximum:g}")
        return number


class CatalogueFacts:
    """The functions of `analysis` as a file describes them."""

    def __init__(self, catalogue: Mapping[str, Any]) -> None:
        functions: dict[str, Any] = catalogue["functions"]
        self._functions = functions
        self._rules = {name: _rules_of(each) for name, each in functions.items()}
        self.rejected: Mapping[str, str] = catalogue["rejected"]
        self.own_fields, ta_fields, self.own_patterns, self.ta_patterns = (
            frozenset(name for name, each in functions.items() if each["kind"] == kind)
            for kind in ("own_field", "ta_field", "own_pattern", "ta_pattern")
        )
        self.ta_fields = ta_fields | self.rejected.keys()

    def defaults(self, function: str) -> Mapping[str, ParameterValue]:
        """The parameters in the order of the function, with their defaults."""
        return {name: each["default"] for name, each in self._functions[function]["params"].items()}

    def validate(self, function: str, params: GivenValues) -> Mapping[str, ParameterValue]:
        """The given parameters in the types of the function. Raises UsageError."""
        rules = self._rules[function]
        require_known(function, params, rules)
        return {name: rules[name].validate(function, name, value) for name, value in params.items()}

    def outputs(self, function: str) -> Sequence[str]:
        """The names of what an indicator returns."""
        outputs: Sequence[str] = self._functions[function]["outputs"]
        return outputs

    def lookback(self, function: str, params: GivenValues) -> int:
        """Unknown: it is computed by TA-Lib."""
        del function, params
        return UNKNOWN_LOOKBACK

    def is_neutral(self, function: str) -> bool:
        """True for a pattern without a direction."""
        return bool(self._functions[function].get("neutral", False))


class CatalogueVocabulary(NamedVocabulary):
    """The vocabulary of rules that are read and printed, not evaluated."""

    def __init__(self, indicators: Iterable[NamedFunction] = (), patterns: Iterable[NamedFunction] = ()) -> None:
        super().__init__(_load_facts(), indicators, patterns)


@cache
def _load_facts() -> CatalogueFacts:
    text = files("streamworkers.rules").joinpath("functions.json").read_text(encoding="utf-8")
    return CatalogueFacts(json.loads(text))


def _rules_of(function: Mapping[str, Any]) -> dict[str, Rule | TaNumber]:
    is_ta = function["kind"].startswith("ta_")
    return {name: _rule_of(each, is_ta=is_ta) for name, each in function["params"].items()}


def _rule_of(param: Mapping[str, Any], *, is_ta: bool) -> Rule | TaNumber:
    if "options" in param:
        return Choice(tuple(param["options"]))
    is_whole = isinstance(param["default"], int)
    if is_ta:
        return TaNumber(is_whole, param["minimum"], param["maximum"])
    return (WholeNumber if param["whole"] else RealNumber)(param["minimum"], param["maximum"])
