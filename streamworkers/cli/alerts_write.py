"""`streamworkers alerts add`, `edit`, `copy`, `remove`, `pause` and `resume`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import IO, Any

import click

from streamworkers.alerts.blindness import BlindnessCheck
from streamworkers.alerts.computable import parse_computable
from streamworkers.alerts.default_timeframe import choose_timeframe
from streamworkers.alerts.document import Alert, AlertTarget, alert_to_json, alert_warnings
from streamworkers.alerts.firing_message import preview_alert
from streamworkers.alerts.first_look import FirstLook, look_at
from streamworkers.alerts.store import changes
from streamworkers.alerts.store.alerts import StoredAlert, find_alert
from streamworkers.alerts.store.symbols import read_symbols
from streamworkers.cli.alert_options import actor_of, names_argument, show_moment_there, user_option
from streamworkers.cli.rule_input import file_option, parse_alert_input, read_text, read_vocabulary
from streamworkers.cli.session import Session, json_option, parse_words, print_json, show_bar_time
from streamworkers.database import Connection
from streamworkers.errors import BadInputError
from streamworkers.loading.listings import read_listings
from streamworkers.market.bars.rules import require_symbol
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, timeframe_named
from streamworkers.schedules.loaded_series import find_loaded_symbols

MOST_LOOKS = 100
_MOST_LINES = 10

_name_option = click.option("--name", help="The name of the alert.  [default: that of the document, else alert-NUMBER]")
_symbols_option = click.option("--symbols", help="Symbols, separated by commas, instead of those of the alert.")
_universe_option = click.option("--universe", help="A universe instead of the symbols of the alert.")
_timeframe_option = click.option("--timeframe", help="Timeframe: 1min, hour, day, week or month.")


@click.command("add", short_help="Add an alert.")
@click.argument("alert", required=False)
@file_option
@_name_option
@_symbols_option
@_universe_option
@_timeframe_option
@user_option
@json_option
def add(alert: str | None, file: IO[bytes] | None, user: str, as_json: bool, **options: Any) -> None:
    """Add ALERT, a text or a document, and say what its rule is now and when the next bar closes.

    \b
    For example:
      streamworkers alerts add 'AAPL > 150 1h hysteresis 2%' --name aapl-150
      streamworkers alerts add 'rsi(14) < 30 day' --universe sp500

    Without a timeframe it is about the narrowest that is stored for its symbol, or days.
    """
    text = read_text(alert, file, "an alert")
    session = Session.open()
    with session.database() as connection, connection.transaction():
        wanted = _with_options(parse_alert_input(text, read_vocabulary(connection)), options)
        timeframe, _ = choose_timeframe(connection, wanted)
        stored = changes.add_alert(connection, actor_of(user), replace(wanted, timeframe=timeframe))
        answer = describe_change(connection, stored, session.settings.calendar)
    _print_change(answer, "added", as_json)


@click.command("edit", short_help="Replace an alert by another text or document.")
@click.argument("name")
@click.argument("alert", required=False)
@file_option
@_symbols_option
@_universe_option
@_timeframe_option
@user_option
@json_option
def edit(name: str, alert: str | None, file: IO[bytes] | None, user: str, as_json: bool, **options: Any) -> None:
    """Replace the alert NAME by ALERT, a text or a document; `alerts show NAME --json` has its document.

    What a text cannot say (messages, groups, the most fires) is that of the alert before if ALERT is a text. Another
    rule, timeframe or rearm policy lets the state begin again; other messages, ends and limits do not.
    """
    text = read_text(alert, file, "an alert")
    session = Session.open()
    with session.database() as connection, connection.transaction():
        before = find_alert(connection, user, name).alert
        given = parse_alert_input(text, read_vocabulary(connection))
        is_text = text.lstrip()[:1] not in ("{", "[")
        wanted = _with_options(_fill(given, before, is_text), {"name": given.name or name, **options})
        stored = changes.edit_alert(connection, actor_of(user), name, wanted)
        answer = describe_change(connection, stored, session.settings.calendar)
    _print_change(answer, "edited", as_json)


@click.command("copy", short_help="Add an alert that is like another.")
@click.argument("name")
@click.argument("new_name")
@_symbols_option
@_universe_option
@_timeframe_option
@user_option
@json_option
def copy(name: str, new_name: str, user: str, as_json: bool, **options: Any) -> None:
    """Add an alert NEW_NAME like the alert NAME, for other symbols or another timeframe if they are given."""
    session = Session.open()
    with session.database() as connection, connection.transaction():
        wanted = _with_options(find_alert(connection, user, name).alert, {"name": new_name, **options})
        stored = changes.add_alert(connection, actor_of(user), wanted)
        answer = describe_change(connection, stored, session.settings.calendar)
    _print_change(answer, "added", as_json)


@click.command("remove", short_help="Remove alerts; what they have fired is kept.")
@names_argument
@user_option
@json_option
def remove(names: tuple[str, ...], user: str, as_json: bool) -> None:
    """Remove the alerts NAME; all or none. Their firings stay in `alerts history`."""
    _change_all(changes.remove_alert, names, user, "removed", as_json)


@click.command("pause", short_help="Stop deciding alerts.")
@names_argument
@user_option
@json_option
def pause(names: tuple[str, ...], user: str, as_json: bool) -> None:
    """Stop deciding the alerts NAME; all or none. Bars that close during the pause are never decided."""
    _change_all(changes.pause_alert, names, user, "paused", as_json)


@click.command("resume", short_help="Decide paused alerts again.")
@names_argument
@user_option
@json_option
def resume(names: tuple[str, ...], user: str, as_json: bool) -> None:
    """Decide the alerts NAME again, from a fresh state, at the bars that close from now on; all or none."""
    _change_all(changes.resume_alert, names, user, "resumed", as_json)


def describe_change(connection: Connection, stored: StoredAlert, default_calendar: str) -> dict[str, Any]:
    """What one who has written an alert asks: is it true now, when does the next bar close, and is it blind?"""
    alert, symbols = parse_computable(stored.document), read_symbols(connection, stored.id)
    looks = look_at(connection, stored, symbols[:MOST_LOOKS], datetime.now(UTC), default_calendar)
    delisted = _find_delisted(connection, symbols[:MOST_LOOKS])
    check = BlindnessCheck(connection, datetime.now(UTC), default_calendar)
    blind = [look for look in looks if check.sight_of(look.symbol, stored.timeframe, look.bar, None) == "blind"]
    blind = [look for look in blind if look.bar is None or look.symbol not in delisted]
    loaded = find_loaded_symbols(connection, stored.timeframe) if blind else frozenset()
    warnings = [_warn_of_missing(stored.timeframe, look, look.symbol in loaded) for look in blind]
    warnings += [f"{symbol} was delisted after {day} and has no more bars" for symbol, day in delisted.items()]
    return {
        "id": stored.id,
        "name": stored.name,
        "version": stored.version,
        "symbols": len(symbols),
        "alert": alert_to_json(alert),
        "now": [_describe_look(look, has_ended=look.symbol in delisted) for look in looks],
        "waits": alert.rearm.initial == "wait",
        "message": preview_alert(alert),
        "warnings": [*alert_warnings(alert), *warnings],
    }


def _find_delisted(connection: Connection, symbols: Sequence[str]) -> dict[str, date]:
    """The last days of the symbols that were delisted, as far as loads know it."""
    today = datetime.now(EXCHANGE_ZONE).date()
    days = {symbol: found.delisted_after for symbol, found in sorted(read_listings(connection, symbols).items())}
    return {symbol: day for symbol, day in days.items() if day is not None and day < today}


def _describe_look(look: FirstLook, *, has_ended: bool) -> dict[str, Any]:
    close = None if has_ended else look.next_close
    return {"symbol": look.symbol, "rule": look.truth, "bar": look.bar, "next_close": close}


def _warn_of_missing(timeframe: str, look: FirstLook, is_loaded: bool) -> str:
    after = "" if look.bar is None else f" after {show_bar_time(look.bar, timeframe)}"
    end = "a schedule loads them" if is_loaded else "no schedule loads them"
    return f"no {timeframe} bars of {look.symbol}{after} are stored, and {end}"


def _print_change(answer: dict[str, Any], word: str, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    number = answer["symbols"]
    click.echo(f"{word}: alert {answer['name']!r}, version {answer['version']}, {number} symbol{'s' * (number != 1)}")
    looks = answer["now"]
    for look in looks[:_MOST_LINES]:
        close = look["next_close"]
        ends = "" if close is None else f"; the next bar closes at {show_moment_there(close)}"
        click.echo(f"  {look['symbol']}: {_show_truth(look['rule'], answer['waits'])}{ends}")
    if len(looks) > _MOST_LINES:
        count = sum(look["rule"] == "true" for look in looks)
        some = "" if len(looks) == number else f" of the first {len(looks)}"
        click.echo(f"  … true now for {count}{some}")
    click.echo(f"message, for example: {answer['message']}")
    for warning in answer["warnings"][:_MOST_LINES]:
        click.echo(f"warning: {warning}")


def _show_truth(truth: str | None, waits: bool) -> str:
    if truth is None:
        return "not known, nothing is stored"
    if truth == "true":
        return "true now" + (
            ", has to be false before it fires" if waits else ", so it fires if it still is at its first bar"
        )
    return f"{truth} now"


def _with_options(alert: Alert, options: dict[str, Any]) -> Alert:
    """The alert with what the options say instead."""
    symbols, universe, timeframe = options["symbols"], options["universe"], options["timeframe"]
    if symbols is not None and universe is not None:
        raise BadInputError("name either --symbols or --universe, not both")
    target = alert.target
    if symbols is not None:
        target = AlertTarget(tuple(map(require_symbol, parse_words(symbols))))
        if not target.symbols:
            raise BadInputError("--symbols names no symbol")
    elif universe is not None:
        target = AlertTarget(universe=universe)
    return replace(
        alert,
        name=alert.name if options["name"] is None else options["name"],
        target=target,
        timeframe=alert.timeframe if timeframe is None else timeframe_named(timeframe).name,
    )


def _fill(given: Alert, before: Alert, is_text: bool) -> Alert:
    """The new alert with the target and timeframe of the old one, if it has none, and with what a text cannot say."""
    filled = replace(given, target=given.target or before.target, timeframe=given.timeframe or before.timeframe)
    if not is_text:
        return filled
    limits = replace(before.limits, expires_at=given.limits.expires_at)
    return replace(
        filled,
        limits=limits,
        catch_up=before.catch_up,
        max_age_seconds=before.max_age_seconds,
        notify_corrections=before.notify_corrections,
        notify=before.notify,
    )


def _change_all(change: Callable[..., None], names: tuple[str, ...], user: str, word: str, as_json: bool) -> None:
    with Session.open().database() as connection, connection.transaction():
        for name in dict.fromkeys(names):
            change(connection, actor_of(user), name)
    if as_json:
        print_json([{"name": name, "outcome": word} for name in dict.fromkeys(names)])
        return
    for name in dict.fromkeys(names):
        click.echo(f"{word}: {name}")
