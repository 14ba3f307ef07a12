"""Evaluates a rule over arrays: every leaf at every bar, so that sides move and nothing depends on an order."""

import operator as functions
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamworkers.rules.arithmetic import OPERATIONS
from streamworkers.rules.canonical import leaf_hash
from streamworkers.rules.logic import Truth, all_of, any_of, at_least_of, known_truth, negate
from streamworkers.rules.sides import Order, SidePath, follow_sides
from streamworkers.rules.tree import (
    DEFAULT_TOLERANCE,
    AtLeast,
    Comparison,
    Condition,
    Constant,
    Crossing,
    Field,
    Group,
    Leaf,
    Move,
    Not,
    Pattern,
    PatternMatch,
    Range,
    Sided,
    Value,
    leaves,
    needed_fields,
    needed_patterns,
)

FloatColumn = NDArray[np.float64]
Sides = Mapping[str, int]
Fold = Callable[[Mapping[str, Truth]], Truth]

_TARGETS = {
    "crosses_above": 1,
    "crosses_below": -1,
    "crosses": 0,
    "enters_channel": 1,
    "exits_channel": -1,
}
_HOLDS: Mapping[str, Callable[[Any, Any], Any]] = {
    ">": functions.gt,
    ">=": functions.ge,
    "<": functions.lt,
    "<=": functions.le,
    "==": functions.eq,
    "!=": functions.ne,
}


@dataclass(frozen=True, slots=True)
class PatternColumns:
    """Detections of a pattern at each bar: the signal (0 none, NaN unknown, else its sign), and its confidence."""

    signal: FloatColumn
    confidence: FloatColumn


@dataclass(frozen=True, slots=True)
class Columns:
    """The values that rules read, all of one length, oldest bar first; a value that is not finite is unknown."""

    bars: int
    fields: Mapping[Field, FloatColumn]
    patterns: Mapping[Pattern, PatternColumns] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a rule was at each bar from `first` on: itself, and each leaf and side by the hash of the leaf.

    `sides` are those after the last bar: pass them to the evaluation of the bars that follow.
    """

    first: int
    value: Truth
    leaves: Mapping[str, Truth]
    paths: Mapping[str, SidePath]
    sides: Sides


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule with its distinct leaves. With `hold_crossings`, a crossing stays true until its side changes back.

    `split_factor` is what prices were multiplied by since the rule was written: constants are scaled by it. `fold`
    gives the value of the rule from those of its leaves; `history` is how many bars before a bar its moves read.
    """

    rule: Condition
    leaves: Mapping[str, Leaf]
    keys: Mapping[Leaf, str]
    fold: Fold
    fields: tuple[Field, ...]
    patterns: tuple[Pattern, ...]
    history: int
    hold_crossings: bool = False
    split_factor: float = 1.0

    def evaluate(self, columns: Columns, sides: Sides | None = None, first: int = 0) -> Evaluation:
        """Evaluate at the bars from `first` on; bars before it are history for moves and leave the sides alone.

        `sides` are those of the bar before `first`. In pieces or at once, the result is the same.
        """
        before, paths, values = sides or {}, {}, {}
        near = self.tail(columns, first)
        place = first - (columns.bars - near.bars)
        with np.errstate(all="ignore"):
            for key, leaf in self.leaves.items():
                if isinstance(leaf, Sided):
                    paths[key] = follow_sides(*self._order(leaf, near, place), before.get(key, 0))
                    values[key] = paths[key].crosses(_TARGETS[leaf.operator], self.hold_crossings)
                else:
                    values[key] = self._plain(leaf, near)[place:]
        after = {key: path.last if len(path.side) else before.get(key, 0) for key, path in paths.items()}
        return Evaluation(first, self.fold(values), values, paths, after)

    def tail(self, columns: Columns, first: int) -> Columns:
        """What the rule reads of columns for the bars from `first` on, so that they cost the same after any history."""
        start = max(0, first - self.history)
        fields = {field: columns.fields[field][start:] for field in self.fields}
        patterns = {
            pattern: PatternColumns(found.signal[start:], found.confidence[start:])
            for pattern in self.patterns
            for found in [columns.patterns[pattern]]
        }
        return Columns(columns.bars - start, fields, patterns)

    def operand(self, value: Value, columns: Columns) -> FloatColumn:
        """A value of the rule at every bar, NaN where it is unknown."""
        if isinstance(value, Constant):
            scale = 1.0 if value.dimension is None else value.dimension.scale(self.split_factor)
            return np.full(columns.bars, value.value * scale)
        if isinstance(value, Field):
            result = columns.fields[value]
        else:
            left, right = self.operand(value.left, columns), self.operand(value.right, columns)
            with np.errstate(all="ignore"):
                result = OPERATIONS[value.operator](left, right)
        return np.where(np.isfinite(result), result, np.nan)

    def _plain(self, leaf: Comparison | Range | Move | PatternMatch, columns: Columns) -> Truth:
        if isinstance(leaf, PatternMatch):
            return _match(leaf, columns.patterns[leaf.pattern])
        left = self.operand(leaf.left, columns)
        if isinstance(leaf, Move):
            return _moved(leaf, left, self.operand(leaf.amount, columns))
        if isinstance(leaf, Comparison):
            return compare(left, leaf.operator, self.operand(leaf.right, columns), leaf.tolerance)
        low, high = self.operand(leaf.low, columns), self.operand(leaf.high, columns)
        within = all_of([compare(left, ">=", low), compare(left, "<=", high)])
        return within if leaf.operator == "between" else negate(within)

    def _order(self, leaf: Sided, columns: Columns, first: int) -> tuple[Order, NDArray[np.bool_]]:
        left = self.operand(leaf.left, columns)[first:]
        if isinstance(leaf, Crossing):
            return compare_order(left, self.operand(leaf.right, columns)[first:])
        low, low_known = compare_order(left, self.operand(leaf.low, columns)[first:])
        high, high_known = compare_order(left, self.operand(leaf.high, columns)[first:])
        known = low_known & high_known
        outside, inside = (low < 0) | (high > 0), (low > 0) & (high < 0)
        return np.where(known, inside.astype(np.int8) - outside.astype(np.int8), 0).astype(np.int8), known


def compile_rule(rule: Condition, hold_crossings: bool = False, split_factor: float = 1.0) -> CompiledRule:
    """Prepare a rule for many evaluations; equal leaves are evaluated once."""
    keys = {leaf: leaf_hash(leaf) for leaf in leaves(rule)}
    return CompiledRule(
        rule,
        {key: leaf for leaf, key in keys.items()},
        keys,
        _make_fold(rule, keys),
        needed_fields(rule),
        needed_patterns(rule),
        max((leaf.bars for leaf in keys if isinstance(leaf, Move)), default=0),
        hold_crossings,
        split_factor,
    )


def _make_fold(condition: Condition, keys: Mapping[Leaf, str]) -> Fold:
    if isinstance(condition, Not):
        child = _make_fold(condition.child, keys)
        return lambda values: negate(child(values))
    if isinstance(condition, Group | AtLeast):
        children = [_make_fold(child, keys) for child in condition.children]
        if isinstance(condition, AtLeast):
            merge: Callable[[list[Truth]], Truth] = partial(at_least_of, condition.count)
        else:
            merge = all_of if condition.operator == "and" else any_of
        return lambda values: merge([child(values) for child in children])
    return functions.itemgetter(keys[condition])


def compare_order(
    left: FloatColumn, right: FloatColumn, tolerance: float = DEFAULT_TOLERANCE
) -> tuple[Order, NDArray[np.bool_]]:
    """1 where left is above right, -1 where below, 0 where equal or unknown; and where both are known."""
    difference = left - right
    margin = tolerance * np.maximum(np.abs(left), np.abs(right))
    known = np.isfinite(left) & np.isfinite(right)
    order: Order = ((difference > margin).view(np.int8) - (difference < -margin).view(np.int8)) * known
    return order, known


def compare(left: FloatColumn, operator: str, right: FloatColumn, tolerance: float = DEFAULT_TOLERANCE) -> Truth:
    """`left operator right` at each bar, unknown where a side is."""
    order, known = compare_order(left, right, tolerance)
    return known_truth(_HOLDS[operator](order, 0), known)


def _moved(leaf: Move, left: FloatColumn, amount: FloatColumn) -> Truth:
    before = np.full(len(left), np.nan)
    before[leaf.bars :] = left[: -leaf.bars]
    with np.errstate(all="ignore"):
        change = left - before
        if leaf.operator.endswith("_pct"):
            change = change / np.abs(before) * 100.0
    change = np.where(np.isfinite(change), change, np.nan)
    return compare(-change if leaf.operator.startswith("moves_down") else change, ">=", amount)


def _match(leaf: PatternMatch, found: PatternColumns) -> Truth:
    true = found.signal != 0
    if leaf.direction is not None:
        true = found.signal > 0 if leaf.direction == "bullish" else found.signal < 0
    # An unknown confidence belongs to no detection, so it decides nothing where there is none.
    confident = compare(np.where(true, found.confidence, 1.0), ">=", np.full(len(true), leaf.min_confidence))
    return all_of([known_truth(true, np.isfinite(found.signal)), confident])
