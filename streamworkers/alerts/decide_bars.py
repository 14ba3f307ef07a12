"""Decides a series of closed bars for one alert: evaluates its rule, and steps its state through the bars."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from streamworkers.alerts.rearm import Rearm
from streamworkers.alerts.release import release_values
from streamworkers.alerts.step import AlertLimits, AlertState, ClosedBar, Step, initial_state, step
from streamworkers.rules.evaluate import Columns, CompiledRule, Sides, compile_rule
from streamworkers.rules.tree import Condition


@dataclass(frozen=True, slots=True)
class CompiledAlert:
    """The rule and the policies of one alert, ready for many evaluations."""

    rule: CompiledRule
    rearm: Rearm
    limits: AlertLimits


@dataclass(frozen=True, slots=True)
class AlertProgress:
    """All that one alert and symbol carries from one evaluation to the next."""

    state: AlertState
    sides: Sides


def compile_alert(
    rule: Condition, rearm: Rearm, limits: AlertLimits | None = None, split_factor: float = 1.0
) -> CompiledAlert:
    """Prepare an alert. `split_factor` is what prices were multiplied by since its document was written."""
    return CompiledAlert(compile_rule(rule, rearm.holds_crossings, split_factor), rearm, limits or AlertLimits())


def begin(alert: CompiledAlert, columns: Columns | None = None) -> AlertProgress:
    """The progress before the first bar. Sides are seeded from the last bar of `columns`, which fires nothing."""
    seeded: Sides = {}
    if columns is not None and columns.bars:
        seeded = alert.rule.evaluate(columns, first=columns.bars - 1).sides
    return AlertProgress(initial_state(alert.rearm), seeded)


def decide_bars(
    alert: CompiledAlert,
    progress: AlertProgress,
    columns: Columns,
    closes: Sequence[datetime],
    muted: Sequence[bool] = (),
) -> tuple[AlertProgress, list[Step]]:
    """Decide the bars that close at `closes`, the last ones of `columns`; those before are history for look-back.

    Returns the progress after them, and the step of each bar. In pieces or at once, the result is the same.
    """
    first = columns.bars - len(closes)
    evaluation = alert.rule.evaluate(columns, progress.sides, first)
    releases = release_values(alert.rearm, alert.rule, evaluation, columns).tolist()
    state, steps = progress.state, []
    for place, (close, value, release) in enumerate(zip(closes, evaluation.value.tolist(), releases, strict=True)):
        bar = ClosedBar(close, value, release, muted[place] if muted else False)
        steps.append(step(state, alert.rearm, alert.limits, bar))
        state = steps[-1].state
    return AlertProgress(state, evaluation.sides), steps
