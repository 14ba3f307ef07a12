"""`streamworkers alerts add`, `edit`, `copy`, `remove`, `pause` and `resume`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from streamworkers.alerts.default_timeframe import choose_timeframe
from streamworkers.alerts.given import AlertOptions, complete_alert, is_document, parse_given_alert, read_vocabulary
from streamworkers.alerts.store import changes
from streamworkers.alerts.store.alerts import find_alert
from streamworkers.cli.alert_options import actor_of, names_argument, user_option
from streamworkers.cli.rule_input import file_option, read_text
from streamworkers.cli.session import Session, json_option, parse_words, print_json
from streamworkers.diagnosis.written_alert import describe_change
from streamworkers.market.calendar.moments import show_moment_there

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
def add(alert: str | None, file: Path | None, user: str, as_json: bool, **options: Any) -> None:
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
        wanted = _collect_options(options).change(parse_given_alert(text, read_vocabulary(connection)))
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
def edit(name: str, alert: str | None, file: Path | None, user: str, as_json: bool, **options: Any) -> None:
    """Replace the alert NAME by ALERT, a text or a document; `alerts show NAME --json` has its document.

    What a text cannot say (messages, groups, the most fires) is that of the alert before if ALERT is a text. Another
    rule, timeframe or rearm policy lets the state begin again; other messages, ends and limits do not.
    """
    text = read_text(alert, file, "an alert")
    session = Session.open()
    with session.database() as connection, connection.transaction():
        before = find_alert(connection, user, name).alert
        given = parse_given_alert(text, read_vocabulary(connection))
        complete = complete_alert(given, before, is_text=not is_document(text))
        wanted = _collect_options({"name": given.name or name, **options}).change(complete)
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
        wanted = _collect_options({"name": new_name, **options}).change(find_alert(connection, user, name).alert)
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


def _collect_options(options: dict[str, Any]) -> AlertOptions:
    symbols = options["symbols"]
    listed = None if symbols is None else parse_words(symbols)
    return AlertOptions(options["name"], listed, options["universe"], options["timeframe"])


def _change_all(change: Callable[..., None], names: tuple[str, ...], user: str, word: str, as_json: bool) -> None:
    with Session.open().database() as connection, connection.transaction():
        for name in dict.fromkeys(names):
            change(connection, actor_of(user), name)
    if as_json:
        print_json([{"name": name, "outcome": word} for name in dict.fromkeys(names)])
        return
    for name in dict.fromkeys(names):
        click.echo(f"{word}: {name}")
