"""Where alerts stand, in words and fields: for lists, and for those who wonder why one is silent."""

from collections.abc import Sequence
from typing import Any

from streamworkers.alerts.document import Alert
from streamworkers.alerts.standing import Standing
from streamworkers.alerts.store.mutes import Mute
from streamworkers.market.calendar.moments import show_moment_there
from streamworkers.rules.printer import print_rule

_MOST_NAMED = 5
_OF_A_SYMBOL = (
    *("symbol", "status", "fire_count", "fired_at", "cooldown_until"),
    *("evaluated_through", "complete_through", "blind_since"),
)


def describe_symbols(standing: Standing) -> list[dict[str, Any]]:
    """Where an alert stands for each symbol that it is about."""
    return [
        {key: row[key] for key in _OF_A_SYMBOL}
        | {"blind": row["symbol"] in standing.blind, "delisted_after": row["delisted_after"]}
        for row in standing.symbols
    ]


def why_silent(standing: Standing) -> list[str]:
    """Every reason for which an alert is silent, or partly so."""
    stored, reasons = standing.stored, []
    if stored.paused_at is not None:
        reasons.append(f"paused by {stored.paused_by} since {show_moment_there(stored.paused_at)}")
    if stored.effective_from > standing.at:
        reasons.append(f"not in force before {show_moment_there(stored.effective_from)}: a clock was ahead")
    if standing.is_expired:
        reasons.append(f"expired at {show_moment_there(stored.alert.limits.expires_at)}")
    if not standing.symbols:
        reasons.append("it is about no symbol now")
    elif set(standing.states) == {"done"}:
        reasons.append("done: it may not fire again")
    if standing.ended:
        named = [f"{symbol} was delisted after {day}" for symbol, day in standing.ended.items()]
        reasons.append(f"ended: {_name_some(named)}")
    reasons += [_show_mute(mute) for mute in standing.mutes]
    if standing.blind:
        since = "" if standing.blind_since is None else f" since {show_moment_there(standing.blind_since)}"
        reasons.append(f"blind{since}: bars of {_name_some(standing.blind)} are missing")
    return reasons


def describe_standing(standing: Standing) -> dict[str, Any]:
    """What an alert is about, where it stands, and why it is silent."""
    stored = standing.stored
    alert = stored.alert
    return {
        "id": stored.id,
        "name": stored.name,
        "about": _about(alert),
        "timeframe": stored.timeframe,
        "rule": print_rule(alert.rule),
        "group": alert.notify.group,
        "version": stored.version,
        "states": standing.states,
        "fires": standing.fires,
        "last_fired": standing.last_fired,
        "paused_at": stored.paused_at,
        "expired": standing.is_expired,
        "muted": [
            {name: getattr(each, name) for name in ("symbol", "since", "until", "reason")} | {"by": each.created_by}
            for each in standing.mutes
        ],
        "ended": list(standing.ended),
        "blind": list(standing.blind),
        "blind_since": standing.blind_since,
        "silent": why_silent(standing),
    }


def _about(alert: Alert) -> str:
    assert alert.target is not None
    return alert.target.universe or _name_some(alert.target.symbols)


def _show_mute(mute: Mute) -> str:
    what = "muted" if mute.symbol is None else f"{mute.symbol} snoozed"
    until = "" if mute.until is None else f" until {show_moment_there(mute.until)}"
    words = f"{what} by {mute.created_by} since {show_moment_there(mute.since)}{until}"
    return words if mute.reason is None else f"{words}: {mute.reason}"


def _name_some(names: Sequence[str]) -> str:
    named = ", ".join(names[:_MOST_NAMED])
    return named if len(names) <= _MOST_NAMED else f"{named} and {len(names) - _MOST_NAMED} more"
