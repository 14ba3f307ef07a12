"""Prints a rule in text form, with as few parentheses as it takes to read back the same tree."""

import re

from streamworkers.rules.canonical import to_number
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

_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def print_rule(condition: Condition) -> str:
    """The rule as text that `parse_rule_text` takes."""
    if isinstance(condition, Not):
        return f"not {_inside(condition.child)}"
    if isinstance(condition, Group):
        return f" {condition.operator} ".join(_inside(child, condition.operator) for child in condition.children)
    if isinstance(condition, AtLeast):
        return f"at_least {condition.count} of ({', '.join(print_rule(child) for child in condition.children)})"
    return print_leaf(condition) + ("" if condition.id is None else f" as {condition.id}")


def print_leaf(leaf: Leaf) -> str:
    """One comparison or pattern as text, without its id."""
    if isinstance(leaf, PatternMatch):
        least = f" confidence {_number(leaf.min_confidence)}" if leaf.min_confidence else ""
        direction = "" if leaf.direction is None else f" {leaf.direction}"
        return f"pattern {_name(leaf.pattern.name)}{_params(leaf.pattern.params)}{direction}{least}"
    start = f"{print_value(leaf.left)} {leaf.operator}"
    if isinstance(leaf, Move):
        return f"{start} {_number(leaf.amount.value)} in {leaf.bars} bar{'s' if leaf.bars > 1 else ''}"
    if isinstance(leaf, Range | Channel):
        return f"{start} {print_value(leaf.low)} and {print_value(leaf.high)}"
    text = f"{start} {print_value(leaf.right)}"
    if isinstance(leaf, Comparison) and leaf.tolerance != DEFAULT_TOLERANCE:
        return f"{text} tolerance {_number(leaf.tolerance)}"
    return text


def print_value(value: Value) -> str:
    """A field, constant or arithmetic as text."""
    if isinstance(value, Constant):
        return _number(value.value)
    if isinstance(value, Field):
        output = "" if value.output is None else f".{_name(value.output)}"
        return f"{_name(value.name)}{_params(value.params)}{output}"
    products = value.operator in ("mul", "div")
    left = _operand(value.left, products and _is_sum(value.left))
    right = _operand(value.right, _is_sum(value.right) or (products and isinstance(value.right, Arithmetic)))
    return f"{left} {_SIGNS[value.operator]} {right}"


def _is_sum(value: Value) -> bool:
    return isinstance(value, Arithmetic) and value.operator in ("add", "sub")


def _operand(value: Value, in_parentheses: bool) -> str:
    return f"({print_value(value)})" if in_parentheses else print_value(value)


def _inside(condition: Condition, operator: str = "not") -> str:
    """A condition within another: `and` binds closer than `or`, and `not` closer than both."""
    bare = not isinstance(condition, Group) or (operator == "or" and condition.operator == "and")
    return print_rule(condition) if bare else f"({print_rule(condition)})"


def _params(params: Params) -> str:
    return f"({', '.join(_param(value) for _, value in params)})" if params else ""


def _param(value: float | str) -> str:
    return _name(value) if isinstance(value, str) else _number(value)


def _name(name: str) -> str:
    return name if _WORD.fullmatch(name) else f"`{name}`"


def _number(value: float) -> str:
    return repr(to_number(float(value)))
