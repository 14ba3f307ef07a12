"""`streamworkers alerts mute`, `unmute` and `snooze`: decide alerts, but keep their firings quiet."""

from datetime import datetime
from typing import Any

import click

from streamworkers.alerts.selection import AlertSelector, require_selected
from streamworkers.alerts.store.alerts import find_alert
from streamworkers.alerts.store.mutes import mute_alert, snooze_alert, unmute_alert
from streamworkers.alerts.store.symbols import read_symbols
from streamworkers.cli.alert_options import (
    actor_of,
    collect_selector,
    end_options,
    parse_end,
    selector_options,
    user_option,
)
from streamworkers.cli.session import Session, json_option, print_json
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.moments import show_moment_there

_reason_option = click.option("--reason", help="Why, for those who wonder.")


@click.command("mute", short_help="Suppress the firings of alerts for a time.")
@selector_options
@click.option("--all", "every", is_flag=True, help="All alerts of the user.")
@end_options
@_reason_option
@user_option
@json_option
def mute(every: bool, duration: str | None, until: str | None, reason: str | None, **options: Any) -> None:
    """Mute the alerts that all of the options choose, until an end or until `alerts unmute`.

    A muted alert is decided, so that it knows where it stands afterwards. Its firings are marked as suppressed, and
    count neither for `once` nor for the most fires. With --symbol only that symbol is muted, and an end is needed.
    """
    user, as_json = options.pop("user"), options.pop("as_json")
    selector = _require_choice(collect_selector(options), every)
    end = parse_end(duration, until)
    if selector.symbol is not None and end is None:
        raise BadInputError("a mute of one symbol needs an end: --for or --until")
    with Session.open().database() as connection, connection.transaction():
        found = require_selected(connection, user, selector)
        for stored in found:
            if selector.symbol is not None and end is not None:
                snooze_alert(connection, actor_of(user), stored.name, selector.symbol, end, reason)
            else:
                mute_alert(connection, actor_of(user), stored.name, end, reason)
    _print([stored.name for stored in found], "muted", selector.symbol, end, as_json)


@click.command("unmute", short_help="End mutes and snoozes.")
@selector_options
@click.option("--all", "every", is_flag=True, help="All alerts of the user.")
@user_option
@json_option
def unmute(every: bool, user: str, as_json: bool, **options: Any) -> None:
    """End mutes and snoozes of the alerts that all options choose; with --symbol, only the snoozes of that symbol."""
    selector = _require_choice(collect_selector(options), every)
    with Session.open().database() as connection, connection.transaction():
        found = require_selected(connection, user, selector)
        ended = [each.name for each in found if unmute_alert(connection, actor_of(user), each.name, selector.symbol)]
    if as_json:
        print_json([{"name": name, "outcome": "unmuted"} for name in ended])
        return
    for name in ended:
        click.echo(f"unmuted: {name}")
    if not ended:
        click.echo(f"none of {len(found)} alerts is muted")


@click.command("snooze", short_help="Suppress the firings of one symbol of an alert for a time.")
@click.argument("name")
@click.option("--symbol", help="The symbol.  [default: the only one of the alert]")
@end_options
@_reason_option
@user_option
@json_option
def snooze(name: str, symbol: str | None, reason: str | None, user: str, as_json: bool, **options: Any) -> None:
    """Suppress the firings of one symbol of the alert NAME until an end."""
    end = parse_end(options["duration"], options["until"])
    if end is None:
        raise BadInputError("a snooze needs an end: --for or --until")
    with Session.open().database() as connection, connection.transaction():
        if symbol is None:
            known = read_symbols(connection, find_alert(connection, user, name).id)
            if len(known) != 1:
                raise BadInputError(f"alert {name!r} is about {len(known)} symbols: name one with --symbol")
            symbol = known[0]
        snooze_alert(connection, actor_of(user), name, symbol, end, reason)
    _print([name], "snoozed", symbol, end, as_json)


def _require_choice(selector: AlertSelector, every: bool) -> AlertSelector:
    if every == (selector != AlertSelector()):
        raise BadInputError("choose alerts by --name, --symbol, --universe, --timeframe or --group, or take --all")
    return selector


def _print(names: list[str], word: str, symbol: str | None, end: datetime | None, as_json: bool) -> None:
    if as_json:
        print_json([{"name": name, "symbol": symbol, "until": end, "outcome": word} for name in names])
        return
    whom = "" if symbol is None else f" for {symbol}"
    when = "until `alerts unmute`" if end is None else f"until {show_moment_there(end)}"
    for name in names:
        click.echo(f"{word}: {name}{whom} {when}")
