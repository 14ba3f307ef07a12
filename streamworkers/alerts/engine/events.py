"""What is published about firings: an event for other programs, and one that notifications are made of."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from streamworkers.alerts.document import Alert
from streamworkers.alerts.engine.compiled import CompiledVersions
from streamworkers.alerts.firing_message import alert_values
from streamworkers.alerts.message import render_message
from streamworkers.alerts.store.decisions import Correction, Firing
from streamworkers.engine.outcome import Event, make_notice
from streamworkers.engine.redis.keys import ALERTS_CHANNEL
from streamworkers.rules.printer import print_rule

ALERT_SCHEMA_VERSION = 1
_MOST_TEXT = 10_000  # of a notification


def firing_events(firings: Iterable[Firing], versions: CompiledVersions, timeframe: str, run_id: int) -> list[Event]:
    """Events of new firings that are not suppressed, shaped by `catch_up` of each alert.

    `latest`: one for all firings of an alert and symbol, the newest, which says how many were earlier; `all`: each;
    `none`: only those that are live.
    """
    found = []
    newest = {(each.alert_id, each.symbol): each for each in firings if _is_public(each) and each.kind == "fire"}
    for firing in filter(_is_public, firings):
        version = versions[firing.alert_id, firing.version]
        catch_up = version.alert.catch_up
        is_newest = firing.kind == "release" or newest[firing.alert_id, firing.symbol] is firing
        if (catch_up == "latest" and not is_newest) or (catch_up == "none" and not firing.is_live):
            continue
        earlier = firing.earlier if catch_up == "latest" else 0
        payload = _describe(firing, version.alert, timeframe, run_id) | {"user_id": version.user, "earlier": earlier}
        words = _words(firing, version.alert, timeframe, earlier)
        key = f"{payload['event_type']}:{firing.alert_id}:{firing.symbol}:{payload['bar_time']}"
        found += [Event(ALERTS_CHANNEL, payload), _notify(payload | words, version.alert, key)]
    return found


def correction_events(
    corrections: Iterable[Correction], versions: CompiledVersions, newest: dict[int, int], timeframe: str
) -> list[Event]:
    """Notifications to the owners of alerts that ask for them; `newest` has the version of each alert."""
    found = []
    for each in corrections:
        version = versions[each.alert_id, newest[each.alert_id]]
        if not version.alert.notify_corrections:
            continue
        payload = {
            "schema_version": ALERT_SCHEMA_VERSION,
            "event_type": f"alert_{each.kind}",
            "alert_id": each.alert_id,
            "name": version.alert.name,
            "symbol": each.symbol,
            "timeframe": timeframe,
            "bar_time": each.bar_time.isoformat(),
            "user_id": version.user,
        }
        key = f"alert_correction:{each.alert_id}:{each.symbol}:{each.bar_time.isoformat()}:{each.change}"
        found.append(_notify(payload, version.alert, key))
    return found


def system_notice(user: str, kind: str, alert_id: int, name: str | None, symbol: str, at: datetime, text: str) -> Event:
    """A notification about an alert itself: that it is blind, or muted by a split."""
    data = {"alert_id": alert_id, "name": name, "symbol": symbol, "text": text}
    return make_notice(user, kind, f"{kind}:{alert_id}:{symbol}:{at.isoformat()}", data)


def _is_public(firing: Firing) -> bool:
    return firing.suppressed is None


def _describe(firing: Firing, alert: Alert, timeframe: str, run_id: int) -> dict[str, Any]:
    return {
        "schema_version": ALERT_SCHEMA_VERSION,
        "event_type": "alert_fired" if firing.kind == "fire" else "alert_released",
        "alert_id": firing.alert_id,
        "version": firing.version,
        "name": alert.name,
        "symbol": firing.symbol,
        "timeframe": timeframe,
        "bar_time": firing.bar_time.isoformat(),
        "closed_at": firing.closed_at.isoformat(),
        "price": firing.price,
        "live": firing.is_live,
        "fire_count": firing.after.state.fire_count,
        "run_id": run_id,
    }


def _words(firing: Firing, alert: Alert, timeframe: str, earlier: int) -> dict[str, Any]:
    """What only people read: the alert's own text of a firing, the rule, and its level for pictures."""
    words = {"rule": print_rule(alert.rule)[:_MOST_TEXT], "level": firing.at_bar.get("level")}
    if firing.kind != "fire":
        return words
    numbers = {"price": firing.price, "fires": float(firing.after.state.fire_count), "earlier": float(earlier)}
    moments = {"bar_time": firing.bar_time, "closed_at": firing.closed_at}
    values = {**firing.at_bar, **numbers, **moments, **alert_values(alert, firing.symbol), "timeframe": timeframe}
    text = render_message(alert.notify.message_template, values)[:_MOST_TEXT].strip()
    return words | ({"text": text} if text else {})


def _notify(payload: dict[str, Any], alert: Alert, dedup_key: str) -> Event:
    wanted = alert.notify
    data = payload | {"channels": list(wanted.channels), "message_template": wanted.message_template}
    user, kind = payload["user_id"], payload["event_type"]
    return make_notice(user, kind, dedup_key, data, priority=wanted.priority, group=wanted.group)
