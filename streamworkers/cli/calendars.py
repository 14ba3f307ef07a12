"""`streamworkers calendars`: which exchange calendar the bars of each symbol follow."""

import click

from streamworkers.cli.session import Session, json_option, parse_words, print_json, print_table
from streamworkers.cli.unknown_symbols import warn_without_bars
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.session_table import fill_sessions
from streamworkers.market.calendar.symbol_calendars import read_calendar_rules, set_calendar, unset_calendar
from streamworkers.market.universes.store import resolve


@click.group()
def calendars() -> None:
    """Exchange calendars of symbols: list, set, unset."""


@calendars.command("list")
@json_option
def list_rules(as_json: bool) -> None:
    """List which symbols have which calendar."""
    session = Session.open()
    with session.database() as connection:
        rules = read_calendar_rules(connection, session.settings.calendar)
    rows = [{"symbols": pattern, "calendar": calendar} for pattern, calendar in sorted(rules.patterns.items())]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, {"symbols": "symbols", "calendar": "calendar"}, "")


@calendars.command("set", short_help="Set the calendar of symbols: '24/7' for 'X:*'.")
@click.argument("calendar")
@click.option("--symbols", help="Symbols or patterns with one *, separated by commas: 'X:*,*-USD'.")
@click.option("--universe", help="A universe, or the union of several; its symbols of now.")
def set_rules(calendar: str, symbols: str | None, universe: str | None) -> None:
    """Set the CALENDAR that the bars of symbols follow: a name of `exchange_calendars`.

    24/7 is for markets that never close, with days in UTC, 24/5 for those that close on weekends, XNYS is New York. A
    symbol's own rule comes before patterns, a longer pattern before a shorter one.
    """
    if (symbols is None) == (universe is None):
        raise BadInputError("name either --symbols or --universe")
    with Session.open().database() as connection, connection.transaction():
        patterns = parse_words(symbols) if symbols is not None else resolve(connection, universe or "")
        if not patterns:
            raise BadInputError(f"{universe or symbols!r} names no symbols")
        set_calendar(connection, patterns, calendar)
        fill_sessions(connection, calendar)
        if symbols is not None:
            warn_without_bars(connection, [pattern for pattern in patterns if "*" not in pattern])
    click.echo(f"calendar {calendar} is set for {patterns[0] if len(patterns) == 1 else f'{len(patterns)} symbols'}")


@calendars.command("unset", short_help="Remove the rule of symbols or patterns.")
@click.option("--symbols", required=True, help="Symbols or patterns as `calendars list` shows them.")
def unset_rules(symbols: str) -> None:
    """Remove rules; their symbols follow the next rule, or STREAMWORKERS_CALENDAR."""
    with Session.open().database() as connection:
        unset_calendar(connection, parse_words(symbols))
    click.echo(f"removed: {symbols}")
