"""Prints an alert in text form, as far as it has words for it."""

from streamworkers.alerts.alert_text import SECONDS
from streamworkers.alerts.document import Alert, show_moment
from streamworkers.alerts.rearm import Rearm
from streamworkers.rules.canonical import to_number
from streamworkers.rules.lexer import split_ticker
from streamworkers.rules.printer import print_rule


def print_alert(alert: Alert) -> str:
    """The alert as text that `parse_alert_text` takes.

    Left out is what the text form has no words for: lists and universes, names, notifications, the most fires, release
    bars, gaps, and waiting for false.
    """
    ticker = "" if alert.target is None or len(alert.target.symbols) != 1 else _ticker(alert.target.symbols[0])
    end = alert.limits.expires_at
    words = [
        ticker,
        print_rule(alert.rule),
        alert.timeframe or "",
        _policy(alert.rearm),
        "" if end is None else f"until {show_moment(end)}",
    ]
    return " ".join(word for word in words if word)


def _ticker(symbol: str) -> str:
    if split_ticker(symbol) == (symbol, len(symbol)):
        return symbol
    return f'"{symbol}"'


def _policy(rearm: Rearm) -> str:
    """The options, that of the type first: it gives a policy without a word for its type the type."""
    cooldown = [f"cooldown {_duration(rearm.cooldown_seconds)}"] if rearm.cooldown_seconds else []
    if rearm.cooldown_bars:
        cooldown.append(f"cooldown {rearm.cooldown_bars} bars")
    persistence = [f"persistence {rearm.persistence_bars} bars"] if rearm.persistence_bars > 1 else []
    if rearm.type == "cooldown":
        return " ".join([*cooldown, *persistence])
    if rearm.type == "persistence":
        return " ".join([*persistence, *cooldown])
    gates = [*cooldown, *persistence]
    if rearm.type == "edge" and not gates:
        return ""
    return " ".join([_hysteresis(rearm) or rearm.type, *gates])


def _hysteresis(rearm: Rearm) -> str:
    if rearm.margin is None:
        return ""
    leaf = "" if rearm.leaf is None or rearm.leaf.id is None else f" of {rearm.leaf.id}"
    return f"hysteresis {'' if rearm.margin.is_fraction else 'abs '}{to_number(rearm.margin.size)!r}{leaf}"


def _duration(seconds: float) -> str:
    unit, size = next((unit, size) for unit, size in SECONDS.items() if seconds % size == 0 or unit == "s")
    return f"{to_number(seconds / size)!r}{unit}"
