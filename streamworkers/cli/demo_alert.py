"""The alert of `streamworkers demo`: a symbol with a bar of now, an alert that it lets fire, and what arrives of it."""

import time
from dataclasses import fields, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import NamedTuple

import click
import httpx

from streamworkers.actor import LOCAL
from streamworkers.alerts.alert_printer import print_alert
from streamworkers.alerts.alert_text import parse_alert_text
from streamworkers.alerts.document import AlertNotify
from streamworkers.alerts.selection import AlertSelector, select_alerts
from streamworkers.alerts.store.changes import add_alert, remove_alert
from streamworkers.database import Connection
from streamworkers.loading.providers.provider import BarOrigin
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.loading.store import load_unreal
from streamworkers.market.bars.stored_timeframes import list_stored_timeframes
from streamworkers.market.bars.text_rows import BarRows
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES
from streamworkers.notifications.channels.channel import Address
from streamworkers.notifications.store.endpoints import add_endpoint, list_endpoints, list_on_channel, remove_endpoint
from streamworkers.notifications.store.listing import SentMessage, read_newest_message
from streamworkers.results.definition_rows import read_catalogue

_CHAT, _CHANNEL, _NAME = "4711", "telegram", "demo"  # also of the alert and its endpoint
_BARS, _SEED = 120, 10
_ARRIVES_SECONDS = 60.0


class DemoAlert(NamedTuple):
    """What fires: its text, the day of the bar that lets it, and the endpoint that gets the message."""

    text: str
    day: str
    endpoint: int


def set_alert(connection: Connection) -> DemoAlert:
    """Add a symbol and an alert, and then the bar at which it fires.

    The real bars are years old, so a firing at them would be no news, and wait for a digest. This symbol is invented,
    and its newest bar is that of the last session. Each demo takes another symbol: a bar is decided once.
    """
    remove_demo_alert(connection)
    endpoint = add_endpoint(connection, LOCAL, _CHANNEL, Address(_CHAT, {}), _NAME).id
    rows = next(generate_bars(1, _BARS, _SEED))
    symbol = _free_symbol(connection)
    before, last = float(rows.close[-2]), float(rows.close[-1])
    level = round((before + last) / 2, 2)
    text = f"{symbol} > {level:.10g} day" if last > before else f"{symbol} < {level:.10g} day"
    load_unreal(connection, TIMEFRAMES["day"], [_part(rows, symbol, slice(0, -1))], BarOrigin.INVENTED)
    alert = parse_alert_text(text, read_catalogue(connection))
    since = datetime.fromisoformat(rows.times[-1]).replace(tzinfo=EXCHANGE_ZONE)
    stored = add_alert(
        connection, LOCAL, replace(alert, name=_NAME, notify=AlertNotify(channels=(_CHANNEL,))), at=since
    )
    load_unreal(connection, TIMEFRAMES["day"], [_part(rows, symbol, slice(-1, None))], BarOrigin.INVENTED)
    return DemoAlert(print_alert(stored.alert), rows.times[-1], endpoint)


def show_message(connection: Connection, alert: DemoAlert, telegram: str, folder: Path) -> None:
    """Wait for the message of the firing, and print it as it has arrived; its picture becomes a file of the folder."""
    ends = time.monotonic() + _ARRIVES_SECONDS
    while (found := read_newest_message(connection, alert.endpoint)) is None or found.state != "sent":
        if time.monotonic() > ends or (found is not None and found.state in ("dead", "suppressed")):
            state = "has not been written" if found is None else f"is {found.state}: {found.reason or 'not sent yet'}"
            click.echo(f"  the message {state}; see demo-scheduler.log and demo-worker.log in {folder}")
            return
        time.sleep(0.1)
    calls = httpx.get(f"{telegram}/__log__").raise_for_status().json()["calls"]
    call = next(each for each in reversed(calls) if each["chat"] == _CHAT)
    for line in str(call["text"]).splitlines():
        click.echo(f"  │ {line}".rstrip())
    rows = (call["parameters"].get("reply_markup") or {}).get("inline_keyboard", [])
    click.echo("  │ " + " ".join(f"[{button['text']}]" for row in rows for button in row))
    click.echo(f"  its chart: {_write_picture(found, folder)}")


def remove_demo_alert(connection: Connection) -> None:
    """Leave nothing that waits for further bars, or for a chat that does not exist; what has fired stays.

    A demo that was interrupted leaves it to the next one.
    """
    if select_alerts(connection, LOCAL.user, AlertSelector(name=_NAME)):
        remove_alert(connection, LOCAL, _NAME)
    if any(each.name == _NAME for each in list_endpoints(connection, LOCAL.user)):
        remove_endpoint(connection, LOCAL, _NAME)


def _write_picture(message: SentMessage, folder: Path) -> str:
    if message.picture is None:
        return "none, it needs the extra `charts`: pip install 'streamworkers[charts]'"
    path = folder / "demo-chart.png"
    path.write_bytes(message.picture)
    return str(path)


def has_chats(connection: Connection) -> bool:
    """True if the database has chats of its own, whose messages must not go to a fake."""
    return any(each.name != _NAME for each in list_on_channel(connection, _CHANNEL))


def _free_symbol(connection: Connection) -> str:
    return next(name for name in map("DEMO{}".format, count(1)) if not list_stored_timeframes(connection, name))


def _part(rows: BarRows, symbol: str, part: slice) -> BarRows:
    """Some of the rows, of another symbol."""
    columns = {field.name: getattr(rows, field.name)[part] for field in fields(rows)}
    return BarRows(**columns | {"symbols": [symbol] * len(columns["symbols"])})
