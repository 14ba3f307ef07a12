"""What a trial of an alert on stored bars has found, for tables, programs and results of runs."""

from typing import Any

from streamworkers.alerts.document import Alert
from streamworkers.alerts.firing_message import firing_message
from streamworkers.alerts.stored_bars import StoredBars
from streamworkers.alerts.trial import TRUTH_NAMES, BarDecision, Trial


def describe_trial(trial: Trial, stored: StoredBars, symbol: str) -> dict[str, Any]:
    """What a trial was about, and how often the alert fired in it."""
    return {
        "symbol": symbol,
        "timeframe": stored.timeframe.name,
        "bars": len(trial.closes),
        "first": stored.start_of(trial.first),
        "last": stored.start_of(trial.columns.bars - 1),
        "firings": trial.firings,
        "unknown": trial.unknown,
        "state": str(trial.after.state.status),
    }


def describe_decision(alert: Alert, symbol: str, stored: StoredBars, decision: BarDecision) -> dict[str, Any]:
    """One bar of a trial: its numbers, the states before and after, why, and the message of a firing."""
    step = decision.step
    value, level = decision.values
    row = {
        "bar": stored.start_of(decision.place),
        "closed_at": decision.closed_at,
        "price": float(stored.bars.close[decision.place]),
        "value": value,
        "level": level,
        "rule": TRUTH_NAMES[decision.truth],
        "before": str(decision.before.status),
        "after": str(step.state.status),
        "fires": step.fired,
        "released": step.released,
        "why": decision.why,
    }
    return row | {"message": firing_message(alert, symbol, stored, decision)} if step.fired else row
