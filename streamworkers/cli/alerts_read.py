"""`streamworkers alerts list`, `show` and `history`."""

from datetime import UTC, datetime
from typing import Any

import click

from streamworkers.alerts.alert_printer import print_alert
from streamworkers.alerts.document import alert_to_json
from streamworkers.alerts.selection import AlertSelector, find_selected
from streamworkers.alerts.standing import read_standings
from streamworkers.alerts.standing_report import describe_standing, describe_symbols, why_silent
from streamworkers.alerts.store.alerts import StoredAlert, find_alert, read_versions
from streamworkers.alerts.store.reports import list_corrections, list_firings
from streamworkers.alerts.store.symbols import read_symbols_of_user, require_past_symbol
from streamworkers.cli.alert_options import collect_selector, selector_options, user_option
from streamworkers.cli.checked_text import check_since
from streamworkers.cli.session import (
    Session,
    json_option,
    limit_option,
    parse_since,
    print_json,
    print_table,
)
from streamworkers.database import Connection
from streamworkers.errors import UnknownNameError
from streamworkers.market.calendar.moments import show_bar_time
from streamworkers.users import require_user

_LIST = {
    "name": "name",
    "about": "about",
    "timeframe": "timeframe",
    "rule": "rule",
    "states": "state",
    "fires": "fires",
    "last_fired": "last fired",
    "silent": "silent because",
}
_STATES = {
    "symbol": "symbol",
    "status": "state",
    "fire_count": "fires",
    "fired_at": "last fired",
    "cooldown_until": "cooldown until",
    "evaluated_through": "decided through",
    "complete_through": "complete through",
    "blind_since": "blind since",
}
_FIRINGS = {
    "name": "alert",
    "symbol": "symbol",
    "bar": "bar",
    "closed_at": "closed at",
    "kind": "kind",
    "price": "price",
    "is_live": "live",
    "earlier": "earlier",
    "suppressed": "suppressed by",
}
_CORRECTIONS = {"symbol": "symbol", "bar": "bar", "kind": "correction", "created_at": "found at"}


@click.command("list", short_help="List alerts, and why one is silent.")
@selector_options
@user_option
@json_option
def list_command(user: str, as_json: bool, **options: Any) -> None:
    """List the alerts that all of the options choose: what they are about, where they stand, and why one is silent."""
    session, selector = Session.open(), collect_selector(options)
    with session.database() as connection:
        found = find_selected(connection, user, selector)
        standings = read_standings(connection, found, datetime.now(UTC), session.settings.calendar)
    rows = [describe_standing(each) for each in standings]
    if as_json:
        print_json(rows)
        return
    shown = [{**row, "states": _show_states(row["states"]), "silent": "; ".join(row["silent"])} for row in rows]
    empty = "no alerts yet: `streamworkers alerts add 'AAPL > 150'`"
    print_table(shown, _LIST, empty if selector == AlertSelector() else f"no alert of {selector.describe()}")


@click.command(short_help="Show an alert: its document, states, mutes and versions.")
@click.argument("name")
@user_option
@json_option
def show(name: str, user: str, as_json: bool) -> None:
    """Show the alert NAME: its document, where it stands for each symbol, what mutes it, and its versions."""
    session = Session.open()
    with session.database() as connection:
        stored = find_alert(connection, user, name)
        (standing,) = read_standings(connection, [stored], datetime.now(UTC), session.settings.calendar)
        versions = read_versions(connection, [stored.id])[stored.id]
    history = [
        {"version": each.version, "epoch": each.epoch, "from": each.effective_from, "decides": each.is_active}
        for each in versions
    ]
    states = describe_symbols(standing)
    if as_json:
        print_json(
            describe_standing(standing)
            | {"document": alert_to_json(stored.alert), "symbols": states, "versions": history}
        )
        return
    click.echo(_show_text(stored))
    print_json(alert_to_json(stored.alert))
    for reason in why_silent(standing):
        click.echo(f"silent: {reason}")
    for row in states:
        for key in ("evaluated_through", "complete_through"):
            row[key] = show_bar_time(row[key], stored.timeframe)
    print_table(states, _STATES, "it is about no symbol now")
    print_table(history, {"version": "version", "epoch": "epoch", "from": "from", "decides": "decides"}, "")


@click.command(short_help="List firings and corrections.")
@click.argument("name", required=False)
@click.option("--symbol", help="Only firings of this symbol.")
@click.option("--since", callback=check_since, help="Only firings since this date or ISO time, in New York.")
@limit_option
@user_option
@json_option
def history(name: str | None, symbol: str | None, since: str | None, limit: int, user: str, as_json: bool) -> None:
    """List the newest firings of the alert NAME or of all alerts, newest first, and corrections of NAME.

    A correction says that a bar which was changed later would have made a difference. What was sent stays sent.
    """
    after = None if since is None else parse_since(since)
    with Session.open().database() as connection:
        require_user(connection, user)
        stored = None if name is None else find_alert(connection, user, name)
        number = None if stored is None else stored.id
        if symbol is not None:
            _require_symbol(connection, user, stored, symbol)
        firings = list_firings(connection, user, limit, alert_id=number, symbol=symbol, since=after)
        corrections = [] if number is None else list_corrections(connection, number, limit)
    frame = None if stored is None else stored.timeframe
    if as_json:
        print_json({"firings": firings, "corrections": corrections})
        return
    shown = [{**row, "bar": show_bar_time(row["bar_time"], row["timeframe"])} for row in firings]
    print_table(shown, _FIRINGS, "nothing has fired")
    if corrections:
        print_table([{**row, "bar": show_bar_time(row["bar_time"], frame)} for row in corrections], _CORRECTIONS, "")


def _require_symbol(connection: Connection, user: str, stored: StoredAlert | None, symbol: str) -> None:
    """Raise UnknownNameError for a symbol that the alert, or any alert of the user, has never been about."""
    if stored is not None:
        require_past_symbol(connection, stored.id, stored.name, symbol)
    elif symbol not in (known := read_symbols_of_user(connection, user)):
        raise UnknownNameError("symbol of an alert", symbol, known)


def _show_states(states: dict[str, int]) -> str:
    if len(states) == 1:
        return next(iter(states))
    return ", ".join(f"{count} {status}" for status, count in states.items())


def _show_text(stored: StoredAlert) -> str:
    return f"{stored.name} (version {stored.version}): {print_alert(stored.alert)}"
