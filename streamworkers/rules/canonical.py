"""The canonical form of a rule in JSON: equal rules have equal forms, and names are those of functions."""

import hashlib
import json
from typing import Any

from streamworkers.rules.tree import (
    DEFAULT_TOLERANCE,
    Arithmetic,
    AtLeast,
    Channel,
    Comparison,
    Condition,
    Constant,
    Field,
    Group,
    Leaf,
    Move,
    Not,
    Params,
    PatternMatch,
    Range,
    Value,
)

_WHOLE = 10**15  # floats up to here are shown as whole numbers without loss


def rule_to_json(condition: Condition) -> dict[str, Any]:
    """The rule as `parse_rule` takes it."""
    if isinstance(condition, Not):
        return {"operator": "not", "conditions": [rule_to_json(condition.child)]}
    if isinstance(condition, Group):
        return {"operator": condition.operator, "conditions": [rule_to_json(child) for child in condition.children]}
    if isinstance(condition, AtLeast):
        children = [rule_to_json(child) for child in condition.children]
        return {"operator": "at_least", "count": condition.count, "conditions": children}
    return ({} if condition.id is None else {"id": condition.id}) | _leaf(condition)


def leaf_hash(leaf: Leaf) -> str:
    """The key under which the side of a leaf is kept; leaves that differ only in their id share it."""
    text = json.dumps(_leaf(leaf), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_number(value: float) -> int | float:
    """A float as JSON shows it: whole numbers without a fraction."""
    return int(value) if value.is_integer() and abs(value) < _WHOLE else value


def _leaf(leaf: Leaf) -> dict[str, Any]:
    if isinstance(leaf, PatternMatch):
        result = {"pattern": leaf.pattern.name} | _params(leaf.pattern.params)
        if leaf.direction is not None:
            result["direction"] = leaf.direction
        return result | ({"min_confidence": leaf.min_confidence} if leaf.min_confidence else {})
    result = _members(leaf.left) | {"operator": leaf.operator}
    if isinstance(leaf, Move):
        return result | {"value": to_number(leaf.amount.value), "bars": leaf.bars}
    if isinstance(leaf, Range | Channel):
        return result | {"value": [_right(leaf.low), _right(leaf.high)]}
    result["value"] = _right(leaf.right)
    if isinstance(leaf, Comparison) and leaf.tolerance != DEFAULT_TOLERANCE:
        result["tolerance"] = leaf.tolerance
    return result


def _right(value: Value) -> Any:
    return to_number(value.value) if isinstance(value, Constant) else _members(value)


def _members(value: Field | Arithmetic) -> dict[str, Any]:
    if isinstance(value, Arithmetic):
        return {"expression": {"op": value.operator, "of": [_right(value.left), _right(value.right)]}}
    output = {} if value.output is None else {"output": value.output}
    return {"indicator": value.name} | _params(value.params) | output


def _params(params: Params) -> dict[str, Any]:
    return {"params": dict(params)} if params else {}
