"""What a rule means, bar by bar in plain Python, written from the description of the language and not from its code.

It reads rules in JSON. Values are true, false, and None for unknown.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Values = Mapping[str, Sequence[float]]


def read(value: Any, values: Values, bar: int) -> float | None:
    """A number, field or expression at one bar; None if it has no finite value."""
    if isinstance(value, int | float):
        return float(value)
    if "expression" in value:
        left, right = (read(each, values, bar) for each in value["expression"]["of"])
        if left is None or right is None:
            return None
        operation = value["expression"]["op"]
        if operation == "div" and right == 0:
            return None
        result = {"add": left + right, "sub": left - right, "mul": left * right}.get(operation)
        result = left / right if result is None else result
    else:
        name = value["indicator"] + "".join(f"_{each}" for each in value.get("params", {}).values())
        result = values[name][bar] if bar >= 0 else math.nan
    return result if math.isfinite(result) else None


def equal(left: float, right: float, tolerance: float = 1e-9) -> bool:
    """Equal within a fraction of the larger of two numbers."""
    return abs(left - right) <= tolerance * max(abs(left), abs(right))


def above(left: float, right: float) -> bool:
    """Above, and not equal."""
    return left > right and not equal(left, right)


@dataclass
class Oracle:
    """Evaluates one rule at one bar after the other."""

    rule: Mapping[str, Any]
    hold: bool = False
    sides: dict[str, str] = field(default_factory=dict)
    came_by_crossing: dict[str, bool] = field(default_factory=dict)

    def at(self, values: Values, bar: int) -> bool | None:
        """The rule at a bar. Every leaf is evaluated, so that the sides of all move; equal leaves move once."""
        self._answers: dict[str, bool | None] = {}
        return self._condition(self.rule, values, bar)

    def _condition(self, rule: Mapping[str, Any], values: Values, bar: int) -> bool | None:
        operator = rule["operator"]
        if operator not in ("and", "or", "not", "at_least"):
            key = json.dumps({name: part for name, part in rule.items() if name != "id"}, sort_keys=True)
            if key not in self._answers:
                self._answers[key] = self._leaf(key, rule, values, bar)
            return self._answers[key]
        answers = [self._condition(child, values, bar) for child in rule["conditions"]]
        if operator == "not":
            return None if answers[0] is None else not answers[0]
        wanted = {"and": len(answers), "or": 1, "at_least": rule.get("count", 0)}[operator]
        if answers.count(True) >= wanted:
            return True
        return None if answers.count(True) + answers.count(None) >= wanted else False

    def _leaf(self, key: str, rule: Mapping[str, Any], values: Values, bar: int) -> bool | None:
        operator, left = rule["operator"], read(rule, values, bar)
        if operator.startswith("moves"):
            return self._move(rule, left, read(rule, values, bar - rule.get("bars", 1)))
        if operator in ("between", "outside"):
            low, high = (read(each, values, bar) for each in rule["value"])
            under = None if left is None or low is None else above(low, left)
            over = None if left is None or high is None else above(left, high)
            outside = True if under or over else (None if under is None or over is None else False)
            return outside if operator == "outside" or outside is None else not outside
        if operator.endswith("channel"):
            low, high = (read(each, values, bar) for each in rule["value"])
            if left is None or low is None or high is None:
                return None
            inside, outside = above(left, low) and above(high, left), above(low, left) or above(left, high)
            return self._crossing(key, operator, "in" if inside else "out" if outside else None)
        right = read(rule["value"], values, bar)
        if left is None or right is None:
            return None
        if operator.startswith("crosses"):
            return self._crossing(key, operator, "up" if above(left, right) else "down" if above(right, left) else None)
        same = equal(left, right, rule.get("tolerance", 1e-9))
        more, less = left > right and not same, left < right and not same
        return {">": more, ">=": not less, "<": less, "<=": not more, "==": same, "!=": not same}[operator]

    def _move(self, rule: Mapping[str, Any], now: float | None, before: float | None) -> bool | None:
        if now is None or before is None:
            return None
        change = now - before
        if rule["operator"].endswith("pct"):
            if before == 0:
                return None
            change = change / abs(before) * 100
        if not math.isfinite(change):
            return None
        change = -change if "down" in rule["operator"] else change
        return not above(rule["value"], change)

    def _crossing(self, key: str, operator: str, side: str | None) -> bool:
        wanted = {"crosses_above": "up", "crosses_below": "down", "enters_channel": "in", "exits_channel": "out"}
        before = self.sides.get(key)
        now = side or before
        crossed = before is not None and now != before
        if now is not None:
            self.sides[key] = now
        self.came_by_crossing[key] = crossed or self.came_by_crossing.get(key, False)
        counts = self.came_by_crossing[key] if self.hold else crossed
        return counts and (operator == "crosses" or now == wanted[operator])
