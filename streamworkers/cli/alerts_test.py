"""`streamworkers alerts test`: when an alert would have fired on stored bars."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from streamworkers.alerts.alert_printer import print_alert
from streamworkers.alerts.computable import parse_computable
from streamworkers.alerts.document import Alert
from streamworkers.alerts.given import parse_given_alert, read_vocabulary
from streamworkers.alerts.store.alerts import find_alert, list_alerts
from streamworkers.alerts.store.work import factor_since, read_rebases
from streamworkers.alerts.stored_bars import BarPeriod, bars_before, read_stored_bars
from streamworkers.alerts.trial import try_stored
from streamworkers.alerts.trial_report import describe_decision, describe_trial
from streamworkers.cli.alert_options import user_option
from streamworkers.cli.as_of import as_of_option
from streamworkers.cli.checked_text import check_since
from streamworkers.cli.rule_input import file_option, read_text
from streamworkers.cli.session import Session, json_option, parse_since, print_json, print_table
from streamworkers.database import Connection
from streamworkers.errors import BadInputError
from streamworkers.market.bars.as_of import parse_as_of
from streamworkers.market.bars.rules import require_symbol
from streamworkers.market.calendar.moments import show_bar_time
from streamworkers.market.calendar.timeframes import Timeframe, timeframe_named

_WORD = re.compile(r"[\w.:-]+")
_COLUMNS = ("bar", "price", "value", "level", "rule", "before", "after", "fires", "why")


@click.command("test", short_help="When would an alert have fired? Try it on stored bars.")
@click.argument("alert", required=False)
@file_option
@user_option
@click.option("--symbol", help="The symbol to try it on.  [default: the only one of the alert]")
@click.option("--timeframe", help="Timeframe: 1min, hour, day, week or month.  [default: that of the alert, else day]")
@click.option(
    "--since", callback=check_since, help="The first bar, as a date or ISO time.  [default: 5,000 bars before the last]"
)
@as_of_option
@click.option("--all", "every_bar", is_flag=True, help="Print every bar, not only those at which something happens.")
@json_option
def try_command(
    alert: str | None, file: Path | None, symbol: str | None, timeframe: str | None, user: str, **options: Any
) -> None:
    """Decide the stored bars of a symbol as ALERT would have done, and say why. Nothing is changed.

    ALERT is the name of an alert of the user, a text or a document. A name means the newest version of that alert,
    as if it had been added before the first bar.

    \b
    For example:
      streamworkers alerts test aapl-low --since 2025-01-01
      streamworkers alerts test 'AAPL rsi(14) < 30' --since 2025-01-01
      streamworkers alerts test 'price > 1.02 * sma(50) 1h once' --symbol IBM
    """
    text = read_text(alert, file, "an alert")
    session = Session.open()
    with session.database() as connection:
        named = _find_named(connection, user, text) if file is None else None
        found = named[0] if named else parse_given_alert(text, read_vocabulary(connection))
        name, frame = _choose_symbol(found, symbol), timeframe_named(timeframe or found.timeframe or "day")
        as_of = options["as_of"]
        calendar = session.settings.calendar
        until = datetime.now(UTC) if as_of is None else parse_as_of(connection, calendar, [name], as_of)
        since = None if options["since"] is None else parse_since(options["since"])
        before = bars_before(found.rule, frame)
        stored = read_stored_bars(connection, name, frame, before, BarPeriod(until, since), calendar)
        rebases = read_rebases(connection, frame.name, [name]).get(name, ())
    if not stored.closes:
        raise BadInputError(f"no closed {frame.name} bars of {name} are stored in this period")
    trial = try_stored(found, stored, factor_since(rebases, named[1]) if named else 1.0)
    rows = [describe_decision(found, name, stored, each) for each in trial.decisions(every_bar=options["every_bar"])]
    answer = describe_trial(trial, stored, name)
    if options["as_json"]:
        print_json({"alert": print_alert(found), **answer, "decisions": rows})
        return
    print_decisions(answer, rows, frame)


def _find_named(connection: Connection, user: str, text: str) -> tuple[Alert, datetime] | None:
    """The alert of this name, and since when its constants are what they are; later splits adjust them.

    Raises UnknownNameError for a single word that names none: it is no rule.
    """
    if not list_alerts(connection, user, [text]) and not _WORD.fullmatch(text):
        return None
    stored = find_alert(connection, user, text)
    return parse_computable(stored.document), stored.rule_from


def print_decisions(answer: dict[str, Any], rows: list[dict[str, Any]], frame: Timeframe) -> None:
    """Print the rows of a trial as a table, and what it was about below."""
    shown = [{**row, "bar": show_bar_time(row["bar"], frame.name)} for row in rows]
    print_table(shown, {name: name for name in _COLUMNS}, "nothing happens")
    first, last = (show_bar_time(answer[name], frame.name) for name in ("first", "last"))
    times = "once" if answer["firings"] == 1 else f"{answer['firings']} times"
    unknown = f", unknown at {answer['unknown']:,}" if answer["unknown"] else ""
    click.echo(
        f"fires {times} in {answer['bars']:,} {frame.name} bars of {answer['symbol']}, {first} to {last}{unknown};"
        f" {answer['state']} after them"
    )


def _choose_symbol(alert: Alert, symbol: str | None) -> str:
    if symbol is not None:
        return require_symbol(symbol)
    if alert.target is not None and len(alert.target.symbols) == 1:
        return alert.target.symbols[0]
    raise BadInputError("the alert is not about one symbol: name one with --symbol")
