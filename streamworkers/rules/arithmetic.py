"""Which values can be added, multiplied and compared, by their dimension and origin."""

import math
import operator as functions
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from streamworkers.rules.dimensions import RATIO, Dimension
from streamworkers.rules.problem import Path, RuleError
from streamworkers.rules.tree import Arithmetic, ArithmeticOperator, Constant, Field, Value, fields_of

OPERATIONS: Mapping[ArithmeticOperator, Callable[[Any, Any], Any]] = {
    "add": functions.add,
    "sub": functions.sub,
    "mul": functions.mul,
    "div": functions.truediv,
}
_NO_ORIGIN = "{name} is a sum or position that counts from the first bar read, so a constant means nothing beside it"


def combine(operator: ArithmeticOperator, left: Value, right: Value, path: Path) -> Value:
    """The arithmetic of two values; that of two constants is a constant. Raises RuleError if it has no meaning.

    Added constants take the dimension of the other side; a constant that multiplies or divides is a ratio.
    """
    if operator == "div" and isinstance(right, Constant) and right.value == 0:
        raise RuleError((*path, 1), "division by 0")
    if isinstance(left, Constant) and isinstance(right, Constant):
        return _fold(operator, left.value, right.value, path)
    if operator in ("add", "sub"):
        if isinstance(left, Constant):
            left = require_comparable(right, left, (*path, 0))
        else:
            right = require_comparable(left, right, (*path, 1))
        return Arithmetic(operator, left, right, left.dimension if right.dimension else None)
    dimension = _product(operator, left.dimension, right.dimension)
    return Arithmetic(operator, left, right, dimension)


def require_comparable(left: Value, right: Value, path: Path) -> Value:
    """`right`, a constant in the dimension of `left`. Raises RuleError at `path` if the two cannot be compared."""
    if isinstance(right, Constant):
        unbound = next((field for field in fields_of(left) if not field.has_origin), None)
        if unbound is not None:
            raise RuleError(path, _NO_ORIGIN.format(name=unbound.name))
        return replace(right, dimension=left.dimension)
    if left.dimension is not None and right.dimension is not None and left.dimension != right.dimension:
        names = f"{_name(left)} ({left.dimension}) and {_name(right)} ({right.dimension})"
        raise RuleError(path, f"{names} are measured in different units")
    return right


def _fold(operator: ArithmeticOperator, left: float, right: float, path: Path) -> Constant:
    result = OPERATIONS[operator](left, right)
    if not math.isfinite(result):
        raise RuleError(path, f"{left:g} {operator} {right:g} is not a finite number")
    return Constant(result, RATIO)


def _product(operator: ArithmeticOperator, left: Dimension | None, right: Dimension | None) -> Dimension | None:
    if left is None or right is None:
        return None
    return left.times(right) if operator == "mul" else left.over(right)


def _name(value: Value) -> str:
    return value.name if isinstance(value, Field) else "the expression"
