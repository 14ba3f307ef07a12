"""`streamworkers alerts replay`: decide an alert again over its stored bars, and compare."""

from datetime import UTC, datetime

import click

from streamworkers.alerts.engine.replaying import Replay, replay_alert
from streamworkers.alerts.store.alerts import find_alert
from streamworkers.alerts.store.symbols import require_past_symbol
from streamworkers.cli.alert_options import user_option
from streamworkers.cli.checked_text import check_since
from streamworkers.cli.session import Session, json_option, parse_since, print_json, print_table
from streamworkers.market.calendar.moments import show_bar_time

_COLUMNS = {
    "symbol": "symbol",
    "bar": "bar",
    "closed_at": "closed at",
    "kind": "kind",
    "version": "version",
    "price": "price",
    "suppressed": "suppressed by",
    "found_by": "found by",
}


@click.command("replay", short_help="Decide an alert again over its stored bars, and compare.")
@click.argument("name")
@click.option("--symbol", help="Only this symbol.  [default: all that the alert has been about]")
@click.option("--since", callback=check_since, help="Print only bars since this date or ISO time, in New York.")
@user_option
@json_option
def replay(name: str, symbol: str | None, since: str | None, user: str, as_json: bool) -> int:
    """Decide the stored bars of the alert NAME again, from when it was added, with its versions, mutes and splits.

    The function is that of the live evaluation; nothing is written. `both` marks what has fired live, too. Other
    firings are those of bars that were corrected, or that are stored and not decided yet. Exit code 1 if there are any.
    """
    session = Session.open()
    after = None if since is None else parse_since(since)
    with session.database() as connection:
        stored = find_alert(connection, user, name)
        if symbol is not None:
            require_past_symbol(connection, stored.id, name, symbol)
        found = replay_alert(connection, stored, symbol, datetime.now(UTC), session.settings.calendar)
    if after is not None:
        found = Replay(found.bars, [each for each in found.firings if each.bar_time >= after])
    rows = [each._asdict() for each in found.firings]
    if as_json:
        print_json({"name": name, "bars": found.bars, "differences": found.differences, "firings": rows})
    else:
        shown = [{**row, "bar": show_bar_time(row["bar_time"], stored.timeframe)} for row in rows]
        print_table(shown, _COLUMNS, "nothing fires")
        same = len(rows) - found.differences
        click.echo(f"{found.bars:,} bars: {same} the same as live, {found.differences} different")
    return 1 if found.differences else 0
