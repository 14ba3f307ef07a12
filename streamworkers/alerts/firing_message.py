"""The values that the message about a firing has: those of the alert, and those of the bar."""

from collections.abc import Mapping

from streamworkers.alerts.document import Alert
from streamworkers.alerts.message import MessageValue, preview_message, render_message
from streamworkers.alerts.stored_bars import StoredBars
from streamworkers.alerts.trial import BarDecision
from streamworkers.rules.printer import print_rule


def alert_values(alert: Alert, symbol: str | None = None) -> dict[str, MessageValue]:
    """What a message about this alert has, whatever the bar. Without a symbol, that of the alert if it has one only."""
    if symbol is None and alert.target is not None and len(alert.target.symbols) == 1:
        symbol = alert.target.symbols[0]
    rule = print_rule(alert.rule)
    values: Mapping[str, MessageValue | None] = {
        "ticker": symbol,
        "symbol": symbol,
        "name": alert.name or rule,
        "rule": rule,
        "timeframe": alert.timeframe,
        "group": alert.notify.group or "",
        "priority": alert.notify.priority,
    }
    return {name: value for name, value in values.items() if value is not None}


def preview_alert(alert: Alert) -> str:
    """The message of an alert with example values for what only a firing knows."""
    return preview_message(alert.notify.message_template, alert_values(alert))


def firing_message(alert: Alert, symbol: str, stored: StoredBars, decision: BarDecision) -> str:
    """The message about a firing at a bar."""
    value, level = decision.values
    at_bar: dict[str, MessageValue | None] = {
        "price": float(stored.bars.close[decision.place]),
        **{name: float(getattr(stored.bars, name)[decision.place]) for name in ("open", "high", "low", "volume")},
        "value": value,
        "level": level,
        "fires": float(decision.step.state.fire_count),
        "earlier": 0.0,
        "bar_time": stored.start_of(decision.place),
        "closed_at": decision.closed_at,
    }
    values = alert_values(alert, symbol) | {"timeframe": stored.timeframe.name}
    return render_message(alert.notify.message_template, at_bar | values)
