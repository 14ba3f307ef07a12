"""The release of a rearm policy over arrays: what has to hold before a fired alert is armed again."""

import numpy as np

from streamworkers.alerts.rearm import Margin, Rearm
from streamworkers.rules.evaluate import Columns, CompiledRule, Evaluation, FloatColumn, compare
from streamworkers.rules.logic import Truth, known_truth, negate
from streamworkers.rules.tree import Comparison, Crossing, Sided
from streamworkers.rules.truth import FALSE, TRUE

_OTHER_SIDE = {"crosses_above": -1, "crosses_below": 1, "enters_channel": -1, "exits_channel": 1}


def release_values(rearm: Rearm, rule: CompiledRule, evaluation: Evaluation, columns: Columns) -> Truth:
    """Whether the release holds at each bar of an evaluation: true, false or unknown."""
    if rearm.type in ("simple", "cooldown"):
        return np.full_like(evaluation.value, TRUE)
    if rearm.type == "once":
        return np.full_like(evaluation.value, FALSE)
    if rearm.type == "crossing":
        return _other_side(rule, evaluation)
    if rearm.type == "hysteresis":
        near = rule.tail(columns, evaluation.first)
        with np.errstate(all="ignore"):
            return _came_back(rearm, rule, near)[evaluation.first - (columns.bars - near.bars) :]
    return negate(evaluation.value)


def _other_side(rule: CompiledRule, evaluation: Evaluation) -> Truth:
    """True where the only crossing is on the side that it does not ask for; for `crosses`, where the side changes."""
    key, path = next(iter(evaluation.paths.items()))
    leaf = rule.leaves[key]
    assert isinstance(leaf, Sided)
    if leaf.operator == "crosses":
        return known_truth(path.changed, path.known)
    return known_truth(path.side == _OTHER_SIDE[leaf.operator], path.known)


def _came_back(rearm: Rearm, rule: CompiledRule, columns: Columns) -> Truth:
    leaf, margin = rearm.leaf, rearm.margin
    assert isinstance(leaf, Comparison | Crossing)
    assert margin is not None
    left, right = rule.operand(leaf.left, columns), rule.operand(leaf.right, columns)
    distance = _distance(margin, rule, leaf, right)
    if leaf.operator in (">", ">=", "crosses_above"):
        return compare(left, "<=", right - distance)
    return compare(left, ">=", right + distance)


def _distance(margin: Margin, rule: CompiledRule, leaf: Comparison | Crossing, right: FloatColumn) -> FloatColumn:
    """How far from the level the value has to be; unknown for a fraction of 0."""
    if margin.is_fraction:
        return np.where(right == 0, np.nan, margin.size * np.abs(right))
    scale = 1.0 if leaf.left.dimension is None else leaf.left.dimension.scale(rule.split_factor)
    return np.full(len(right), margin.size * scale)
