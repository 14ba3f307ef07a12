"""Makes a typed tree from a rule in JSON: resolves names, and checks what a schema cannot."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from streamworkers.errors import UsageError
from streamworkers.rules.arithmetic import combine, require_comparable
from streamworkers.rules.dimensions import RATIO
from streamworkers.rules.json_input import require_limits
from streamworkers.rules.problem import Path, RuleError
from streamworkers.rules.schema import require_document
from streamworkers.rules.tree import (
    DEFAULT_TOLERANCE,
    AtLeast,
    Channel,
    Comparison,
    Condition,
    Constant,
    Crossing,
    Group,
    Leaf,
    Measured,
    Move,
    Not,
    PatternMatch,
    Range,
    Value,
    fields_of,
    leaves,
)
from streamworkers.rules.vocabulary import Vocabulary

Document = Mapping[str, Any]


def parse_rule(document: object, vocabulary: Vocabulary) -> Condition:
    """The tree of a rule in JSON, checked in full. Raises RuleError, with the path of the first value that is wrong."""
    require_limits(document, rule_at=None)
    require_document(document)
    return build_rule(cast("Document", document), vocabulary)


def build_rule(document: Document, vocabulary: Vocabulary, path: Path = ()) -> Condition:
    """The tree of a rule that keeps limits and schema; errors have paths that begin with `path`."""
    rule = _Builder(vocabulary).condition(document, path)
    ids = [leaf.id for leaf in leaves(rule) if leaf.id is not None]
    repeated = next((name for name in ids if ids.count(name) > 1), None)
    if repeated is not None:
        raise RuleError(path, f"the id {repeated!r} belongs to several conditions")
    return rule


class _Builder:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def condition(self, document: Document, path: Path) -> Condition:
        if "pattern" in document:
            return self._pattern(document, path)
        operator = document["operator"]
        if operator not in ("and", "or", "not", "at_least"):
            return self._leaf(document, path)
        below = (*path, "conditions")
        children = tuple(self.condition(child, (*below, place)) for place, child in enumerate(document["conditions"]))
        if operator == "not":
            return Not(children[0])
        if operator == "at_least":
            count = int(document["count"])
            if count > len(children):
                raise RuleError((*path, "count"), f"{count} is more than the {len(children)} conditions")
            return AtLeast(count, children)
        return Group(operator, children) if len(children) > 1 else children[0]

    def _leaf(self, document: Document, path: Path) -> Leaf:
        left = self._value(document, path)
        if isinstance(left, Constant):
            raise RuleError(path, "the left side is a constant; begin with a field")
        operator, leaf_id, value_path = document["operator"], document.get("id"), (*path, "value")
        given = document["value"]
        if operator.startswith("moves_"):
            return _move(left, document, path)
        if isinstance(given, list):
            low, high = (self._value(each, (*value_path, place)) for place, each in enumerate(given))
            low, high = (require_comparable(left, bound, value_path) for bound in (low, high))
            if isinstance(low, Constant) and isinstance(high, Constant) and low.value > high.value:
                raise RuleError(value_path, f"the lower bound {low.value:g} is above the upper bound {high.value:g}")
            kind = Channel if operator.endswith("_channel") else Range
            return kind(left, operator, low, high, leaf_id)
        right = require_comparable(left, self._value(given, value_path), value_path)
        if operator.startswith("crosses"):
            return Crossing(left, operator, right, leaf_id)
        if "tolerance" in document and operator not in ("==", "!="):
            raise RuleError((*path, "tolerance"), f"belongs to == and !=, not to {operator}")
        return Comparison(left, operator, right, float(document.get("tolerance", DEFAULT_TOLERANCE)), leaf_id)

    def _value(self, document: Any, path: Path) -> Value:
        if not isinstance(document, Mapping):
            return Constant(float(document), RATIO)
        forms = [key for key in ("indicator", "expression") if key in document]
        if len(forms) != 1:
            raise RuleError(
                path, f"needs either 'indicator' or 'expression', but has {' and '.join(forms) or 'neither'}"
            )
        if forms == ["indicator"]:
            with _located(path, "indicator"):
                return self._vocabulary.find_field(
                    document["indicator"], document.get("params"), document.get("output")
                )
        for key in ("params", "output"):
            if key in document:
                raise RuleError((*path, key), "belongs to an indicator, not to an expression")
        expression, below = document["expression"], (*path, "expression", "of")
        left, right = (self._value(each, (*below, place)) for place, each in enumerate(expression["of"]))
        return combine(expression["op"], left, right, below)

    def _pattern(self, document: Document, path: Path) -> PatternMatch:
        with _located(path, "pattern"):
            pattern, least = self._vocabulary.find_pattern(document["pattern"], document.get("params"))
        direction = document.get("direction")
        if direction is not None and pattern.neutral:
            raise RuleError((*path, "direction"), f"{direction!r}, but pattern {pattern.name} has no direction")
        return PatternMatch(pattern, direction, float(document.get("min_confidence", least)), document.get("id"))


def _move(left: Measured, document: Document, path: Path) -> Move:
    operator, amount = document["operator"], float(document["value"])
    in_percent = operator.endswith("_pct")
    if in_percent and not all(field.has_origin for field in fields_of(left)):
        raise RuleError((*path, "operator"), f"{operator} of a sum that has no origin depends on where it began")
    dimension = RATIO if in_percent else left.dimension
    return Move(left, operator, Constant(amount, dimension), int(document.get("bars", 1)), document.get("id"))


@contextmanager
def _located(path: Path, member: str) -> Iterator[None]:
    """Give an error of the vocabulary its path: that of the name, unless the error says which member is wrong."""
    try:
        yield
    except RuleError as error:
        raise RuleError((*path, *error.path), error.problem) from None
    except UsageError as error:
        raise RuleError((*path, member), str(error)) from None
