"""Commands about alerts: each calls the functions that `streamworkers alerts` calls."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from streamworkers.alerts.alert_printer import print_alert
from streamworkers.alerts.default_timeframe import choose_timeframe
from streamworkers.alerts.document import alert_warnings
from streamworkers.alerts.duration import show_duration
from streamworkers.alerts.selection import AlertSelector, select_alerts
from streamworkers.alerts.store import changes
from streamworkers.alerts.store.alerts import StoredAlert, find_alert_by_id
from streamworkers.alerts.store.mutes import mute_alert, read_mutes, snooze_alert, unmute_alert
from streamworkers.alerts.store.reports import read_states
from streamworkers.alerts.store.symbols import read_symbols
from streamworkers.database import Connection
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers.notifications.content import Button, Content
from streamworkers.telegram.asker import Asker
from streamworkers.telegram.commands import ListAlerts, OneAlert, SilenceAlert, WriteAlert
from streamworkers.telegram.store.confirmations import VALID, ask

_SHOWN = 10
_LONGEST_RULE = 300


def answer_write(connection: Connection, asker: Asker, command: WriteAlert) -> Content:
    """Add an alert. Without a timeframe it is about the narrowest that is stored, which the answer names."""
    timeframe, is_stored = choose_timeframe(connection, command.alert)
    stored = changes.add_alert(connection, asker.actor, replace(command.alert, timeframe=timeframe))
    lines = [_show_rule(stored), *(f"Note: {warning}" for warning in alert_warnings(stored.alert))]
    if not is_stored:
        lines.append(f"Note: no bars of this symbol are stored in the timeframe {timeframe}")
    return Content(f"Alert {stored.id} added", tuple(lines))


def answer_list(connection: Connection, asker: Asker, command: ListAlerts) -> Content:
    """List the alerts of the user, or those about a symbol."""
    found = select_alerts(connection, asker.link.user, AlertSelector(symbol=command.symbol))
    if not found:
        about = "" if command.symbol is None else f" about {command.symbol}"
        return Content(f"No alerts{about}", ("/alert AAPL > 150 adds one.",))
    states = read_states(connection, [each.id for each in found])
    lines = [f"{each.id}: {_show_rule(each)}\n    {_show_state(connection, each, states)}" for each in found]
    return Content(f"{len(found)} alert{'s' * (len(found) != 1)}", tuple(lines[:_SHOWN]), tuple(lines[_SHOWN:]))


def answer_one(connection: Connection, asker: Asker, command: OneAlert) -> Content:
    """Show, pause, resume or unmute an alert; ask before one is deleted."""
    stored = find_alert_by_id(connection, asker.link.user, command.number)
    title = f"Alert {stored.id}"
    match command.verb:
        case "show":
            state = _show_state(connection, stored, read_states(connection, [stored.id]))
            return Content(title, (_show_rule(stored), f"{stored.name}: {state}"))
        case "pause":
            changes.pause_alert(connection, asker.actor, stored.name)
            return Content(f"{title} paused", ("Bars that close until /resume are never decided.",))
        case "resume":
            changes.resume_alert(connection, asker.actor, stored.name)
            return Content(f"{title} resumed", ("It decides the bars that close from now on.",))
        case "unmute":
            was_muted = unmute_alert(connection, asker.actor, stored.name)
            return Content(f"{title} unmuted" if was_muted else f"{title} was not muted")
        case "delete":
            question = ask(connection, asker.link.place, "delete", stored.id)
            lines = (_show_rule(stored), f"The button is good for {VALID.seconds} s.")
            return Content(f"Delete alert {stored.id}?", lines, buttons=(Button("Delete", f"confirm:{question}"),))


def answer_delete(connection: Connection, asker: Asker, number: int) -> Content:
    """Delete an alert after the question was answered."""
    stored = find_alert_by_id(connection, asker.link.user, number)
    changes.remove_alert(connection, asker.actor, stored.name)
    return Content(f"Alert {number} deleted", ("What it has fired is kept.",))


def answer_silence(connection: Connection, asker: Asker, command: SilenceAlert) -> Content:
    """Mute an alert, or snooze one symbol of it."""
    stored = find_alert_by_id(connection, asker.link.user, command.number)
    seconds = command.seconds
    end = None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
    until = "until /unmute" if seconds is None else f"for {show_duration(seconds)}"
    if command.verb == "mute":
        mute_alert(connection, asker.actor, stored.name, end)
        return Content(f"Alert {stored.id} muted {until}")
    symbol = command.symbol or _only_symbol(connection, stored)
    assert end is not None, "the grammar wants a time"
    snooze_alert(connection, asker.actor, stored.name, symbol, end)
    return Content(f"Alert {stored.id} snoozed for {symbol} {until}")


def _only_symbol(connection: Connection, stored: StoredAlert) -> str:
    known = read_symbols(connection, stored.id)
    if len(known) != 1:
        raise BadInputError(f"alert {stored.id} is about {len(known)} symbols: /snooze {stored.id} 1h SYMBOL")
    return known[0]


def _show_rule(stored: StoredAlert) -> str:
    about = f" on {stored.universe}" if stored.universe is not None else ""
    text = print_alert(stored.alert)
    return (text if len(text) <= _LONGEST_RULE else f"{text[: _LONGEST_RULE - 1]}…") + about


def _show_state(connection: Connection, stored: StoredAlert, states: list[dict[str, Any]]) -> str:
    if stored.paused_at is not None:
        return "paused"
    rows = [row for row in states if row["alert_id"] == stored.id]
    found = ["ended" if row["ended_since"] is not None else row["status"] for row in rows]
    counts = {status: found.count(status) for status in dict.fromkeys(found)}
    several = len(rows) > 1
    words = [f"{count} {status}" if several else status for status, count in counts.items()] or ["about no symbol now"]
    fires = sum(row["fire_count"] for row in rows)
    if fires:
        last = max(row["fired_at"] for row in rows if row["fired_at"] is not None)
        words.append(f"fired {fires} time{'s' * (fires != 1)}, last at {last.astimezone(EXCHANGE_ZONE):%Y-%m-%d %H:%M}")
    if any(mute.symbol is None for mute in read_mutes(connection, [stored.id], datetime.now(UTC))):
        words.append("muted")
    return ", ".join(words)
