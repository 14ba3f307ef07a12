"""Decides stored bars for an alert and says why: when would it have fired?

The decisions are those of `decide_bars`, which the live evaluation calls, too. This module only puts words to them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from streamworkers.alerts.decide_bars import AlertProgress, CompiledAlert, begin, compile_alert, decide_bars
from streamworkers.alerts.document import Alert, show_moment
from streamworkers.alerts.step import AlertState, AlertStatus, Step
from streamworkers.alerts.stored_bars import StoredBars
from streamworkers.rules.bar_columns import compute_columns
from streamworkers.rules.evaluate import Columns, Evaluation, FloatColumn, PatternColumns
from streamworkers.rules.printer import print_leaf
from streamworkers.rules.tree import (
    Comparison,
    Condition,
    Crossing,
    Leaf,
    Not,
    PatternMatch,
    child_conditions,
    leaves,
    needed_fields,
    needed_patterns,
)
from streamworkers.rules.truth import TRUE, UNKNOWN

TRUTH_NAMES = {1: "true", 0: "unknown", -1: "false"}


@dataclass(frozen=True, slots=True)
class BarDecision:
    """One bar of a trial. `values` are the left and right side of the first comparison of the rule, None if unknown."""

    place: int
    closed_at: datetime
    truth: int
    values: tuple[float | None, float | None]
    before: AlertState
    step: Step
    why: str


@dataclass(frozen=True, slots=True)
class Trial:
    """The decisions about the last bars of columns."""

    alert: CompiledAlert
    columns: Columns
    closes: Sequence[datetime]
    evaluation: Evaluation
    before: AlertProgress
    after: AlertProgress
    steps: Sequence[Step]

    @property
    def first(self) -> int:
        """The place of the first decided bar in the columns."""
        return self.evaluation.first

    @property
    def firings(self) -> int:
        return sum(step.fired for step in self.steps)

    @property
    def unknown(self) -> int:
        """The number of bars at which the rule was unknown."""
        return int((self.evaluation.value == UNKNOWN).sum())

    def decisions(self, *, every_bar: bool = False) -> Iterator[BarDecision]:
        """The bars at which the status changed or something happened, or every bar, oldest first."""
        lefts, levels = measured_values(self.alert, self.columns)
        before = self.before.state
        for index, step in enumerate(self.steps):
            place, truth = self.first + index, int(self.evaluation.value[index])
            if every_bar or step.fired or step.released or step.state.status is not before.status:
                yield BarDecision(
                    place=place,
                    closed_at=self.closes[index],
                    truth=truth,
                    values=(_known(lefts, place), _known(levels, place)),
                    before=before,
                    step=step,
                    why=self._explain(index, before, step, truth),
                )
            before = step.state

    def _explain(self, index: int, before: AlertState, step: Step, truth: int) -> str:
        if step.fired:
            return "fires" + (", released at the same bar" if step.released else "")
        if before.status is AlertStatus.DONE:
            return f"done after {_times(before.fire_count)}"
        words = ["released"] if step.released else []
        if truth == TRUE:
            words.append(_explain_silence(self.alert, step.state, self.closes[index]))
        else:
            words.append(self._explain_truth(index, truth))
            if step.state.release_streak and not step.released:
                words.append(f"release holds for {step.state.release_streak} of {self.alert.rearm.release_bars} bars")
        return ", ".join(words)

    def _explain_truth(self, index: int, truth: int) -> str:
        """The conditions that make a rule false or unknown, as far as they can be named one by one."""
        keys = self.alert.rule.keys
        to_blame = leaves(self.alert.rule.rule) if truth == UNKNOWN else _outside_of_not(self.alert.rule.rule)
        named = [print_leaf(leaf) for leaf in to_blame if self.evaluation.leaves[keys[leaf]][index] == truth]
        return TRUTH_NAMES[truth] + (f": {'; '.join(dict.fromkeys(named))}" if named else "")


def try_alert(alert: CompiledAlert, columns: Columns, closes: Sequence[datetime]) -> Trial:
    """Decide the last bars of `columns`, those that close at `closes`, as an alert would that was added before them."""
    first = columns.bars - len(closes)
    before = begin(alert, first_bars(columns, first))
    after, steps = decide_bars(alert, before, columns, closes)
    return Trial(alert, columns, closes, alert.rule.evaluate(columns, before.sides, first), before, after, steps)


def try_stored(alert: Alert, stored: StoredBars, split_factor: float = 1.0) -> Trial:
    """Decide stored bars as an alert would that was added before the first of them.

    `split_factor` is what prices were multiplied by since the document was written.
    """
    columns = compute_columns(stored.bars, needed_fields(alert.rule), needed_patterns(alert.rule))
    return try_alert(compile_alert(alert.rule, alert.rearm, alert.limits, split_factor), columns, stored.closes)


def first_bars(columns: Columns, count: int) -> Columns:
    """The first bars of columns."""
    fields = {field: values[:count] for field, values in columns.fields.items()}
    patterns = {
        pattern: PatternColumns(found.signal[:count], found.confidence[:count])
        for pattern, found in columns.patterns.items()
    }
    return Columns(count, fields, patterns)


def measured_values(alert: CompiledAlert, columns: Columns) -> tuple[FloatColumn | None, FloatColumn | None]:
    """What the first comparison of a rule measures at each bar, and its level; None where it has none."""
    leaf = next((each for each in leaves(alert.rule.rule) if not isinstance(each, PatternMatch)), None)
    if leaf is None:
        return None, None
    level = alert.rule.operand(leaf.right, columns) if isinstance(leaf, Comparison | Crossing) else None
    return alert.rule.operand(leaf.left, columns), level


def _known(values: FloatColumn | None, place: int) -> float | None:
    return None if values is None or math.isnan(values[place]) else float(values[place])


def _explain_silence(alert: CompiledAlert, state: AlertState, close: datetime) -> str:
    """Why an alert whose rule is true does not fire: the rules of `step` in their order."""
    if state.status is AlertStatus.FIRED:
        return "true, not released yet" if state.fired_at is not None else "true, has to be false first"
    if state.streak < alert.rearm.persistence_bars:
        return f"true for {state.streak} of {alert.rearm.persistence_bars} bars"
    if state.cooldown_bars:
        return f"true, cooldown for {state.cooldown_bars} more bars"
    if state.cooldown_until is not None and close < state.cooldown_until:
        return f"true, cooldown until {show_moment(state.cooldown_until)}"
    end = alert.limits.expires_at
    return "true" if end is None else f"true, expired at {show_moment(end)}"


def _outside_of_not(condition: Condition) -> Iterator[Leaf]:
    if isinstance(condition, Not):
        return
    children = child_conditions(condition)
    if not children:
        yield from leaves(condition)
    for child in children:
        yield from _outside_of_not(child)


def _times(count: int) -> str:
    return "one firing" if count == 1 else f"{count} firings"
