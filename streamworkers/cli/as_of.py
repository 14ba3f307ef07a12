"""The option `--as-of`: a moment, or a bare date that stands for the end of its session."""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any, TypeVar

import click

from streamworkers.cli.session import parse_moment
from streamworkers.database import Connection
from streamworkers.market.bars.as_of import find_end_of_day
from streamworkers.market.calendar.symbol_calendars import read_calendar_rules

F = TypeVar("F", bound=Callable[..., Any])

as_of_option: Callable[[F], F] = click.option(
    "--as-of",
    help="See only bars that were closed at this ISO time, of New York unless it names a zone; a bare date is the end"
    " of its session.  [default: now, at the newest closed bar that most symbols have]",
)


def parse_as_of(connection: Connection, default_calendar: str, symbols: Sequence[str], text: str) -> datetime:
    """Return the moment that a text names; a bare date is the end of the newest session up to it of these symbols."""
    moment = parse_moment(text)
    if len(text) != len("YYYY-MM-DD"):
        return moment
    return find_end_of_day(
        connection, read_calendar_rules(connection, default_calendar), symbols, date.fromisoformat(text)
    )
